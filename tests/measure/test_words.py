"""One tokenisation for all that compares texts: letters, marks and digits of any script, and nothing else."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from tailora.measure.prose import echoes, rouge_l, squad_exact, token_f1
from tailora.measure.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World! foo_bar x2", ["hello", "world", "foo", "bar", "x2"]),
        ("日本語を話す？", list("日本語を話す")),
        ("日本語、話す。abc", [*"日本語話す", "abc"]),
        ("की के", ["की", "के"]),
        ("ภาษาไทย", ["ภ", "า", "ษ", "า", "ไ", "ท", "ย"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("Straße ÉCOLE", ["strasse", "école"]),
        (unicodedata.normalize("NFD", "café"), ["café"]),
        ("ﬁne ２０２６", ["fine", "2026"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("…—“”+*", []),
        ("مرحبا بك", ["مرحبا", "بك"]),
    ],
)
def test_words_are_letters_marks_and_digits(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(max_size=40))
def test_words_hold_no_punctuation_and_do_not_depend_on_case_or_composition(text: str) -> None:
    found = words(text)
    kinds = {unicodedata.category(letter) for word in found for letter in word}
    assert all(kind[0] in "LMN" or kind == "Cn" for kind in kinds)  # Cn: newer than this Python's Unicode
    assert words(unicodedata.normalize("NFC", text)) == words(unicodedata.normalize("NFD", text))
    assert words(" ".join(found)) == found


def test_marks_count_and_composition_does_not() -> None:
    assert rouge_l("की", "के") == 0.0 and token_f1("की", "के") == 0.0
    composed, apart = unicodedata.normalize("NFC", "un café"), unicodedata.normalize("NFD", "un café")
    assert rouge_l(composed, apart) == token_f1(composed, apart) == 1.0 and squad_exact(composed, apart)


@pytest.mark.parametrize(
    "pair", [("东京。", "东京"), ("«oui»", "oui"), ("¿qué?", "qué"), ("yes…", "Yes"), ("„ja“", "ja")]
)
def test_punctuation_of_any_script_is_left_out_of_the_exact_match(pair: tuple[str, str]) -> None:
    assert squad_exact(*pair)


def test_an_echo_is_seen_in_a_script_without_spaces() -> None:
    assert echoes("你能告诉我东京在哪里吗，当然可以", "你能告诉我东京在哪里吗？") is True
    assert echoes("东京在日本", "你能告诉我东京在哪里吗？") is False


@given(*[st.text("abcXYZ 019.,-_'", max_size=60)] * 2)
def test_rouge_is_that_of_its_authors_on_ascii(answer: str, reference: str) -> None:
    theirs = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False).score(reference, answer)["rougeL"].fmeasure
    assert rouge_l(answer, reference) == pytest.approx(theirs)
