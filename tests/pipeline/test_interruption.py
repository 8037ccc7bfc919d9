"""Whatever ends a training — a kill, a signal, a full disk — the next start goes on and ends in the very same bytes."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailora.recipe import Recipe
from tests.processes import LOG, Bench, await_lines, lines_in, output_of, start_tailora
from tests.rows import read

KILLS = 20
ADAPTER = "adapter/adapter_model.safetensors"


@pytest.fixture(scope="module")
def bench(make_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    changes = {"train.epochs": 3, "train.batch_size": 4, "train.save_minutes": 0, "lora.dropout": 0.1, "lora.rank": 2}
    return Bench.of(make_recipe(**changes), tmp_path_factory.mktemp("interrupted"))


@pytest.fixture(scope="module")
def whole(bench: Bench) -> Path:
    """Return the train folder of a run that nothing has interrupted."""
    run = bench.new_run("whole")
    code, said = bench.finish(run)
    assert code == 0, said
    return run / "train"


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a log apart from times."""
    rows = read(folder / "log.jsonl")
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same(folder: Path, whole: Path) -> None:
    assert (folder / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
    assert logged(folder) == logged(whole)
    assert not (folder / "checkpoints").exists()


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
            await_lines([process], run / LOG, lines_in(run / LOG) + numbers.randrange(total // 2))
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
            assert process.exitcode == 0, output_of(run)
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
    await_lines([process], run / LOG, 6)
    os.kill(process.pid, sent)
    process.join(60)
    said = output_of(run).splitlines()
    assert process.exitcode == code
    step = lines_in(run / LOG) - 1  # one row is the first validation
    assert said[-1] == f"interrupted and saved at step {step}. Run the same command to resume."
    assert (run / "train.partial" / "checkpoints" / f"step-{step}").is_dir()
    code, text = bench.finish(run, "train.save_minutes=60")
    assert code == 0 and f"resuming at step {step} (epoch 1 of 3)" in text
    assert_same(run / "train", whole)


def test_an_interrupted_training_is_not_continued_with_other_values(bench: Bench) -> None:
    run = bench.interrupted("other")
    before = sorted((run / "train.partial" / "checkpoints").iterdir())
    code, said = bench.finish(run, "train.lr=0.5")
    assert code == 2 and "train.lr has changed since (0.01, now 0.5)" in said and "--fresh" in said
    assert sorted((run / "train.partial" / "checkpoints").iterdir()) == before
    code, said = bench.finish(run, "train.lr=0.5", "--fresh")
    assert code == 0 and "goes on" not in said


def test_an_interrupted_training_is_not_continued_on_another_base(bench: Bench, workshop: Path) -> None:
    text = bench.recipe.read_text()
    moved = shutil.copytree(workshop / "toy-0", bench.folder / "moved")
    other = Bench(bench.folder, bench.folder / "other.toml", bench.prepared)
    other.recipe.write_text(text.replace(str(workshop / "toy-0"), str(moved)))
    run = other.interrupted("swapped")
    (moved / "model.safetensors").write_bytes((workshop / "toy-1" / "model.safetensors").read_bytes())
    code, said = other.finish(run)
    assert code == 2 and "was interrupted, but base has changed since" in said and "--fresh" in said


def test_damaged_checkpoints_are_named_and_the_one_before_is_taken(bench: Bench, whole: Path) -> None:
    run = bench.interrupted("damaged")
    older, newer = sorted((run / "train.partial" / "checkpoints").glob("step-*"), key=lambda path: path.stat().st_mtime)
    weights = bytearray((newer / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (newer / "weights.safetensors").write_bytes(weights)
    code, said = bench.finish(run, verb="evaluate")
    assert code == 0, said
    assert f"checkpoint {newer.name} is damaged (weights.safetensors has changed since it was written)" in said
    assert f"resuming at step {older.name.split('-')[1]}" in said
    assert_same(run / "train", whole)


def test_without_a_whole_checkpoint_training_starts_anew_and_says_so(bench: Bench, whole: Path) -> None:
    run = bench.interrupted("hopeless")
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
    await_lines([first], run / LOG, 1)
    os.kill(first.pid, signal.SIGSTOP)  # so that it cannot finish before the others are refused
    for verb in ("train", "evaluate", "run"):
        second = start_tailora(*bench.line(run, verb), output=run.parent / "second.txt")
        second.join(60)
        assert second.exitcode == 2
        assert f"process {first.pid} is writing this run" in (run.parent / "second.txt").read_text()
    os.kill(first.pid, signal.SIGCONT)
    first.join(60)
    assert first.exitcode == 0
    assert_same(run / "train", whole)
