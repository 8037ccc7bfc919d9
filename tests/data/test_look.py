"""Looking at a source: the keys that its columns and splits give stand in the recipe, beside what was seen."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tailora.data.look import look
from tailora.errors import DataError
from tailora.pipeline import prepare
from tailora.recipe import Recipe, describe_recipe, parse_recipe
from tailora.run import Run


def recipe_from(path: Path) -> tuple[str, Recipe]:
    """Return the text of the recipe that is written for a source, and what it says."""
    seen = look(str(path))
    values = {"name": "seen", "task": seen.task, "data": {"source": str(path), **seen.keys}}
    text = describe_recipe(parse_recipe(values), seen.remarks, seen.unset)
    return text, parse_recipe(tomllib.loads(text))


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SOURCES = {
    "a table with labels": (
        "review,sentiment,date\n" + "".join(f"film {i},{['bad', 'good'][i % 2]},1\n" for i in range(20)),
        "classify",
        {"prompt": "review", "input": None, "label": "sentiment", "answer": None},
        ["20 rows with the columns review, sentiment, date", "review, such as: film 0", "2 labels: bad, good"],
    ),
    "a table without names": (
        "".join(f"{i % 3},film number {i},long ago\n" for i in range(30)),
        "classify",
        {"prompt": "column_2", "input": "column_3", "label": "column_1"},
        ["3 labels: 0, 1, 2"],
    ),
    "labels that are texts": (
        lines(*({"text": f"t{i}", "target": f"t{i} in other words"} for i in range(20))),
        "generate",
        {"prompt": "text", "answer": "target", "label": None},
        ["target, such as: t0 in other words"],
    ),
    "questions with contexts": (
        lines(*({"Question": f"q{i}", "context": "c\x1b[2J\n#", "answer": f"a{i}"} for i in range(20))),
        "generate",
        {"prompt": "Question", "input": "context", "answer": "answer"},
        ["such as: q0", "such as: c[2J\\n#", "such as: a0"],
    ),
    "conversations": (
        lines(*({"messages": [{"role": "user", "content": f"q{i}"}, TURNS[1]]} for i in range(20))),
        "generate",
        {"prompt": None, "answer": None},
        ["conversations in the column messages"],
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_found_stands_in_the_recipe_and_can_be_prepared(name: str, tmp_path: Path) -> None:
    content, task, keys, seen = SOURCES[name]
    path = tmp_path / "rows"
    path.write_text(content)
    text, recipe = recipe_from(path)
    assert recipe.task == task and {key: getattr(recipe.data, key) for key in keys} == keys
    remarks = [line for line in text.splitlines() if line.startswith("# Seen: ")]
    assert all(any(said in remark for remark in remarks) for said in seen)
    assert sum(map(len, prepare(Run.open(recipe, tmp_path / "runs")))) == content.count("\n") - content.startswith(
        "review"
    )


def test_splits_that_come_with_the_source_are_left_to_it(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(20)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"train": rows[:15], "test": rows[15:]}))
    text, recipe = recipe_from(path)
    assert "# Seen: comes with the source, rows.json: test" in text
    assert "test" not in recipe.data.model_fields_set and "val" in recipe.data.model_fields_set
    assert sorted(row["answer"] for row in prepare(Run.open(recipe, tmp_path / "runs")).test) == [
        f"a{i}" for i in range(15, 20)
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"a": "x", "b": "y"}, "no column looks like the prompt"),
        ({"story": "s", "questions": [{"q": 1}]}, "the rows are nested"),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, 'data.answer = "chosen"'),
    ],
)
def test_columns_that_are_not_clear_are_asked_for_in_the_recipe(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(lines(row, row))
    text, recipe = recipe_from(tmp_path / "rows.jsonl")
    assert not look(str(tmp_path / "rows.jsonl")).is_clear
    assert recipe.data.prompt is recipe.data.answer is None
    assert any(line.startswith("# Seen: not clear: ") and said in line for line in text.splitlines())


@pytest.mark.parametrize("content", [b"", b"[]", b'{"question": "caf\xe9 x"}', b'[{"question": "q", "answer": "a"}, {'])
def test_a_source_that_cannot_be_read_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        look(str(tmp_path / "rows.json"))
    assert len(caught.value.problems) == 1


def test_of_a_large_source_the_first_rows_are_read_alone(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "a"}
    (tmp_path / "rows.jsonl").write_text(lines(*[row] * 2000) + "{broken\n")
    assert look(str(tmp_path / "rows.jsonl")).remarks["data.source"].startswith("the first 1,000 rows")
