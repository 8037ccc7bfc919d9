"""Two processes train what one trains: the same losses and the same adapter, also after they were killed or stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tailora.pipeline import prepare
from tailora.recipe import Recipe, describe_recipe
from tests.processes import start_tailora, start_together

ADAPTER = "train/adapter/adapter_model.safetensors"


@dataclass
class Bench:
    """Runs of one recipe, each in a folder of its own where the data is already prepared."""

    folder: Path
    recipe: Path
    prepared: Path

    def new_run(self, name: str) -> Path:
        """Return the folder of a new run, to be trained."""
        return shutil.copytree(self.prepared, self.folder / name) / "toy"

    def start(self, run: Path, count: int, *words: str) -> list[Any]:
        """Start `tailora train` on a run in so many processes; what they say goes to out.0, out.1, … beside it."""
        line = ("train", str(self.recipe), "--runs", str(run.parent), *words)
        if count > 1:
            return start_together(count, *line, output=run.parent / "out")
        return [start_tailora(*line, output=run.parent / "out.0")]

    def finish(self, run: Path, count: int, *words: str) -> tuple[list[int], str]:
        """Let the processes run to their end; returns their exit codes and what they said."""
        processes = self.start(run, count, *words)
        for process in processes:
            process.join(60)
        return [process.exitcode for process in processes], said(run)


def said(run: Path) -> str:
    return "".join(path.read_text() for path in sorted(run.parent.glob("out.*")))


@pytest.fixture(scope="module")
def bench(make_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("together")
    # Three rows a step, so that the last step of an epoch may leave a process without a row.
    changes = {"train.epochs": 2, "train.batch_size": 3, "train.save_minutes": 0, "lora.rank": 2}
    asked = make_recipe(**changes)
    (folder / "toy.toml").write_text(describe_recipe(asked))
    prepare(asked, folder / "prepared")
    return Bench(folder, folder / "toy.toml", folder / "prepared")


@pytest.fixture(scope="module")
def alone(bench: Bench) -> Path:
    run = bench.new_run("alone")
    assert bench.finish(run, 1)[0] == [0]
    return run


def logged(run: Path) -> list[dict[str, Any]]:
    stage = run / "train" if (run / "train").exists() else run / "train.partial"
    log = stage / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def assert_close(run: Path, alone: Path) -> None:
    """Losses and adapter are those of one process, but for rounding: sums are taken in another order."""
    ours, theirs = logged(run), logged(alone)
    assert [(row["split"], row["step"], row.get("tokens")) for row in ours] == [
        (row["split"], row["step"], row.get("tokens")) for row in theirs
    ]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
    weights = [load_file(folder / ADAPTER) for folder in (run, alone)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[1].items():
        torch.testing.assert_close(weights[0][name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("words", [(), ("train.shard=true", "train.recompute=true")])
def test_two_processes_train_what_one_trains(bench: Bench, alone: Path, words: tuple[str, ...]) -> None:
    run = bench.new_run("-".join(["two", *(word.partition("=")[0] for word in words)]))
    codes, text = bench.finish(run, 2, "train.processes=2", *words)
    assert codes == [0, 0], text
    facts = json.loads((run / "train" / "stage.json").read_text())
    assert facts["processes"] == 2
    assert (facts["weights"]["here"] < facts["weights"]["all"]) == bool(words)  # half of each layer's frozen weights
    assert text.count("weights trained") == 1  # the first speaks for both
    assert_close(run, alone)


def test_what_three_processes_add_up_does_not_need_a_row_for_each(bench: Bench, alone: Path) -> None:
    run = bench.new_run("three")
    codes, text = bench.finish(run, 3, "train.micro_tokens=16")
    assert codes == [0, 0, 0], text
    assert_close(run, alone)


def await_rows(processes: list[Any], run: Path, count: int) -> None:
    """Wait until so many rows stand in the log, or a process has ended."""
    while len(logged(run)) < count and all(process.is_alive() for process in processes):
        time.sleep(0.001)


def interrupted(bench: Bench, name: str, rows: int, *words: str) -> Path:
    """Return a run whose two processes were killed when so many rows stood in its log."""
    run = bench.new_run(name)
    processes = bench.start(run, 2, *words)
    await_rows(processes, run, rows)
    for process in processes:
        process.kill()
        process.join(60)
    assert not (run / "train").exists(), said(run)
    return run


def test_two_killed_processes_go_on_to_the_very_same_bytes(bench: Bench) -> None:
    whole = bench.new_run("whole")
    assert bench.finish(whole, 2, "lora.dropout=0.1")[0] == [0, 0]
    run = interrupted(bench, "killed", 7, "lora.dropout=0.1")
    codes, text = bench.finish(run, 2, "lora.dropout=0.1")
    assert codes == [0, 0] and "goes on after step" in text, text
    assert (run / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()


def test_another_number_of_processes_goes_on_where_two_were_killed(bench: Bench, alone: Path) -> None:
    run = interrupted(bench, "fewer", 7)
    codes, text = bench.finish(run, 1)
    assert codes == [0] and "goes on after step" in text, text
    assert_close(run, alone)


def test_a_signal_to_one_process_stops_both_after_the_same_saved_step(bench: Bench, alone: Path) -> None:
    run = bench.new_run("stopped")
    processes = bench.start(run, 2, "train.save_minutes=60")
    await_rows(processes, run, 5)
    os.kill(processes[1].pid, signal.SIGTERM)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [143, 143], said(run)
    assert said(run).count("stopped and saved after step") == 1
    assert bench.finish(run, 2)[0] == [0, 0]
    assert_close(run, alone)


def test_the_death_of_one_process_ends_the_other_with_a_word(bench: Bench) -> None:
    run = bench.new_run("bereaved")
    processes = bench.start(run, 2)
    await_rows(processes, run, 5)
    processes[1].kill()
    for process in processes:
        process.join(60)
    assert processes[0].exitcode == 2
    assert "error: a process that trained with this one has ended" in said(run) and "Traceback" not in said(run)


def test_processes_that_were_given_other_values_are_refused(bench: Bench) -> None:
    run = bench.new_run("mixed")
    line = ("train", str(bench.recipe), "--runs", str(run.parent))
    processes = start_together(2, *line, output=run.parent / "out", own=("train.lr=0.1", "train.lr=0.2"))
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [2, 2], said(run)
    assert "error: process 1: this process was started with train.lr = 0.2, the first one with 0.1" in said(run)


def launch(folder: Path, offline: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    environment = offline | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_under_torchrun_all_processes_train_and_the_first_goes_on_alone(
    bench: Bench, alone: Path, offline: dict[str, str]
) -> None:
    run = bench.new_run("torchrun")
    words = ("-m", "tailora", "evaluate", str(bench.recipe), "--runs", str(run.parent), "train.processes=2")
    words = (*words, "evaluate.rows=4", "evaluate.max_new_tokens=2")
    done = launch(bench.folder, offline, "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words)
    assert done.returncode == 0, done.stderr
    assert (run / "evaluate" / "comparison.json").exists()
    assert_close(run, alone)


def test_accelerate_that_starts_one_process_of_two_is_refused(bench: Bench, offline: dict[str, str]) -> None:
    run = bench.new_run("accelerate")
    words = ("--cpu", "--num_processes", "2", "-m", "tailora", "train", str(bench.recipe), "--runs", str(run.parent))
    done = launch(bench.folder, offline, "accelerate.commands.launch", *words)
    assert done.returncode != 0 and not (run / "train").exists()
    assert "error: `accelerate launch` was asked for several processes" in done.stderr
