import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailora.recipe import Data
from tailora.text.audit import NEAR, conflicts, findings, leakage, near_pairs, normalise, scripts
from tailora.text.split import split

WORDS = ["list", "of", "rows", "sort", "count", "word", "split", "answer", "with", "for", "train", "test"]


def row(number: int, asked: str, answer: str = "an answer") -> dict[str, Any]:
    return {
        "id": str(number),
        "where": f"x:{number}",
        "prompt": [{"role": "user", "content": asked}],
        "answer": answer,
    }


def sentence(numbers: random.Random, words: int = 30) -> str:
    return " ".join(numbers.choice(WORDS) + str(numbers.randrange(50)) for _ in range(words))


def jaccard(one: str, other: str) -> float:
    """The definition, on sets of 5-word tuples."""
    sets = []
    for text in (one, other):
        words = normalise(text).split()
        sets.append({tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def reworded(text: str, numbers: random.Random, words: int) -> str:
    parts = text.split()
    for place in numbers.sample(range(len(parts)), words):
        parts[place] = "other"
    return " ".join(parts)


def components(size: int, links: list[tuple[int, int]]) -> set[frozenset[int]]:
    groups = {i: {i} for i in range(size)}
    for i, j in links:
        merged = groups[i] | groups[j]
        for member in merged:
            groups[member] = merged
    return {frozenset(group) for group in groups.values()}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_near_pairs_group_as_all_pairs_compared_by_definition_do(seed: int) -> None:
    numbers = random.Random(seed)
    texts = [sentence(numbers) for _ in range(25)]
    texts += [reworded(text, numbers, numbers.randrange(3)) for text in texts[:15]]
    numbers.shuffle(texts)
    by_hand = [(i, j) for i in range(40) for j in range(i) if jaccard(texts[i], texts[j]) >= NEAR]
    found = list(near_pairs(texts))
    assert components(40, [(i, j) for i, j, _ in found]) == components(40, by_hand)
    for i, j, similarity in found:
        assert similarity == pytest.approx(jaccard(texts[i], texts[j]))


def test_near_questions_stay_in_one_split_whatever_the_order() -> None:
    numbers = random.Random(1)
    asked = [sentence(numbers) for _ in range(80)]
    rows = [row(i, text, f"{i}") for i, text in enumerate(asked + [reworded(text, numbers, 1) for text in asked])]
    near = {(i, i + 80) for i in range(80) if jaccard(asked[i], rows[i + 80]["prompt"][0]["content"]) >= NEAR}
    assert len(near) > 10
    splits = split(rows, Data(source="x", test=0.2, val=0.1))
    home = {r["id"]: name for name, part in splits._asdict().items() for r in part}
    assert all(home[str(i)] == home[str(j)] for i, j in near)
    assert split(rows[::-1], Data(source="x", test=0.2, val=0.1)) == splits


def test_planted_rows_are_named_by_what_they_share() -> None:
    numbers = random.Random(2)
    train = [row(i, sentence(numbers), f"unlike {i}") for i in range(200)]
    planted = train[:10]
    test = [row(1000 + i, sentence(numbers), f"unlike {1000 + i}") for i in range(30)]
    test += [row(2000 + i, r["prompt"][0]["content"], r["answer"]) for i, r in enumerate(planted)]
    test += [row(3000 + i, r["prompt"][0]["content"].upper() + " ", "x") for i, r in enumerate(planted)]
    close = [reworded(r["prompt"][0]["content"], numbers, 1) for r in planted]
    test += [row(4000 + i, text, "y") for i, text in enumerate(close)]
    table = {leak["kind"]: leak for leak in leakage(train, test=test)}
    near = sum(jaccard(text, r["prompt"][0]["content"]) >= NEAR for text, r in zip(close, planted, strict=True))
    assert table["same pair"]["rows"] == 10
    assert table["same question"]["rows"] == 20
    assert table["near question"]["rows"] == 20 + near
    assert table["13 words"]["rows"] == 30  # one changed word leaves 13 in a row
    assert table["same pair"]["places"] == ["x:2000", "x:2001", "x:2002"]


def test_splits_of_different_texts_leak_nothing() -> None:
    numbers = random.Random(3)
    rows = [row(i, sentence(numbers), sentence(numbers)) for i in range(60)]
    assert {leak["rows"] for leak in leakage(rows[:40], val=rows[40:50], test=rows[50:])} == {0}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe@example.org today", "e-mail address"),
        ("-----BEGIN RSA PRIVATE KEY-----", "private key"),
        ("key AKIA" + "A1B2" * 4, "access key"),
        ("a &lt; b", "HTML entity"),
        ("cafÃ© is broken", "mojibake"),
        ("a\u200bb", "zero-width or bidi character"),
        ("a\x00b", "control character"),
        ("I'm sorry, but I cannot do that.", "answer refuses"),
        ("The Question", "answer repeats the question"),
    ],
)
def test_what_a_reader_should_look_at_is_found(text: str, kind: str) -> None:
    found = findings([row(7, "the  question", text), row(8, "another question", "a plain answer: a @ b, café & x < y")])
    assert set(found) == {kind}
    assert (found[kind].rows, found[kind].places) == (1, ["x:7"])


def test_one_question_with_two_answers_is_a_conflict_and_with_one_answer_is_none() -> None:
    rows = [row(1, "What is it?", "this"), row(2, "what  is it?", "That"), row(3, "What is it?", "THIS")]
    assert conflicts(rows).places == ["x:2"]


def test_scripts_are_counted_by_the_letters_of_the_question() -> None:
    rows = [row(1, "hello"), row(2, "你好吗 ok"), row(3, "привет"), row(4, "12 + 3"), row(5, "Grüße")]
    assert scripts(rows) == {"LATIN": 2, "CJK": 1, "CYRILLIC": 1, "no letters": 1}
