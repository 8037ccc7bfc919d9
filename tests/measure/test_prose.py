"""Scores of prose, against the published definitions and the programs that others compute them with."""

import functools
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.measure import prose

SENTENCE = st.lists(
    st.sampled_from(("the", "cat", "a", "an", "Cat,", "(sat)", "mat.", "dog's", "42", "x")), max_size=12
).map(" ".join)


# The functions of SQuAD's own evaluation script (evaluate-v2.0.py), which is published with the data.
def normalize_answer(s):
    def remove_articles(text):
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def compute_f1(a_gold, a_pred):
    gold_toks, pred_toks = normalize_answer(a_gold).split(), normalize_answer(a_pred).split()
    remaining, num_same = list(pred_toks), 0
    for token in gold_toks:
        if token in remaining:
            remaining.remove(token)
            num_same += 1
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = num_same / len(pred_toks), num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


@given(*[SENTENCE | st.text(st.characters(max_codepoint=127), max_size=30)] * 2)
def test_squad_scores_of_ascii_text_are_those_of_its_script(answer, reference):
    assert prose.squad_exact(answer, reference) == (normalize_answer(answer) == normalize_answer(reference))
    assert prose.token_f1(answer, reference) == pytest.approx(compute_f1(reference, answer))


def test_squad_scores_of_a_worked_example():
    assert prose.squad_exact("The  Norman-conquest!", "normanconquest")
    # "in 1066 in France" against "in 1066": two of four words are right, and all of the two are found.
    assert prose.token_f1("in 1066 in France", "in the 1066") == pytest.approx(2 * 0.5 * 1 / 1.5)


def longest_common(one, other):
    """Return the length of the longest common subsequence by the recursion that defines it."""

    @functools.cache
    def of(i, j):
        if i == 0 or j == 0:
            return 0
        return of(i - 1, j - 1) + 1 if one[i - 1] == other[j - 1] else max(of(i - 1, j), of(i, j - 1))

    return of(len(one), len(other))


@given(SENTENCE, SENTENCE)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(answer, reference):
    said, wanted = (re.findall("[a-z0-9]+", text.lower()) for text in (answer, reference))
    common = longest_common(tuple(said), tuple(wanted))
    expected = 2 * common / (len(said) + len(wanted)) if common else 0
    assert prose.rouge_l(answer, reference) == pytest.approx(expected)


@given(st.text(st.characters(max_codepoint=127), max_size=40), SENTENCE)
def test_rouge_l_of_ascii_text_is_that_of_rouge_score(answer, reference):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    for one, other in ((answer, reference), (reference, answer), (reference, reference)):
        assert prose.rouge_l(one, other) == pytest.approx(scorer.score(other, one)["rougeL"].fmeasure)


def test_rouge_l_knows_words_of_any_script():
    assert prose.rouge_l("größer als", "größer") == pytest.approx(2 / 3)
    assert prose.rouge_l("中国人", "中国") == pytest.approx(4 / 5)


def test_repetition_is_the_share_of_4_grams_that_came_before():
    assert prose.repetition("one two three") is None
    assert prose.repetition("one two three four five") == 0
    assert prose.repetition("a " * 11) == pytest.approx(7 / 8)  # eight 4-grams, one of them new
    assert prose.repetition("a b c d a b c d") == pytest.approx(1 / 5)


def test_an_echo_repeats_the_beginning_of_the_question():
    question = "Write a function `add_two` that adds two to its argument and returns it."
    assert prose.echoes("### write a Function add_two that adds two to … and so on", question) is True
    assert prose.echoes("def add_two(x):\n    return x + 2", question) is False
    assert prose.echoes("Define entropy please", "define entropy, please!") is True
    assert prose.echoes("redefine entropy please", "define entropy, please!") is False  # whole words only
    assert prose.echoes("Why?", "Why?") is None
