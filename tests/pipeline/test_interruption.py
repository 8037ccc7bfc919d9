"""Whatever ends a training — a kill, a signal, a full disk — the next start goes on and ends in the very same bytes."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tailora.pipeline import prepare
from tailora.recipe import Recipe, describe_recipe
from tests.processes import start_tailora

KILLS = 20
ADAPTER = "adapter/adapter_model.safetensors"


@dataclass
class Bench:
    """Runs of one recipe, each in a folder of its own where the data is already prepared."""

    folder: Path
    recipe: Path
    prepared: Path

    def new_run(self, name: str) -> Path:
        """Return the folder of a new run, to be trained."""
        return shutil.copytree(self.prepared, self.folder / name) / "toy"

    def start(self, run: Path, *words: str, verb: str = "train", **limits: Any) -> Any:
        """Start the command on `run`; what it says goes to out.txt beside it."""
        return start_tailora(
            verb, str(self.recipe), "--runs", str(run.parent), *words, output=run.parent / "out.txt", **limits
        )

    def finish(self, run: Path, *words: str, **how: Any) -> tuple[int, str]:
        """Let the command run to its end; returns its exit code and what it said."""
        process = self.start(run, *words, **how)
        process.join(60)
        return process.exitcode, (run.parent / "out.txt").read_text()


@pytest.fixture(scope="module")
def bench(make_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("interrupted")
    asked = make_recipe(
        **{"train.epochs": 3, "train.batch_size": 4, "train.save_minutes": 0, "lora.dropout": 0.1, "lora.rank": 2}
    )
    (folder / "toy.toml").write_text(describe_recipe(asked))
    prepare(asked, folder / "prepared")
    return Bench(folder, folder / "toy.toml", folder / "prepared")


@pytest.fixture(scope="module")
def whole(bench: Bench) -> Path:
    """Return the train folder of a run that nothing has interrupted."""
    run = bench.new_run("whole")
    code, said = bench.finish(run)
    assert code == 0, said
    return run / "train"


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a log apart from times."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same(folder: Path, whole: Path) -> None:
    assert (folder / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
    assert logged(folder) == logged(whole)
    assert not (folder / "checkpoints").exists()


def rows_logged(run: Path) -> int:
    log = run / "train.partial" / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def await_rows(process: Any, run: Path, count: int) -> None:
    """Wait until so many rows stand in the log, or the process has ended."""
    while rows_logged(run) < count and process.is_alive():
        time.sleep(0.001)


def await_save(process: Any, run: Path) -> None:
    """Wait until a checkpoint is being written, or the process has ended."""
    while not list(run.glob("train.partial/checkpoints/.step-*.partial")) and process.is_alive():
        pass


def test_the_same_seed_gives_the_same_adapter_in_another_process(bench: Bench, whole: Path) -> None:
    run = bench.new_run("again")
    assert bench.finish(run)[0] == 0
    assert_same(run / "train", whole)


def test_twenty_kills_at_random_instants_change_no_byte(bench: Bench, whole: Path) -> None:
    numbers = random.Random(20)
    total = len(logged(whole))
    killed = inside_a_save = finished = 0
    run = bench.new_run("killed-0")
    while killed < KILLS or not finished:
        process = bench.start(run)
        if killed < KILLS:
            await_rows(process, run, rows_logged(run) + numbers.randrange(total // 2))
            if killed % 4 == 0:
                await_save(process, run)
            else:
                time.sleep(numbers.uniform(0, 0.02))
            process.kill()
        process.join(60)
        if process.exitcode == -signal.SIGKILL:
            killed += 1
            inside_a_save += bool(list(run.glob("train.partial/checkpoints/.step-*.partial")))
        else:
            assert process.exitcode == 0, (run.parent / "out.txt").read_text()
            assert_same(run / "train", whole)
            finished += 1
            run = bench.new_run(f"killed-{finished}")
    assert inside_a_save


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_ends_with_its_code_and_says_how_to_go_on(
    bench: Bench, whole: Path, sent: signal.Signals, code: int
) -> None:
    run = bench.new_run(sent.name)
    process = bench.start(run, "train.save_minutes=60")
    await_rows(process, run, 6)
    os.kill(process.pid, sent)
    process.join(60)
    said = (run.parent / "out.txt").read_text().splitlines()
    assert process.exitcode == code
    step = rows_logged(run) - 1  # one row is the first validation
    assert said[-1] == f"stopped and saved after step {step}; the same command goes on from there"
    assert (run / "train.partial" / "checkpoints" / f"step-{step}").is_dir()
    code, text = bench.finish(run, "train.save_minutes=60")
    assert code == 0 and f"goes on after step {step}, in epoch 1 of 3" in text
    assert_same(run / "train", whole)


def interrupted(bench: Bench, name: str, rows: int = 8) -> Path:
    """Return a run whose training was killed when so many rows stood in its log."""
    run = bench.new_run(name)
    process = bench.start(run)
    await_rows(process, run, rows)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    return run


def test_an_interrupted_training_is_not_continued_with_other_values(bench: Bench) -> None:
    run = interrupted(bench, "other")
    before = sorted((run / "train.partial" / "checkpoints").iterdir())
    code, said = bench.finish(run, "train.lr=0.5")
    assert code == 2 and "train.lr = 0.01, now it is 0.5" in said and "--fresh" in said
    assert sorted((run / "train.partial" / "checkpoints").iterdir()) == before
    code, said = bench.finish(run, "train.lr=0.5", "--fresh")
    assert code == 0 and "goes on" not in said


def test_an_interrupted_training_is_not_continued_on_another_base(bench: Bench, workshop: Path) -> None:
    text = bench.recipe.read_text()
    moved = shutil.copytree(workshop / "toy-0", bench.folder / "moved")
    other = Bench(bench.folder, bench.folder / "other.toml", bench.prepared)
    other.recipe.write_text(text.replace(str(workshop / "toy-0"), str(moved)))
    run = interrupted(other, "swapped")
    (moved / "model.safetensors").write_bytes((workshop / "toy-1" / "model.safetensors").read_bytes())
    code, said = other.finish(run)
    assert code == 2 and "was interrupted with base = " in said and "--fresh" in said


def test_damaged_checkpoints_are_named_and_the_one_before_is_taken(bench: Bench, whole: Path) -> None:
    run = interrupted(bench, "damaged")
    older, newer = sorted((run / "train.partial" / "checkpoints").glob("step-*"), key=lambda path: path.stat().st_mtime)
    weights = bytearray((newer / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (newer / "weights.safetensors").write_bytes(weights)
    code, said = bench.finish(run, verb="evaluate")
    assert code == 0, said
    assert f"checkpoint {newer.name} is damaged (weights.safetensors has changed since it was written)" in said
    assert f"goes on after step {older.name.split('-')[1]}" in said
    assert_same(run / "train", whole)


def test_without_a_whole_checkpoint_training_starts_anew_and_says_so(bench: Bench, whole: Path) -> None:
    run = interrupted(bench, "hopeless")
    for path in (run / "train.partial" / "checkpoints").glob("step-*"):
        (path / "optimizer.safetensors").unlink()
    code, said = bench.finish(run)
    assert code == 0 and said.count("is damaged (optimizer.safetensors is missing)") == 2
    assert "training starts anew" in said and "goes on" not in said
    assert_same(run / "train", whole)


def test_no_room_for_a_checkpoint_leaves_the_last_one_whole(bench: Bench, whole: Path) -> None:
    run = bench.new_run("full")
    # The state of the optimizer is empty at first, then twice the weights.
    code, said = bench.finish(run, largest_file=int(1.5 * (whole / ADAPTER).stat().st_size))
    assert code == 2 and said.splitlines()[-1].startswith("error: ") and said.count("error: ") == 1
    assert "Traceback" not in said and "there is no room to write" in said and "File too large" in said
    assert {path.name for path in (run / "train.partial" / "checkpoints").iterdir()} == {"step-0", "step-0-validated"}
    assert bench.finish(run)[0] == 0
    assert_same(run / "train", whole)


def test_two_processes_do_not_write_one_run(bench: Bench, whole: Path) -> None:
    run = bench.new_run("shared")
    first = bench.start(run)
    await_rows(first, run, 1)
    os.kill(first.pid, signal.SIGSTOP)  # so that it cannot finish before the others are refused
    for verb in ("train", "evaluate", "run"):
        second = start_tailora(verb, str(bench.recipe), "--runs", str(run.parent), output=run.parent / "second.txt")
        second.join(60)
        assert second.exitcode == 2
        assert f"process {first.pid} is writing this run" in (run.parent / "second.txt").read_text()
    os.kill(first.pid, signal.SIGCONT)
    first.join(60)
    assert first.exitcode == 0
    assert_same(run / "train", whole)
