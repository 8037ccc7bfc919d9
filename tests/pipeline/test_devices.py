"""Two processes train what one trains: the same losses and the same adapter, also after they were killed or stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tailora.recipe import Recipe
from tests.processes import LOG, Bench, await_lines, exit_codes, output_of
from tests.rows import read

ADAPTER = "train/adapter/adapter_model.safetensors"


@pytest.fixture(scope="module")
def bench(make_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    # Three rows a step, so that the last step of an epoch may leave a process without a row.
    changes = {"train.epochs": 2, "train.batch_size": 3, "train.save_minutes": 0, "lora.rank": 2}
    return Bench.of(make_recipe(**changes), tmp_path_factory.mktemp("together"))


@pytest.fixture(scope="module")
def alone(bench: Bench) -> Path:
    run = bench.new_run("alone")
    assert bench.finish(run)[0] == 0
    return run


def assert_close(run: Path, alone: Path) -> None:
    """Losses and adapter are those of one process, but for rounding: sums are taken in another order."""
    ours, theirs = (read(folder / "train" / "log.jsonl") for folder in (run, alone))
    assert [(row["split"], row["step"], row.get("tokens")) for row in ours] == [
        (row["split"], row["step"], row.get("tokens")) for row in theirs
    ]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
    weights = [load_file(folder / ADAPTER) for folder in (run, alone)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[1].items():
        torch.testing.assert_close(weights[0][name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("words", [(), ("train.shard=true", "train.gradient_checkpointing=true")])
def test_two_processes_train_what_one_trains(bench: Bench, alone: Path, words: tuple[str, ...]) -> None:
    run = bench.new_run("-".join(["two", *(word.partition("=")[0] for word in words)]))
    codes, text = bench.finish_together(run, 2, "train.processes=2", *words)
    assert codes == [0, 0], text
    facts = read(run / "train" / "stage.json")
    assert facts["processes"] == 2
    assert (facts["weights"]["here"] < facts["weights"]["all"]) == bool(words)  # half of each layer's frozen weights
    assert text.count("trainable parameters") == 1  # the first speaks for both
    assert_close(run, alone)


def test_what_three_processes_add_up_does_not_need_a_row_for_each(bench: Bench, alone: Path) -> None:
    run = bench.new_run("three")
    codes, text = bench.finish_together(run, 3, "train.micro_batch_tokens=16")
    assert codes == [0, 0, 0], text
    assert_close(run, alone)


def test_two_killed_processes_go_on_to_the_very_same_bytes(bench: Bench) -> None:
    whole = bench.new_run("whole")
    assert bench.finish_together(whole, 2, "lora.dropout=0.1")[0] == [0, 0]
    run = bench.interrupted("killed", 7, 2, ["lora.dropout=0.1"])
    codes, text = bench.finish_together(run, 2, "lora.dropout=0.1")
    assert codes == [0, 0] and "resuming at step" in text, text
    assert (run / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()


def test_another_number_of_processes_goes_on_where_two_were_killed(bench: Bench, alone: Path) -> None:
    run = bench.interrupted("fewer", 7, 2)
    code, text = bench.finish(run)
    assert code == 0 and "resuming at step" in text, text
    assert_close(run, alone)


def test_a_signal_to_one_process_stops_both_after_the_same_saved_step(bench: Bench, alone: Path) -> None:
    run = bench.new_run("stopped")
    processes = bench.start_together(run, 2, "train.save_minutes=60")
    await_lines(processes, run / LOG, 5)
    os.kill(processes[1].pid, signal.SIGTERM)
    assert exit_codes(processes) == [143, 143], output_of(run)
    assert output_of(run).count("interrupted and saved at step") == 1
    assert bench.finish_together(run, 2)[0] == [0, 0]
    assert_close(run, alone)


def test_the_death_of_one_process_ends_the_other_with_a_word(bench: Bench) -> None:
    run = bench.new_run("bereaved")
    processes = bench.start_together(run, 2)
    await_lines(processes, run / LOG, 5)
    processes[1].kill()
    assert exit_codes(processes)[0] == 2
    text = output_of(run)
    assert "error: a process that trained with this one has ended" in text and "Traceback" not in text


def test_processes_that_were_given_other_values_are_refused(bench: Bench) -> None:
    run = bench.new_run("mixed")
    codes, text = bench.finish_together(run, 2, own=("train.lr=0.1", "train.lr=0.2"))
    assert codes == [2, 2], text
    refused = "the first process was started with another recipe, but train.lr has changed since (0.1, now 0.2)"
    assert f"error: process 1: {refused}" in text


def launch(folder: Path, offline: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    environment = offline | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_under_torchrun_all_processes_train_and_the_first_goes_on_alone(
    bench: Bench, alone: Path, offline: dict[str, str]
) -> None:
    run = bench.new_run("torchrun")
    words = ("-m", "tailora", *bench.line(run, "evaluate"), "train.processes=2")
    words = (*words, "evaluate.rows=4", "evaluate.max_new_tokens=2")
    done = launch(bench.folder, offline, "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words)
    assert done.returncode == 0, done.stderr
    assert (run / "evaluate" / "comparison.json").exists()
    assert_close(run, alone)


def test_accelerate_that_starts_one_process_of_two_is_refused(bench: Bench, offline: dict[str, str]) -> None:
    run = bench.new_run("accelerate")
    words = ("--cpu", "--num_processes", "2", "-m", "tailora", *bench.line(run))
    done = launch(bench.folder, offline, "accelerate.commands.launch", *words)
    assert done.returncode != 0 and not (run / "train").exists()
    assert "error: `accelerate launch` was asked for several processes" in done.stderr
