"""Preparing texts with labels: classes are named once for all files, and every split has its share of each."""

import csv
import json
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tailora.data.split import Splits
from tailora.errors import DataError
from tailora.files import Row
from tailora.pipeline import prepare
from tailora.present.data import card_lines, read_card, warnings
from tailora.recipe import parse_recipe
from tailora.run import Run
from tests.rows import sentence

SHARED = Path(__file__).parents[2] / "../shared/data"
NEWS = ["World", "Sports", "Business", "Sci/Tech"]
WORDS = ["match", "market", "planet", "talks", "goal", "bank", "orbit", "vote", "score", "profit", "cell", "army"]


def texts(labels: dict[Any, int], seed: int = 0) -> list[Row]:
    """Return as many rows of each label."""
    numbers = random.Random(seed)
    return [
        {"text": sentence(numbers, 14, WORDS), "label": label} for label, count in labels.items() for _ in range(count)
    ]


Prepare = Callable[..., tuple[Splits, Row]]


@pytest.fixture
def prepared(prepared: Prepare) -> Prepare:
    """Return the function of that name for classifiers."""
    return partial(prepared, task="classify")


def counted(rows: Any) -> Counter[str]:
    return Counter(row["answer"] for row in rows)


def test_every_split_has_its_share_of_every_label(prepared: Prepare) -> None:
    splits, card = prepared({"a.jsonl": texts({"a": 200, "b": 100, "c": 40})}, source="a.jsonl", val=0.1, test=0.2)
    assert counted(splits.test) == {"a": 40, "b": 20, "c": 8}
    assert counted(splits.val) == {"a": 20, "b": 10, "c": 4}
    assert card["labels"]["test"] == {"a": 40, "b": 20, "c": 8}
    assert card["classes"] == {"names": ["a", "b", "c"], "written": {}}


def test_near_texts_and_groups_stay_together_in_stratified_splits(prepared: Prepare) -> None:
    rows = [row | {"author": f"author {i % 25}"} for i, row in enumerate(texts({"a": 100, "b": 100}))]
    splits, _ = prepared({"a.jsonl": rows}, source="a.jsonl", group="author", test=0.2, val=0.1)
    authors = [{row["author"] for row in part} for part in splits]
    assert not authors[0] & authors[1] and not authors[0] & authors[2] and not authors[1] & authors[2]
    near = [row | {"text": f"{row['text']} and so on it went"} for row in rows]
    splits, _ = prepared({"b.jsonl": rows + near}, source="b.jsonl", test=0.2)
    clusters = [{row["cluster"] for row in part} for part in splits]
    assert not clusters[0] & clusters[2] and not clusters[0] & clusters[1]


def test_a_label_with_one_row_is_learned_and_said(prepared: Prepare) -> None:
    for seed in range(5):
        rows = texts({"a": 50, "b": 50, "rare": 1})
        splits, card = prepared({"a.jsonl": rows}, source="a.jsonl", seed=seed)
        assert counted(splits.train)["rare"] == 1
        assert any("only one row each for the labels 'rare'" in line for line in warnings(card))


def test_the_order_of_rows_does_not_change_stratified_splits(prepared: Prepare) -> None:
    rows = texts({"a": 60, "b": 30})
    one, _ = prepared({"a.jsonl": rows}, source="a.jsonl")
    other, _ = prepared({"b.jsonl": rows[::-1]}, source="b.jsonl")
    assert [[row["id"] for row in part] for part in one] == [[row["id"] for row in part] for part in other]


def test_files_with_their_own_numbers_meet_in_the_names(prepared: Prepare, tmp_path: Path) -> None:
    files = {"train.jsonl": texts(dict.fromkeys([0, 1, 2, 3], 30)), "test.jsonl": texts(dict.fromkeys("1234", 5), 1)}
    splits, card = prepared(files, source="train.jsonl", test="test.jsonl", labels=NEWS)
    assert counted(splits.test) == dict.fromkeys(NEWS, 5)
    assert card["classes"]["written"][str(tmp_path / "test.jsonl")] == dict(zip("1234", NEWS, strict=True))
    shown = "\n".join(card_lines(read_card(tmp_path / "runs" / "run-0")))
    assert "labels: 0 World, 1 Sports, 2 Business, 3 Sci/Tech" in shown and "4 is Sci/Tech" in shown
    saved = json.loads((tmp_path / "runs" / "run-0" / "prepare" / "labels.json").read_text())
    assert saved["names"] == NEWS and saved["rows"]["test"] == dict.fromkeys(NEWS, 5)
    with pytest.raises(DataError, match=r"count from 0 in .* and from 1 in"):
        prepared(files, source="train.jsonl", test="test.jsonl")


def test_one_label_however_it_is_written(prepared: Prepare) -> None:
    rows = [row | {"label": ["2.0", 2, 2.0, " 2"][i % 4]} for i, row in enumerate(texts({"x": 40}))]
    splits, card = prepared({"a.jsonl": rows + texts({1: 40}, 1)}, source="a.jsonl")
    assert card["classes"]["names"] == ["1", "2"]
    assert sum(counted(part)["2"] for part in splits) == 40


def test_labels_that_training_does_not_have_are_refused(prepared: Prepare) -> None:
    files = {"train.jsonl": texts({"a": 30, "b": 30}), "test.jsonl": texts({"a": 5, "c": 2}, 1)}
    with pytest.raises(DataError, match="no training row has the label 'c', which 2 test rows have"):
        prepared(files, source="train.jsonl", test="test.jsonl")


def test_a_listed_label_without_rows_is_said(prepared: Prepare) -> None:
    _, card = prepared({"a.jsonl": texts({"a": 30, "b": 30})}, source="a.jsonl", labels=["a", "b", "c"])
    assert any("no row has the label 'c'" in line for line in warnings(card))


@pytest.mark.parametrize(
    ("columns", "keys"),
    [
        (("question", "answer"), {}),
        (("text", "label"), {}),
        (("sentence", "category"), {}),
        (("body", "kind"), {"prompt": "body", "label": "kind"}),
        (("body", "kind"), {"prompt": "body", "answer": "kind"}),
    ],
)
def test_columns_are_found_or_named(columns: tuple[str, str], keys: dict[str, str], prepared: Prepare) -> None:
    rows = [{columns[0]: row["text"], columns[1]: row["label"]} for row in texts({"a": 30, "b": 30})]
    splits, _ = prepared({"a.jsonl": rows}, source="a.jsonl", **keys)
    assert counted(splits.train).keys() == {"a", "b"}


def test_a_column_that_looks_like_labels_goes_before_an_answer(prepared: Prepare) -> None:
    rows = [{"question": r["text"], "answer": "long " * 9, "label": r["label"]} for r in texts({"a": 30, "b": 30})]
    splits, _ = prepared({"a.jsonl": rows}, source="a.jsonl")
    assert counted(splits.train).keys() == {"a", "b"}
    with pytest.raises(DataError, match="several columns could be the label: label, category"):
        prepared({"b.jsonl": [row | {"category": "x"} for row in rows]}, source="b.jsonl")
    with pytest.raises(DataError, match=r"data\.label"):
        prepared({"c.jsonl": [{"text": row["question"], "other": 1} for row in rows]}, source="c.jsonl")


def test_a_table_without_a_header_is_understood(tmp_path: Path) -> None:
    numbers = random.Random(0)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        table = csv.writer(file, quoting=csv.QUOTE_ALL)
        table.writerows([i % 4 + 1, sentence(numbers, 5), sentence(numbers, 14, WORDS)] for i in range(80))
    asked = {"name": "table", "task": "classify", "data": {"source": str(tmp_path / "rows.csv"), "labels": NEWS}}
    splits = prepare(Run.open(parse_recipe(asked), tmp_path / "runs"))
    assert counted(splits.train).keys() == set(NEWS)
    assert all("\n\n" in row["prompt"][0]["content"] for row in splits.train)  # title and description


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data sets are not here")
def test_a_test_file_that_stands_whole_in_the_training_data_is_said(tmp_path: Path) -> None:
    data = {
        "source": str(SHARED / "agnews_seed_val/val.jsonl"),
        "test": str(SHARED / "agnews_seed_val/unit_test.jsonl"),
    }
    prepare(Run.open(parse_recipe({"name": "leak", "task": "classify", "data": data}), tmp_path))
    card = json.loads((tmp_path / "leak" / "prepare" / "card.json").read_text("utf-8"))
    assert any("all 50 test rows overlap with train or val" in line for line in warnings(card))


def test_hundreds_of_labels_are_shown_in_one_short_line_with_their_number(prepared: Prepare, tmp_path: Path) -> None:
    prepared({"a.jsonl": texts({f"intent {i}": 4 for i in range(300)})}, source="a.jsonl")
    (line,) = [line for line in card_lines(read_card(tmp_path / "runs" / "run-0")) if line.startswith("labels: ")]
    assert "0 intent 0" in line and line.endswith("… and 280 more") and len(line) < 500
