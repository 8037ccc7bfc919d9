"""A small data set, a toy base model, and one finished run that the tests of this folder read."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailora.data.split import Splits
from tailora.files import Row
from tailora.pipeline import prepare
from tailora.recipe import Recipe, parse_recipe
from tailora.run import Run
from tests.rows import read, write
from tests.runs import every_stage
from tests.toys import save_toy


def write_rows(path: Path, count: int = 60) -> None:
    """Write questions whose answers are programs with tests, in six families."""
    numbers = random.Random(0)
    rows = []
    for i in range(count):
        kind, step = ("add", "sub", "mul", "neg", "inc", "dec")[i % 6], numbers.randrange(1, 99)
        rows.append(
            {
                "id": f"row-{i}",
                "instruction": f"Write `{kind}{i}` with {step}.",
                "input": "" if i % 3 else f"n = {step}",
                "output": f"```python\ndef {kind}{i}(n):\n    return n + {step}\n```",
                "other_question": f"{kind} {i}?",
                "other_answer": f"answer {i}",
                "note": f"note {i}",
                "family": kind,
                "author": f"author {i % 12}",
                "tests": [{"input": f"{kind}{i}(1)", "expected": 1 + step}],
            }
        )
    write(path, rows)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with rows.jsonl, fewer.jsonl and two toy bases, toy-0 and toy-1."""
    folder = tmp_path_factory.mktemp("workshop")
    write_rows(folder / "rows.jsonl")
    write_rows(folder / "fewer.jsonl", 48)
    save_toy(folder / "toy-0", seed=0)
    save_toy(folder / "toy-1", seed=1)
    return folder


@pytest.fixture(scope="session")
def make_recipe(workshop: Path) -> Callable[..., Recipe]:
    """Return a function from changed keys ("train.lr"=…) and sections to a small recipe."""

    def make(**changes: Any) -> Recipe:
        values: dict[str, Any] = {
            "name": "toy",
            "data": {"source": str(workshop / "rows.jsonl"), "val": 0.1, "test": 0.2, "holdout": "family"},
            "model": {"base": str(workshop / "toy-0"), "dtype": "float32", "max_length": 256},
            "lora": {"rank": 4},
            "train": {"epochs": 2, "lr": 1e-2, "batch_size": 8},
            "evaluate": {"max_new_tokens": 8},
        }
        for key, value in changes.items():
            section, _, name = key.partition(".")
            values[section] = {**values.get(section, {}), name: value} if name else value
        return parse_recipe(values)

    return make


@pytest.fixture(scope="session")
def finished(make_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of the plain recipe."""
    root = tmp_path_factory.mktemp("runs")
    return every_stage(make_recipe(), root).parents[1]


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., tuple[Splits, Row]]:
    """Return a function from named lists of rows and keys of `data` to the splits and the card of a run."""
    number = iter(range(100))

    def make(files: dict[str, list[Row]], task: str = "generate", **data: Any) -> tuple[Splits, Row]:
        for name, rows in files.items():
            write(tmp_path / name, rows)
        keys = {
            key: str(tmp_path / value) if isinstance(value, str) and value.partition("#")[0] in files else value
            for key, value in data.items()
        }
        asked = parse_recipe({"name": f"run-{next(number)}", "task": task, "data": keys})
        splits = prepare(Run.open(asked, tmp_path / "runs"))
        return splits, read(tmp_path / "runs" / asked.name / "prepare" / "card.json")

    return make
