"""One tokenisation for all that compares texts: letters, marks and digits of any script, and nothing else."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from tailora.measure.prose import echoes, repetition, rouge_l, squad_exact, token_f1
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
        ("Donau\u00addampf", ["donaudampf"]),  # a soft hyphen
        ("می\u200cخواهم جمهوريـــة", ["میخواهم", "جمهورية"]),  # a joiner and a stretch
        ("តើ\u200bអ្នក a\u200bb", ["តើ", "អ្", "ន", "ក", "a", "b"]),  # a zero-width space
        ("e\u034f\u0301", ["é"]),  # a joiner between a letter and its mark
        ("I ❤️ NY 1️⃣ 👨‍👩‍👧 🇩🇪", ["i", "ny", "1"]),  # marks of emoji
        ("サーバーA", [*"サーバー", "a"]),
        ("ㄅㄆㄇ", list("ㄅㄆㄇ")),
        ("Ինչո՞ւ, Այո՛", ["ինչու", "այո"]),  # marks of question and stress inside a word
        ("ꦧꦱꦗꦮꦶ", ["ꦧ", "ꦱ", "ꦗ", "ꦮꦶ"]),
        ("က၊ ခ။ ก๏ ฿ ក។ ៛ 々・〜", ["က", "ခ", "ก", "ក", "々"]),  # punctuation of scripts without spaces
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


@pytest.mark.parametrize("pair", [("Straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("İST", "i̇st")])
def test_the_case_of_letters_does_not_count_in_any_script(pair: tuple[str, str]) -> None:
    assert squad_exact(*pair) and token_f1(*pair) == rouge_l(*pair) == 1.0


def test_marks_count_and_composition_does_not() -> None:
    assert rouge_l("की", "के") == 0.0 and token_f1("की", "के") == 0.0
    composed, apart = unicodedata.normalize("NFC", "un café"), unicodedata.normalize("NFD", "un café")
    assert rouge_l(composed, apart) == token_f1(composed, apart) == 1.0 and squad_exact(composed, apart)


@pytest.mark.parametrize(
    "pair",
    [
        ("东京。", "东京"), ("«oui»", "oui"), ("¿qué?", "qué"), ("yes…", "Yes"), ("„ja“", "ja"),
        ("\u22125 °C", "-5 °C"),
    ],
)  # fmt: skip
def test_punctuation_of_any_script_is_left_out_of_the_exact_match(pair: tuple[str, str]) -> None:
    assert squad_exact(*pair)


@pytest.mark.parametrize("pair", [("👍", "👎"), ("≤", "≥"), ("x → y", "x ← y"), ("25 ℃", "25")])
def test_symbols_that_say_something_count_in_the_exact_match(pair: tuple[str, str]) -> None:
    assert not squad_exact(*pair) and token_f1(*pair) < 1


@pytest.mark.parametrize("unseen", ["\u00ad", "\u200d", "\ufeff", "\ufe0f", "\u202b"])
def test_what_no_reader_sees_is_not_compared(unseen: str) -> None:
    one, other = f"so{unseen}ft ❤{unseen} day", "soft ❤ day"
    assert squad_exact(one, other) and token_f1(one, other) == rouge_l(one, other) == 1.0


def test_texts_in_a_script_without_spaces_share_characters() -> None:
    # 3 of the 5 characters are right, and all 3 are found; as MLQA's script has it.
    assert token_f1("東京都です", "東京都") == pytest.approx(2 * 3 / (5 + 3))
    assert token_f1("iPhone 15的价格", "iPhone 15") == pytest.approx(2 * 2 / (5 + 2))
    assert not squad_exact("東京都です", "東京都")


def test_babble_is_seen_in_a_script_without_spaces() -> None:
    assert repetition("好的" * 6) == pytest.approx(7 / 9)  # nine 4-grams, of two kinds
    assert repetition("東京は日本の首都です") == 0
    assert repetition("! " * 7) == pytest.approx(3 / 4)  # no words at all


def test_an_echo_is_seen_in_a_script_without_spaces() -> None:
    assert echoes("你能告诉我东京在哪里吗，当然可以", "你能告诉我东京在哪里吗？") is True
    assert echoes("东京在日本", "你能告诉我东京在哪里吗？") is False


@given(*[st.text("abcXYZ 019.,-_'", max_size=60)] * 2)
def test_rouge_is_that_of_its_authors_on_ascii(answer: str, reference: str) -> None:
    theirs = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False).score(reference, answer)["rougeL"].fmeasure
    assert rouge_l(answer, reference) == pytest.approx(theirs)
