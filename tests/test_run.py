"""Runs: a stage folder that exists is finished, and what it holds was made from the recipe that is asked for."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailora import files
from tailora.errors import RecipeError, RunError
from tailora.recipe import Recipe, load_recipe, parse_recipe
from tailora.run import NEUTRAL, STAGES, Run, Stage, stop_requests

# Which sections decide a stage's result; a section of the recipe that stands nowhere here has no effect.
DECIDES = {
    "prepare": {"task", "data"},
    "train": {"task", "data", "model", "lora", "train"},
    "evaluate": {"task", "data", "model", "lora", "train", "evaluate"},
    "report": {"task", "data", "model", "lora", "train", "evaluate"},
}
# Another value of every key of a section.
OTHER: dict[str, Any] = {
    "data.source": "other.jsonl",
    **dict.fromkeys(("data.prompt", "data.input", "data.answer", "data.group", "data.holdout"), "other"),
    **dict.fromkeys(("data.val", "data.test"), 0.2),
    "data.seed": 7,
    "data.weights": {"law": 7.0},
    "data.limit": 7,
    "data.strict": True,
    "data.label": "other",
    "data.labels": ["World", "Sports"],
    "model.base": "other",
    "model.dtype": "bfloat16",
    "model.max_length": 7,
    "model.trust_remote_code": True,
    "model.quantize": "nf4",
    "lora.method": "dora",
    "lora.init": "pissa",
    "lora.rank": 7,
    "lora.alpha": 7.0,
    "lora.dropout": 0.7,
    "lora.lora_plus_ratio": 7.0,
    "lora.targets": ["q_proj"],
    "lora.last_layers": 7,
    "train.epochs": 7,
    "train.lr": 7e-7,
    "train.batch_size": 7,
    "train.micro_batch_tokens": 7,
    "train.kernels": "plain",
    "train.gradient_checkpointing": True,
    "train.memory_mb": 7,
    "train.processes": 7,
    "train.shard": True,
    "train.warmup": 0.7,
    "train.weight_decay": 0.7,
    "train.max_grad_norm": 7.0,
    "train.seed": 7,
    "train.schedule": "linear",
    "train.class_weights": "balanced",
    "train.label_smoothing": 0.7,
    "train.patience": 7,
    "train.save_minutes": 7.0,
    "train.trackers": ["wandb"],
    "evaluate.max_new_tokens": 7,
    "evaluate.batch_size": 7,
    "evaluate.rows": 7,
    "evaluate.general_passages": 7,
    "evaluate.test_seconds": 7.0,
    "evaluate.test_memory_mb": 70,
    "evaluate.unsafe_exec": True,
    "evaluate.primary": "chrF",
    "evaluate.metrics": ["mine:words"],
    "evaluate.samples": 7,
    "evaluate.temperature": 0.7,
    "evaluate.seed": 7,
    "evaluate.prompts": ["What is this?"],
}
HOLD_A_STAGE_OPEN = """
import sys, time
from pathlib import Path
from tailora.recipe import parse_recipe
from tailora.run import Run
run = Run.open(parse_recipe({"name": "r", "data": {"source": "rows.jsonl"}}), Path(sys.argv[1]))
with run.stage("prepare") as stage:
    (stage.folder / "half.jsonl").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
STOP_TWICE = """
import sys, time
from tailora.run import stop_requests
with stop_requests() as stop:
    print("ready", flush=True)
    while not stop():
        time.sleep(0.01)
    print(stop(), flush=True)
    time.sleep(60)
"""
FORGET_EVERYTHING = """
import sys
from pathlib import Path
from tailora.recipe import parse_recipe
from tailora.run import Run
run = Run.open(parse_recipe({"name": "r", "data": {"source": "rows.jsonl"}}), Path(sys.argv[1]))
run.forget("prepare")
"""


def recipe_of(**values: Any) -> Recipe:
    return parse_recipe({"name": "r", "data": {"source": "rows.jsonl"}, **values})


def changed(recipe: Recipe, key: str) -> Recipe:
    """Return `recipe` with another value of `key`."""
    section, _, name = key.rpartition(".")
    part = getattr(recipe, section)
    return recipe.model_copy(update={section: part.model_copy(update={name: OTHER[key]})})


def finish(run: Run, *stages: str) -> Run:
    for name in stages:
        with run.stage(name) as stage:
            (stage.folder / "result.txt").write_text(name)
    return run


def done(run: Run) -> list[str]:
    return [name for name in STAGES if run.is_done(name)]


def test_a_stage_folder_appears_only_when_its_block_has_succeeded(tmp_path: Path) -> None:
    run = Run.open(recipe_of(), tmp_path)
    with run.stage("prepare") as stage:
        (stage.folder / "rows.jsonl").write_text("{}")
        assert not (tmp_path / "r" / "prepare").exists() and not run.is_done("prepare")
    assert (tmp_path / "r" / "prepare" / "rows.jsonl").read_text() == "{}"
    assert run.is_done("prepare") and not list(run.folder.glob("*.partial"))


def test_runs_where_nothing_can_be_written_are_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be written \(Not a directory\); name another folder .* --runs"):
        Run.open(recipe_of(), tmp_path / "file")
    run = Run.open(recipe_of(), tmp_path)
    (run.folder / ".lock").unlink(missing_ok=True)
    (run.folder / ".lock").mkdir()  # not even root can open it for writing
    with pytest.raises(RunError, match="cannot be written"), run.lock():
        pass


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_stage_is_not_done_and_starts_clean(tmp_path: Path, interruption: type[BaseException]) -> None:
    run = Run.open(recipe_of(), tmp_path)
    with pytest.raises(interruption), run.stage("prepare") as stage:
        (stage.folder / "half.jsonl").write_text("half")
        raise interruption
    assert not run.is_done("prepare")
    with Run.open(recipe_of(), tmp_path).stage("prepare") as stage:
        assert list(stage.folder.iterdir()) == []


def test_a_killed_stage_is_not_done_and_starts_clean(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_A_STAGE_OPEN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    run = Run.open(recipe_of(), tmp_path)
    assert done(run) == [] and list(tmp_path.rglob("half.jsonl"))
    with run.stage("prepare") as stage:
        assert list(stage.folder.iterdir()) == []
    assert done(run) == ["prepare"]


def test_only_one_process_writes_a_run_and_death_frees_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_A_STAGE_OPEN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        run = Run.open(recipe_of(), tmp_path)  # who only reads is not refused
        attempts = [
            lambda: finish(run, "report"),
            lambda: run.forget("report"),
            lambda: Run.open(recipe_of(lora={"rank": 4}), tmp_path),
        ]
        for attempt in attempts:
            with pytest.raises(RunError, match=f"process {process.pid} is writing this run"):
                attempt()
        process.kill()
    finish(run, "prepare")
    with run.lock(), run.lock():  # whoever holds it may take it again
        finish(run, "train")
    assert done(run) == ["prepare", "train"]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_the_second_ends_at_once(
    first: signal.Signals, second: signal.Signals
) -> None:
    with subprocess.Popen([sys.executable, "-c", STOP_TWICE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(first)
        assert int(process.stdout.readline()) == first and process.poll() is None
        process.send_signal(second)
        assert process.wait(30) == -second


def test_signals_are_as_before_once_nobody_waits_for_them() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop() == signal.SIGINT
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    heard = []

    def elsewhere() -> None:
        with stop_requests() as stop:  # Python hears signals in the main thread alone
            heard.append(stop())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert heard == [None]


def test_a_stage_that_goes_on_finds_what_was_left_and_another_does_not(tmp_path: Path) -> None:
    run = Run.open(recipe_of(), tmp_path)
    for resume in (True, False):
        with pytest.raises(ValueError), run.stage("train", resume=True) as stage:
            stage.log({"step": 1})
            raise ValueError
        with pytest.raises(KeyError), run.stage("train", resume=resume) as stage:
            assert (stage.log_bytes() > 0) == resume
            raise KeyError


def test_a_log_is_cut_to_a_length_that_it_has(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.cut_log(0)
    stage.log({"step": 1})
    length = stage.log_bytes()
    stage.log({"step": 2})
    stage.cut_log(length)
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1}\n'


def test_a_log_that_has_lost_rows_is_said_and_costs_no_training(tmp_path: Path) -> None:
    stage, log = Stage(tmp_path), tmp_path / "log.jsonl"
    first, last = {"split": "train", "step": 1, "loss": 2.5}, {"split": "val", "step": 3, "loss": 2.25}
    log.write_text(f'{json.dumps(first)}\n{{"st')
    stage.cut_log(60)
    stage.log(last)
    assert stage.facts["notes"] == ["log.jsonl has lost rows (47 of 60 bytes are left): its figure will lack them"]
    rows, damage = files.read_log(log)
    assert rows == [first, last] and "1 of its 3 lines are damaged and left out" in damage


def test_what_a_stage_says_is_heard_at_once_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run.open(recipe_of(), tmp_path).stage("train") as stage:
        stage.say("resuming at step 3")
        assert [(record.name, record.message) for record in caplog.records] == [("tailora.train", "resuming at step 3")]
    assert json.loads((tmp_path / "r" / "train" / "stage.json").read_text())["notes"] == ["resuming at step 3"]


def test_a_record_that_cannot_be_written_leaves_no_finished_stage(tmp_path: Path) -> None:
    run = Run.open(recipe_of(), tmp_path)
    with pytest.raises(ValueError, match="JSON"), run.stage("prepare") as stage:
        stage.facts["loss"] = float("nan")
    assert done(run) == []


def test_the_log_holds_its_rows_in_order(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    with Run.open(recipe_of(), tmp_path).stage("train") as stage:
        for row in rows:
            stage.log(row)
    log = (tmp_path / "r" / "train" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in log] == rows


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_tied_to_the_values_of_its_own_sections_alone(tmp_path: Path, stage: str) -> None:
    recipe = recipe_of()
    finish(Run.open(recipe, tmp_path), stage, *(["train"] if stage == "prepare" else []))
    assert recipe.keys().keys() - {"name", "task"} == OTHER.keys()
    for key in OTHER:
        other = changed(recipe, key)
        decides = DECIDES["train" if stage == "prepare" else stage]
        if key.split(".")[0] in decides and key not in NEUTRAL:
            with pytest.raises(RunError) as caught:
                Run.open(other, tmp_path)
            first = stage if key.split(".")[0] in DECIDES[stage] else "train"
            assert f"{first} is done, but {key} has changed since ({recipe.keys()[key]!r}, now " in str(caught.value)
            assert repr(OTHER[key]) in str(caught.value) and "--fresh" in str(caught.value)
        else:
            Run.open(other, tmp_path)


def test_every_section_decides_some_stage() -> None:
    keys = recipe_of().keys()
    assert {key.split(".")[0] for key in keys} - {"name"} == set().union(*DECIDES.values())


def test_the_first_stage_and_the_first_key_that_differ_are_named(tmp_path: Path) -> None:
    finish(Run.open(recipe_of(), tmp_path), *STAGES)
    other = recipe_of(train={"epochs": 7, "lr": 1.0}, evaluate={"rows": 7})
    with pytest.raises(RunError) as caught:
        Run.open(other, tmp_path)
    assert "train is done, but train.epochs has changed since (3, now 7)" in str(caught.value)
    assert "train.lr" not in str(caught.value) and "evaluate" not in str(caught.value)


def test_a_refused_recipe_changes_nothing(tmp_path: Path) -> None:
    run = finish(Run.open(recipe_of(), tmp_path), *STAGES)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError):
        Run.open(recipe_of(train={"epochs": 7}), tmp_path)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before


def test_the_same_recipe_opens_a_finished_run_and_keeps_its_stages(tmp_path: Path) -> None:
    first = finish(Run.open(recipe_of(), tmp_path), *STAGES)
    before = {path: path.read_bytes() for stage in STAGES for path in (first.folder / stage).iterdir()}
    for fresh in (False, True):
        again = Run.open(recipe_of(), tmp_path, fresh=fresh)
        assert {path: path.read_bytes() for stage in STAGES for path in (again.folder / stage).iterdir()} == before


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("data.seed", []),
        ("model.base", ["prepare"]),
        ("lora.rank", ["prepare"]),
        ("train.lr", ["prepare"]),
        ("evaluate.rows", ["prepare", "train"]),
    ],
)
def test_fresh_removes_what_was_made_from_other_values_and_all_that_follows(
    tmp_path: Path, key: str, kept: list[str]
) -> None:
    finish(Run.open(recipe_of(), tmp_path), *STAGES)
    run = Run.open(changed(recipe_of(), key), tmp_path, fresh=True)
    assert done(run) == kept
    assert list(json.loads((run.folder / "run.json").read_text())["stages"]) == kept


@pytest.mark.parametrize("stage", STAGES)
def test_forgetting_a_stage_removes_it_and_all_that_follows(tmp_path: Path, stage: str) -> None:
    run = finish(Run.open(recipe_of(), tmp_path), *STAGES)
    run.forget(stage)
    assert done(run) == list(itertools.takewhile(lambda name: name != stage, STAGES))


@pytest.mark.parametrize("kill_when_gone", ["prepare", "train", "evaluate", "report"])
def test_no_stage_outlives_a_cause_or_a_part_of_itself_when_forgetting_is_killed(
    tmp_path: Path, kill_when_gone: str
) -> None:
    run = Run.open(recipe_of(), tmp_path)
    for name in STAGES:
        with run.stage(name) as stage:
            for number in range(400):
                (stage.folder / f"{number}.txt").touch()
    names = {name: sorted(path.name for path in (run.folder / name).iterdir()) for name in STAGES}
    first = run.folder / kill_when_gone / names[kill_when_gone][0]
    with subprocess.Popen([sys.executable, "-c", FORGET_EVERYTHING, str(tmp_path)]) as process:
        while first.exists() and process.poll() is None:
            time.sleep(0)
        process.kill()
    finished = done(run)
    assert finished == list(STAGES)[: len(finished)]
    for name in finished:
        assert sorted(path.name for path in (run.folder / name).iterdir()) == names[name]


def test_run_json_gathers_recipe_machine_and_the_record_of_every_stage(tmp_path: Path) -> None:
    recipe = recipe_of()
    run = Run.open(recipe, tmp_path)
    for count, name in enumerate(STAGES, start=1):
        with run.stage(name) as stage:
            stage.facts["count"] = count
        gathered = json.loads((run.folder / "run.json").read_text())
        assert list(gathered["stages"]) == list(STAGES)[:count]
        assert gathered["stages"][name] == json.loads((run.folder / name / "stage.json").read_text())
    assert parse_recipe(gathered["recipe"]) == recipe
    assert gathered["machine"]["cores"] >= 1 and gathered["machine"]["versions"]["torch"]
    for count, (name, record) in enumerate(gathered["stages"].items(), start=1):
        assert record["count"] == count == run.facts(name)["count"]
        assert record["seconds"] >= 0 and record["peak_memory_bytes"] > 2**20


def test_a_stage_that_has_not_been_done_is_named_with_its_command(tmp_path: Path) -> None:
    run = finish(Run.open(recipe_of(), tmp_path), "prepare")
    run.require("prepare")
    for ask in (run.require, run.facts):
        with pytest.raises(RunError, match="`tailora train"):
            ask("train")


@given(data=st.data())
def test_the_recipe_in_a_run_makes_the_same_recipe(
    recipe_values: st.SearchStrategy[dict[str, Any]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = parse_recipe(data.draw(recipe_values))
    run = Run.open(recipe, tmp_path_factory.mktemp("runs"))
    again = load_recipe(str(run.folder / "recipe.toml"))
    assert again == recipe
    assert again.model_fields_set == recipe.model_fields_set


def test_the_recipe_in_a_run_holds_what_was_asked_and_no_defaults(tmp_path: Path) -> None:
    run = Run.open(recipe_of(lora={"rank": 4}), tmp_path)
    lines = [line for line in (run.folder / "recipe.toml").read_text().splitlines() if line]
    assert lines == ['name = "r"', "[data]", 'source = "rows.jsonl"', "[lora]", "rank = 4"]


def test_a_name_that_leaves_the_folder_opens_no_run(tmp_path: Path) -> None:
    outside = recipe_of().model_copy(update={"name": "../outside"})
    with pytest.raises(RecipeError):
        Run.open(outside, tmp_path / "runs")
    assert list(tmp_path.rglob("*")) == []


def test_rows_on_which_nothing_was_trained_are_prepared_again_and_block_nothing(tmp_path: Path) -> None:
    run = Run.open(recipe_of(), tmp_path)
    finish(run, "prepare")
    other = Run.open(recipe_of(data={"source": "rows.jsonl", "seed": 5}), tmp_path)
    assert not other.is_done("prepare")
    finish(other, "prepare")
    finish(other, "train")
    with pytest.raises(RunError, match=r"data\.seed"):
        Run.open(recipe_of(), tmp_path)


def test_who_needs_the_rows_alone_is_not_stopped_by_what_came_after_and_changes_no_description(tmp_path: Path) -> None:
    run = Run.open(recipe_of(), tmp_path)
    for stage in ("prepare", "train", "evaluate"):
        finish(run, stage)
    before = (run.folder / "recipe.toml").read_bytes(), (run.folder / "run.json").read_bytes()
    changed = recipe_of(evaluate={"rows": 3})
    assert Run.open(changed, tmp_path, stages=("prepare", "train")).is_done("evaluate")
    assert before == ((run.folder / "recipe.toml").read_bytes(), (run.folder / "run.json").read_bytes())
    with pytest.raises(RunError, match=r"evaluate\.rows"):
        Run.open(changed, tmp_path)


def test_a_closed_terminal_does_not_stop_what_was_started_to_outlive_it() -> None:
    code = STOP_TWICE.replace(
        "import sys, time", "import signal, sys, time; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert int(process.stdout.readline()) == signal.SIGTERM
        process.kill()
