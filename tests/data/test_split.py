"""Splits share nothing, lose nothing, and depend on contents and seed alone."""

import random
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora.data.examples import Kept, to_examples
from tailora.data.near_duplicates import mark, near_groups
from tailora.data.read import SourceRow
from tailora.data.rows import normalise
from tailora.data.split import Splits, divide, group_rows, weighted
from tailora.errors import DataError
from tailora.files import Row
from tailora.recipe import Data

SHORT, LONG = "yes and no", "one two three four five six seven eight"
SEEDS = st.integers(0, 10**6)


def data(**keys: Any) -> Data:
    return Data(source="rows.jsonl", **keys)


def split(rows: list[Row], settings: Data, own: dict[str, range] | None = None) -> Splits:
    """Divide rows in memory, and return the rows of each split."""
    marks = mark(rows, [name for name in (settings.group, settings.holdout) if name])
    division = divide(marks, near_groups(rows, marks), settings, own)
    return Splits(*(list(division.rows(name, rows)) for name in Splits._fields))


def example(number: int, prompt: str, answer: str, **columns: Any) -> Row:
    return {"id": str(number), "prompt": [{"role": "user", "content": prompt}], "answer": answer, **columns}


def tangled(seed: int, count: int = 60) -> list[Row]:
    """Rows that share questions, long and short answers, topics and sources, some written another way."""
    numbers = random.Random(seed)
    rows = []
    for i in range(count):
        prompt = f"Question {numbers.randrange(4 * count)}"
        telling = f"{LONG} {numbers.randrange(2 * count)}" if numbers.random() < 0.5 else SHORT
        if numbers.random() < 0.3:
            prompt, telling = f" {prompt.upper()}\n", telling.replace(" ", "\u00a0 ").upper()
        columns = {"source": numbers.randrange(3 * count), "topic": f"t{numbers.randrange(12)}"}
        rows.append(example(i, prompt, telling, **columns))
    return rows


def plain(count: int) -> list[Row]:
    return [example(i, f"Question {i}", f"{LONG} {i}", topic=f"t{i % 20}") for i in range(count)]


def same(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def traits(row: Row, group: str | None) -> set[tuple[str, Any]]:
    """Everything of a row that may stand in one split only."""
    found = {("prompt", same(row["prompt"][0]["content"]))}
    if len(row["answer"].split()) >= 8:
        found.add(("answer", same(row["answer"])))
    if group:
        found.add(("group", row[group]))
    return found


def components(rows: list[Row], group: str | None) -> dict[str, str]:
    """Name the connected component of every row, by spreading the smallest id until nothing changes."""
    label = {row["id"]: row["id"] for row in rows}
    changing = True
    while changing:
        changing = False
        for row in rows:
            for other in rows:
                if traits(row, group) & traits(other, group) and label[other["id"]] < label[row["id"]]:
                    label[row["id"]], changing = label[other["id"]], True
    return label


def ids(rows: Iterable[Row]) -> list[str]:
    return [row["id"] for row in rows]


def membership(splits: Splits) -> dict[str, list[str]]:
    return {name: ids(rows) for name, rows in splits._asdict().items()}


def by_slice(splits: Splits) -> dict[str, list[Row]]:
    slices: dict[str, list[Row]] = {}
    for row in splits.test:
        slices.setdefault(row["slice"], []).append(row)
    return slices


@given(SEEDS, st.sampled_from([None, "source"]), st.sampled_from([None, "topic"]))
def test_no_question_telling_answer_or_group_stands_in_two_splits(
    seed: int, group: str | None, holdout: str | None
) -> None:
    splits = split(tangled(seed), data(seed=seed, group=group, holdout=holdout, val=0.1, test=0.2))
    train, val, test = (set().union(*(traits(row, group) for row in rows)) for rows in splits)
    assert not train & val and not train & test and not val & test


@given(SEEDS, st.sampled_from([None, "source"]), st.sampled_from([None, "topic"]))
def test_every_row_stands_in_exactly_one_split_with_its_columns(
    seed: int, group: str | None, holdout: str | None
) -> None:
    rows = tangled(seed)
    splits = split(rows, data(group=group, holdout=holdout, val=0.1, test=0.2))
    joined = [row for part in splits for row in part]
    assert Counter(ids(joined)) == Counter(ids(rows))
    originals = {row["id"]: row for row in rows}
    assert all(row | originals[row["id"]] == row for row in joined)


@given(SEEDS, st.sampled_from([None, "source"]), st.sampled_from([None, "topic"]))
def test_the_order_of_the_rows_does_not_change_the_split(seed: int, group: str | None, holdout: str | None) -> None:
    # Rows that are equal in all but their columns would be repeats; to_examples removes them before.
    rows = list({(row["prompt"][0]["content"], row["answer"]): row for row in tangled(seed)}.values())
    shuffled = random.Random(seed).sample(rows, len(rows))
    settings = data(group=group, holdout=holdout, val=0.1, test=0.2)
    assert split(shuffled, settings) == split(rows, settings)


@given(SEEDS, st.lists(st.integers(0, 39), max_size=10))
def test_repeated_source_rows_do_not_change_the_split(seed: int, repeated: list[int]) -> None:
    source = [{"question": row["prompt"][0]["content"], "answer": row["answer"]} for row in tangled(seed, 40)]

    def split_of(values: list[dict[str, str]]) -> list[list[tuple[str, str]]]:
        rows = [SourceRow(f"x:{i}", row) for i, row in enumerate(values)]
        examples = list(to_examples(rows, data(), "x", Kept()))
        return [[(row["id"], row["cluster"]) for row in part] for part in split(examples, data(val=0.1, test=0.2))]

    assert split_of(source) == split_of(source + [source[i] for i in repeated])
    assert split_of(source) == split_of([source[i] for i in repeated] + source)


def test_another_seed_gives_another_split() -> None:
    assert membership(split(plain(100), data(seed=0))) != membership(split(plain(100), data(seed=1)))


def test_other_rows_of_the_source_do_not_decide_whose_turn_it_is() -> None:
    # Growing a data set keeps most test rows test rows, so that two versions can be compared.
    before, after = (set(ids(split(plain(count), data(test=0.2)).test)) for count in (200, 210))
    assert len(before & after) > 0.8 * len(before)


@given(st.integers(20, 300), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
def test_unrelated_rows_are_split_by_the_asked_shares(count: int, val: float, test: float) -> None:
    splits = split(plain(count), data(val=val, test=test))
    assert len(splits.val) == max(1, round(val * count))
    assert len(splits.test) == max(1, round(test * count))


@given(SEEDS)
def test_groups_are_split_near_the_asked_shares(seed: int) -> None:
    rows = [example(i, f"Question {i}", SHORT, source=i // random.Random(seed).randint(1, 4)) for i in range(200)]
    splits = split(rows, data(group="source", seed=seed, val=0.1, test=0.2))
    assert 16 <= len(splits.val) <= 20
    assert 36 <= len(splits.test) <= 40


@given(SEEDS, st.sampled_from([None, "source"]))
def test_clusters_are_the_connected_components(seed: int, group: str | None) -> None:
    rows = tangled(seed)
    label = components(rows, group)
    marks = mark(rows, ["source"])
    groups = group_rows(marks, near_groups(rows, marks), range(len(rows)), data(group=group))
    assert len(groups) == len(set(label.values()))
    splits = split(rows, data(group=group, val=0.1, test=0.2))
    clusters = {row["id"]: row["cluster"] for part in splits for row in part}
    pairs = {(clusters[name], label[name]) for name in label}
    assert len(pairs) == len(set(clusters.values())) == len(set(label.values()))


@given(SEEDS, st.sampled_from([None, "source"]))
def test_unseen_values_stand_in_the_test_split_alone(seed: int, group: str | None) -> None:
    splits = split(tangled(seed), data(holdout="topic", group=group, seed=seed, val=0.1, test=0.2))
    held_back = {row["topic"] for row in splits.test if row["slice"] == "unseen topic"}
    learned = {row["topic"] for row in [*splits.train, *splits.val]}
    assert held_back and not held_back & learned


@given(SEEDS)
def test_the_slice_says_whether_the_value_itself_is_kept_back(seed: int) -> None:
    splits = split(tangled(seed), data(holdout="topic", seed=seed, val=0.1, test=0.2))
    topics = {name: {row["topic"] for row in rows} for name, rows in by_slice(splits).items()}
    assert set(topics) <= {"seen topic", "unseen topic"}
    assert not topics["seen topic"] & topics["unseen topic"]
    assert len(topics["unseen topic"]) == round(0.2 * len({row["topic"] for row in tangled(seed)}))


@given(SEEDS)
def test_test_rows_that_share_anything_or_an_unseen_value_share_their_cluster(seed: int) -> None:
    test = split(tangled(seed), data(holdout="topic", seed=seed, val=0.1, test=0.2)).test
    for row in test:
        for other in test:
            same_unseen = row["topic"] == other["topic"] and row["slice"] == other["slice"] == "unseen topic"
            if traits(row, None) & traits(other, None) or same_unseen:
                assert row["cluster"] == other["cluster"]


def test_unrelated_rows_of_one_unseen_value_are_one_cluster_and_others_are_their_own() -> None:
    slices = by_slice(split(plain(200), data(holdout="topic")))
    seen, unseen = slices["seen topic"], slices["unseen topic"]
    assert len(unseen) == 20 and len({row["topic"] for row in unseen}) == 2
    assert len({row["cluster"] for row in unseen}) == 2
    assert len({row["cluster"] for row in seen}) == len(seen) == 18


def test_without_unseen_no_row_has_a_slice() -> None:
    assert not any("slice" in row for part in split(plain(50), data()) for row in part)


def test_splitting_leaves_its_input_alone() -> None:
    rows = plain(50)
    split(rows, data(holdout="topic"))
    assert rows == plain(50)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        plain(9),
        [example(i, "The same question", f"{i}") for i in range(50)],
        [example(i, f"{i}", LONG) for i in range(50)],
    ],
)
def test_rows_that_cannot_make_three_splits_are_refused_with_their_number(rows: list[Row]) -> None:
    with pytest.raises(DataError, match=rf"{len(rows)} rows in \d+ groups are too few to split"):
        split(rows, data())


def test_ten_unrelated_rows_are_enough() -> None:
    assert all(split(plain(10), data()))


def test_fewer_than_three_values_cannot_be_kept_back() -> None:
    rows = [row | {"topic": f"t{i % 2}"} for i, row in enumerate(plain(50))]
    with pytest.raises(DataError, match=r'data\.holdout = "topic" has 2 values'):
        split(rows, data(holdout="topic"))


@given(st.text())
def test_normalising_ignores_case_and_space_and_changes_nothing_twice(text: str) -> None:
    assert normalise(f"  {text}\n") == normalise(text) == normalise(text.replace(" ", "\t "))
    assert normalise("ＡＢ\u00a0c") == "ab c"


def test_rows_of_files_of_their_own_stay_there_and_the_rest_is_dealt() -> None:
    rows = plain(120)
    splits = split(rows, data(val=0.1, test="test.jsonl"), {"test": range(100, 120)})
    assert set(ids(splits.test)) == {str(i) for i in range(100, 120)}
    assert len(splits.val) == 10 and len(splits.train) == 90
    both = {"val": range(90, 100), "test": range(100, 120)}
    splits = split(rows, data(val="val.jsonl", test="test.jsonl"), both)
    assert [len(part) for part in splits] == [90, 10, 20]


def test_unseen_rows_of_a_test_file_are_those_whose_value_is_not_learned() -> None:
    rows = plain(60) + [
        example(60 + i, f"Other {i}", f"{LONG} {i + 60}", topic=("t1", "new")[i % 2]) for i in range(20)
    ]
    splits = split(rows, data(holdout="topic", test="test.jsonl"), {"test": range(60, 80)})
    assert {(row["topic"], row["slice"]) for row in splits.test} == {("t1", "seen topic"), ("new", "unseen topic")}


@given(st.integers(1, 60), st.floats(0.1, 4))
def test_a_weight_shows_the_rows_of_a_domain_as_often(count: int, weight: float) -> None:
    domains = ["law"] * count + ["other"] * 5
    keys = [f"{i:04}" for i in range(len(domains))]
    times = Counter(weighted(list(range(len(domains))), domains, {"law": weight}, keys))
    law = [times[i] for i in range(count)]
    assert sum(law) == round(weight * count) and max(law) - min(law) <= 1
    assert all(times[i] == 1 for i in range(count, count + 5))


def test_a_weight_of_no_domain_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.weights names lwa, but the domains are law, other"):
        weighted([0, 1], ["law", "other"], {"lwa": 2}, ["a", "b"])
