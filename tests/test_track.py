"""Trackers get the rows of the log, through accelerate's own classes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking

from tailora.errors import RunError
from tailora.files import Row
from tailora.recipe import parse_recipe
from tailora.run import Run
from tailora.track import check_trackers, trackers

ROWS: list[Row] = [
    {"split": "val", "step": 0, "epoch": 0, "loss": 5.5},
    {"split": "train", "step": 1, "epoch": 1, "loss": 5.25, "lr": 0.125},
    {"split": "skipped", "step": 2, "epoch": 1, "loss": "nan", "rows": [3, 4]},
]
NUMBERS = [
    ({"val/epoch": 0, "val/loss": 5.5}, 0),
    ({"train/epoch": 1, "train/loss": 5.25, "train/lr": 0.125}, 1),
    ({"skipped/epoch": 1}, 2),
]


class Notebook(tracking.GeneralTracker):
    """Writes down every call in a file, which a test reads."""

    name = "notebook"
    requires_logging_directory = True

    def __init__(self, run_name: str, logging_dir: Path) -> None:
        super().__init__()
        logging_dir.mkdir(parents=True)
        self._file = logging_dir / "calls.jsonl"
        self._note("init", run_name)

    @property
    def tracker(self) -> Path:
        """Return what accelerate calls the inner tracker."""
        return self._file

    def _note(self, *call: Any) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(call) + "\n")

    def start(self) -> None:
        """Note the start."""
        self._note("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Note the recipe."""
        self._note("recipe", values)

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Note a row."""
        self._note(values, step)

    def finish(self) -> None:
        """Note the end."""
        self._note("finish")


@pytest.fixture
def notebook() -> Iterator[str]:
    """Register a tracker with accelerate, as its users do for their own."""
    tracking.register_tracker_class(Notebook)
    yield Notebook.name
    del tracking.LOGGER_TYPE_TO_CLASS[Notebook.name]


def test_a_tracker_is_started_told_everything_and_finished_also_when_training_fails(
    notebook: str, tmp_path: Path
) -> None:
    recipe = parse_recipe({"name": "r", "data": {"source": "rows.jsonl"}})
    values = {"lr": 0.1, "targets": ["q"], "rows": None}
    with (
        pytest.raises(ValueError, match="midway"),
        Run.open(recipe, tmp_path).stage("train") as stage,
        trackers([notebook], "r", stage.folder, values) as stage.listeners,
    ):
        for row in ROWS:
            stage.log(row)
        raise ValueError("midway")
    calls = [json.loads(line) for line in (stage.folder / notebook / "calls.jsonl").read_text().splitlines()]
    assert calls[:3] == [["init", "r"], ["start"], ["recipe", {"lr": 0.1, "targets": "['q']", "rows": "None"}]]
    assert calls[3:-1] == [list(call) for call in NUMBERS]
    assert calls[-1] == ["finish"]


def test_without_trackers_nothing_listens(tmp_path: Path) -> None:
    with trackers([], "r", tmp_path, {}) as listeners:
        assert listeners == []


def test_a_tracker_that_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    absent = sorted({"tensorboard", "wandb", "mlflow", "trackio"} - set(map(str, tracking.get_available_trackers())))
    if not absent:
        pytest.skip("every tracker is installed here")
    with pytest.raises(RunError, match=f"train.trackers: {absent[0]} .*`pip install {absent[0]}`"):
        check_trackers(absent[:1])


def test_tensorboard_reads_back_the_rows_of_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with trackers(["tensorboard"], "toy", tmp_path, {"train.lr": 0.1, "lora.targets": ["q"]}) as (listener,):
        for row in ROWS:
            listener(row)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "toy"))
    events.Reload()
    read = {(tag, e.step): e.value for tag in events.Tags()["scalars"] for e in events.Scalars(tag)}
    assert read == {(tag, step): value for values, step in NUMBERS for tag, value in values.items()}
