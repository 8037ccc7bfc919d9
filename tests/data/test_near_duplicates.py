"""What rows share is found as by its definition, whatever their order, in memory or on disk."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailora.data.near_duplicates import KINDS, NEAR, Near, leaks, mark, near_groups, repeats_and_conflicts
from tailora.data.rows import normalise
from tailora.files import RowFile
from tests.rows import row, sentence


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
def test_near_questions_are_grouped_as_all_pairs_compared_by_definition_are(seed: int) -> None:
    numbers = random.Random(seed)
    texts = [sentence(numbers) for _ in range(25)]
    texts += [reworded(text, numbers, numbers.randrange(3)) for text in texts[:15]]
    numbers.shuffle(texts)
    by_hand = [(i, j) for i in range(40) for j in range(i) if jaccard(texts[i], texts[j]) >= NEAR]
    found = grouped([row(i, text) for i, text in enumerate(texts)])
    assert components(40, list(enumerate(found.group))) == components(40, by_hand)
    assert components(40, found.pairs) == components(40, by_hand)


def grouped(rows: list[dict[str, Any]]) -> Near:
    return near_groups(rows, mark(rows))


def test_the_order_of_the_rows_does_not_change_the_groups() -> None:
    numbers = random.Random(1)
    texts = [sentence(numbers) for _ in range(60)]
    rows = [row(i, text) for i, text in enumerate(texts + [reworded(text, numbers, 1) for text in texts])]
    shuffled = numbers.sample(rows, len(rows))
    sets = []
    for order in (rows, shuffled):
        members: dict[int, set[str]] = {}
        for one, group in zip(order, grouped(order).group, strict=True):
            members.setdefault(group, set()).add(one["id"])
        sets.append({frozenset(ids) for ids in members.values()})
    assert sets[0] == sets[1] and len(sets[0]) < len(rows)


def test_a_phrase_that_begins_and_ends_every_question_brings_no_two_rows_together() -> None:
    numbers = random.Random(5)
    before, after = sentence(numbers, 40), sentence(numbers, 20)
    texts = [sentence(numbers, 12) for _ in range(30)]
    assert jaccard(f"{before} {texts[0]} {after}", f"{before} {texts[1]} {after}") > 0.5
    rows = [row(i, f"{before} {text} {after}", f"{i}") for i, text in enumerate(texts)]
    assert len(set(grouped(rows).group)) == 30
    assert not any(found_leaks(rows[:20], rows[20:]).values())


def found_leaks(train: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> dict[str, set[int]]:
    rows = [*train, *held_out]
    marks = mark(rows)
    return leaks(rows, marks, near_groups(rows, marks), range(len(train)), range(len(train), len(rows)))


def test_planted_rows_are_named_by_what_they_share() -> None:
    numbers = random.Random(2)
    train = [row(i, sentence(numbers), f"{sentence(numbers)} {i}") for i in range(200)]
    planted = train[:10]
    asked = [r["prompt"][0]["content"] for r in planted]
    close = [reworded(text, numbers, 1) for text in asked]
    test = [row(1000 + i, sentence(numbers), f"unlike {i}") for i in range(30)]
    test += [row(2000 + i, text, r["answer"]) for i, (text, r) in enumerate(zip(asked, planted, strict=True))]
    test += [row(3000 + i, f"{text.upper()} ", "x") for i, text in enumerate(asked)]
    test += [row(4000 + i, text, "y") for i, text in enumerate(close)]
    found = found_leaks(train, test)
    named = {kind: {test[i - 200]["id"] for i in numbers} for kind, numbers in found.items()}
    verbatim, recased = {str(2000 + i) for i in range(10)}, {str(3000 + i) for i in range(10)}
    near = {str(4000 + i) for i in range(10) if jaccard(close[i], asked[i]) >= NEAR}
    assert named["same pair"] == named["same answer"] == verbatim
    assert named["same question"] == verbatim | recased
    assert named["near question"] == verbatim | recased | near
    assert named["13 words"] >= verbatim | recased  # one changed word leaves 13 in a row, but for its place
    assert set(named) == set(KINDS)


def test_a_long_answer_is_telling_in_a_script_without_spaces() -> None:
    answer = "水在一百摄氏度时沸腾，在零度时结冰。"
    train, held_out = row(0, "water and its temperatures", answer), row(1, "物理课的第二个问题", answer)
    assert found_leaks([train], [held_out])["same answer"] == {1}
    short = "是的，没错。"
    assert not found_leaks([train | {"answer": short}], [held_out | {"answer": short}])["same answer"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ما هي عاصمة جمهورية مصر العربية", "ما هي عاصمة جمهوريـــة مصر العربية؟"),
        ("Erkläre die Donau\u00addampf\u00adschifffahrt bitte", "Erkläre die Donaudampfschifffahrt, bitte!"),
        ("می‌خواهم برنامه‌نویسی یاد بگیرم", "میخواهم برنامهنویسی یاد بگیرم"),
        ("I ❤️ my cat very much", "I ❤ my cat very much"),
        ("ယနေ့ရာသီဥတု", "ယနေ့၊ရာသီဥတု။"),
        ("What's my e-mail log-in?", "whats my email login"),
        ("비밀번호를 바꿀 수 있나요?", "비밀번호를 바꿀수 있나요"),
    ],
)
def test_questions_that_differ_in_punctuation_or_in_what_is_unseen_alone_are_near(one: str, other: str) -> None:
    rows = [row(0, one), row(1, other), row(2, "how do I sort a list in python")]
    near = grouped(rows)
    assert near.group[0] == near.group[1] != near.group[2]
    assert found_leaks(rows[:1], rows[1:])["near question"] == {1}


def test_numbers_do_not_run_together_where_spaces_do_not_count() -> None:
    near = grouped([row(0, "What is 1 + 23?"), row(1, "What is 12 + 3?")])
    assert near.group[0] != near.group[1]


def test_short_questions_share_words_when_all_of_theirs_stand_in_a_training_row() -> None:
    numbers = random.Random(4)
    train = [row(i, sentence(numbers, 20)) for i in range(40)]
    words = train[3]["prompt"][0]["content"].split()
    test = [row(100 + count, " ".join(words[4 : 4 + count])) for count in (7, 8, 12)]
    assert {test[i - 40]["id"] for i in found_leaks(train, test)["13 words"]} == {"108", "112"}


def test_a_phrase_that_many_training_rows_have_is_no_leak() -> None:
    numbers = random.Random(6)
    phrase = sentence(numbers, 15)
    for count, leaking in ((10, {60}), (11, set())):
        train = [row(i, f"{sentence(numbers, 3)} {phrase if i < count else sentence(numbers, 15)}") for i in range(60)]
        assert found_leaks(train, [row(100, f"{sentence(numbers, 4)} {phrase}")])["13 words"] == leaking


def test_rows_of_different_texts_leak_nothing() -> None:
    numbers = random.Random(3)
    rows = [row(i, sentence(numbers), sentence(numbers)) for i in range(60)]
    assert not any(found_leaks(rows[:40], rows[40:]).values())


def test_rows_on_disk_are_compared_like_rows_in_memory(tmp_path: Path) -> None:
    numbers = random.Random(7)
    texts = [sentence(numbers) for _ in range(30)]
    rows = [row(i, text) for i, text in enumerate(texts + [reworded(text, numbers, 1) for text in texts])]
    on_disk = RowFile.write(tmp_path / "rows.jsonl", rows)
    marks, near = mark(rows), near_groups(rows, mark(rows))
    assert near_groups(on_disk, mark(on_disk)) == near
    asked = (range(30), range(30, 60))
    assert leaks(on_disk, marks, near, *asked) == leaks(rows, marks, near, *asked)


def test_repeats_but_for_case_and_one_question_answered_twice_are_told_apart() -> None:
    rows = [row(1, "What is it?", "this"), row(2, "what  is it?", "That"), row(3, "What is it?", "THIS")]
    assert repeats_and_conflicts(mark(rows)) == ([2], [1])
