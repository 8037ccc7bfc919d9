"""Scores of answers, against closed forms and against the programs that others compute them with."""

import ast
import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.measure import metrics


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1", "x = 1"),
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```py\nlong = 1 + 2\n```\nor\n```\nx = 1\n```", "long = 1 + 2"),
        ("```\na = 1\n```\nbetter:\n```\nb = 2\n```", "b = 2"),
        ("cut off\n```python\nx = 1\ny =", "x = 1\ny ="),
        ("```python\r\nx = 1\r\n```", "x = 1"),
        ("````\nx = '''\n```\n'''\n````", "x = '''\n```\n'''"),
        ("~~~\nx = 1\n~~~", "x = 1"),
        ("1. So:\n   ```python\n   if x:\n       y()\n   ```", "if x:\n    y()"),
        ("Use `x` or ```y``` inline", "Use `x` or ```y``` inline"),
        ("```\n```", ""),
    ],
)
def test_code_is_the_last_longest_fence_or_the_whole_text(text, code):
    assert metrics.extract_code(text) == code


@given(st.text(alphabet="abc =\n1", min_size=1))
def test_fenced_code_comes_back_and_its_fence_is_seen(code):
    assert metrics.extract_code(f"See:\n```python\n{code}\n```\nend") == code
    assert metrics.has_fence(f"```\n{code}\n```")
    assert not metrics.has_fence(code)


@given(st.text())
def test_any_text_has_a_code_part(text):
    assert set(metrics.extract_code(text)) <= set(text.replace("\r\n", "\n"))


@pytest.mark.parametrize("code", ["", "  \n", "def", "x = '\0'", "\ud800", "(" * 300, "-" * 60_000 + "1"])
def test_what_python_cannot_compile_does_not_parse(code):
    assert not metrics.parses(code)


def test_parsing_needs_no_compiling_and_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.parses("'\\d'")
        assert metrics.parses("x is 1")
    assert metrics.parses("return 1")  # wrong only later, in the compiler


def test_programs_beyond_64_kib_do_not_parse():
    comment = "#" + "é" * (32 * 1024 - 1)  # two bytes each
    assert len(comment.encode()) == 64 * 1024 - 1
    ast.parse(comment + "##")
    assert metrics.parses(comment + "#")
    assert not metrics.parses(comment + "##")


def character_f_score(answer: str, reference: str) -> float:
    """ChrF of texts without spaces as Popović 2015 defines it: F2 of the mean precision and recall over n = 1 … 6."""
    precisions, recalls = [], []
    for n in range(1, 7):
        ours = [answer[i : i + n] for i in range(len(answer) - n + 1)]
        theirs = [reference[i : i + n] for i in range(len(reference) - n + 1)]
        shared = sum(min(ours.count(gram), theirs.count(gram)) for gram in set(ours))
        precisions.append(shared / len(ours))
        recalls.append(shared / len(theirs))
    precision, recall = sum(precisions) / 6, sum(recalls) / 6
    return 100 * 5 * precision * recall / (4 * precision + recall)


def test_chrf_is_the_published_formula():
    answer, reference = "foo(bar,baz)", "foo(baz,bars)"
    assert metrics.chrf(answer, reference) == pytest.approx(character_f_score(answer, reference))
    assert metrics.chrf(reference, reference) == 100
    assert metrics.chrf("", reference) == 0


CODE_LIKE = st.text("ab (\n", max_size=12)


@given(st.lists(st.tuples(CODE_LIKE, CODE_LIKE.filter(str.strip)), min_size=1, max_size=5))
def test_chrf_equals_that_of_sacrebleu(rows):
    from sacrebleu.metrics.chrf import CHRF

    answers, references = map(list, zip(*rows, strict=True))
    assert metrics.corpus_chrf(answers, references) == pytest.approx(CHRF().corpus_score(answers, [references]).score)
    for answer, reference in rows:
        assert metrics.chrf(answer, reference) == pytest.approx(CHRF().sentence_score(answer, [reference]).score)


def test_corpus_chrf_of_one_row_is_its_sentence_chrf_and_of_many_is_not_their_mean():
    answers, references = ["print(1)", "x = 12345678"], ["print(2)", "return None"]
    single = [metrics.chrf(a, r) for a, r in zip(answers, references, strict=True)]
    assert metrics.corpus_chrf(answers[:1], references[:1]) == pytest.approx(single[0])
    assert min(single) < metrics.corpus_chrf(answers, references) < sum(single) / 2


def test_chrf_without_a_reference_has_no_value():
    for nothing in ("", " \n"):
        with pytest.raises(ValueError, match="blank"):
            metrics.chrf("x", nothing)
        with pytest.raises(ValueError, match="blank"):
            metrics.corpus_chrf(["x"], [nothing])
    with pytest.raises(ValueError, match="blank"):
        metrics.corpus_chrf([], [])
    with pytest.raises(ValueError, match="one reference per answer"):
        metrics.corpus_chrf(["x"], ["x", "y"])


def test_the_chrf_signature_names_settings_and_version():
    import sacrebleu

    assert {"nc:6", "nw:0", f"version:{sacrebleu.__version__}"} <= set(metrics.chrf_signature().split("|"))


def test_exact_match_forgives_line_ends_and_trailing_space_only():
    assert metrics.exact("a  \r\nb\n\n", "a\nb")
    assert metrics.exact("a\rb", "a\nb")
    assert not metrics.exact(" a", "a")
    assert not metrics.exact("a\n\nb", "a\nb")
    assert not metrics.exact("a b", "a  b")


@given(st.integers(2, 100_000), st.integers(1, 1000))
def test_guessing_among_v_tokens_has_perplexity_v(vocabulary, tokens):
    assert metrics.perplexity(tokens * math.log(vocabulary), tokens) == pytest.approx(vocabulary)


def test_a_fair_coin_per_bit_costs_eight_bits_per_byte():
    assert metrics.bits_per_byte(8 * 1000 * math.log(2), 1000) == pytest.approx(8)


@pytest.mark.parametrize("score", [metrics.perplexity, metrics.bits_per_byte])
@pytest.mark.parametrize(("nll", "count"), [(1.0, 0), (1.0, -1), (math.nan, 3), (math.inf, 3)])
def test_a_likelihood_that_cannot_be_computed_is_not_a_number(score, nll, count):
    with pytest.raises(ValueError, match="finite sum"):
        score(nll, count)


@pytest.mark.parametrize(("n", "c", "k"), [(1, 0, 1), (5, 2, 1), (5, 2, 3), (6, 1, 6), (6, 5, 2), (4, 0, 4)])
def test_pass_at_k_is_the_share_of_k_subsets_with_a_pass(n, c, k):
    subsets = list(itertools.combinations(range(n), k))
    share = sum(min(subset) < c for subset in subsets) / len(subsets)
    assert metrics.pass_at_k(n, c, k) == pytest.approx(share)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_equals_the_estimator_of_human_eval_and_evalplus(counts):
    n, c, k = counts
    # The numerically stable form that both programs use (Chen et al. 2021, figure 3).
    theirs = 1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
    assert metrics.pass_at_k(n, c, k) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(0, 0, 1), (3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_refuses_impossible_counts(n, c, k):
    with pytest.raises(ValueError, match="pass@k"):
        metrics.pass_at_k(n, c, k)
