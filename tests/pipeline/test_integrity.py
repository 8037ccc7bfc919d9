"""What a stage has written is what later stages read, or they say that it is not."""

import bisect
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailora.errors import RunError
from tailora.evaluation.journal import Journal
from tailora.evaluation.other_rows import evaluate_on, recipe_on
from tailora.pipeline import evaluate, report, train
from tailora.recipe import Recipe
from tailora.run import STAGES, Run, Stage
from tests.rows import write

ODD: list[Any] = [None, 0, -1, 1.5, True, "many", "", [], {}, [None], {"a": []}, 10**12]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished run."""
    return Path(shutil.copytree(finished, tmp_path / finished.name))


def test_an_adapter_of_a_run_that_was_changed_meets_no_other_rows(
    copied: Path, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    config = copied / "train/adapter/adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 99}))
    rows = write(tmp_path / "rows.jsonl", [{"question": f"What is {i}?", "answer": f"it is {i}"} for i in range(3)])
    with pytest.raises(RunError, match=r"adapter_config\.json is not what its stage has written there"):
        evaluate_on(Run.load(copied), recipe_on(make_recipe(), rows))


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("prepare/train.jsonl", "train"),
        ("prepare/val.jsonl", "train"),
        ("prepare/test.jsonl", "evaluate"),
        ("evaluate/base/predictions.jsonl", "report"),
        ("evaluate/comparison.json", "report"),
        ("prepare/card.json", "report"),
        ("train/stage.json", "report"),
        ("prepare/stage.json", "evaluate"),
    ],
)
def test_a_file_of_a_finished_stage_that_was_changed_is_refused_by_the_stages_that_read_it(
    name: str, stage: str, copied: Path, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    for later in list(STAGES)[list(STAGES).index(stage) :]:
        shutil.rmtree(copied / later, ignore_errors=True)
    changed = (copied / name).read_bytes().replace(b"1", b"2", 1)
    (copied / name).write_bytes(changed)
    with pytest.raises(RunError, match=rf"{name.rpartition('/')[2]} is (not what its stage has written|damaged)"):
        {"train": train, "evaluate": evaluate, "report": report}[stage](Run.open(make_recipe(), tmp_path))


@pytest.mark.parametrize(
    "name", ["prepare/card.json", "prepare/stage.json", "train/stage.json", "evaluate/stage.json",
             "evaluate/comparison.json", "train/adapter/tailora.json"],
)  # fmt: skip
def test_no_value_that_was_changed_in_a_record_is_believed_whatever_it_is(
    name: str, copied: Path, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    whole = json.loads((copied / name).read_text())
    later = "evaluate" if name.startswith("train/adapter") else "report"
    for stage in list(STAGES)[list(STAGES).index(later) :]:
        shutil.rmtree(copied / stage)
    use = {"evaluate": evaluate, "report": report}[later]
    for changed in (*ODD, *({**whole, key: odd} for key in whole for odd in ODD if odd != whole[key])):
        (copied / name).write_text(json.dumps(changed))
        with pytest.raises(RunError, match=rf"{name.rpartition('/')[2]} is (damaged|not what its stage has written)"):
            use(Run.open(make_recipe(), tmp_path))


def test_a_record_without_a_seal_is_read_when_it_says_what_every_record_says(
    copied: Path, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    record = copied / "train" / "stage.json"
    whole = {key: value for key, value in json.loads(record.read_text()).items() if key not in ("seal", "files")}
    record.write_text(json.dumps(whole))
    assert train(Run.open(make_recipe(), tmp_path)).is_done("train")
    for key in ("finished", "seconds", "recipe"):
        record.write_text(json.dumps(whole | {key: []}))
        with pytest.raises(RunError, match=rf"stage\.json is damaged \({key} is missing"):
            train(Run.open(make_recipe(), tmp_path))


def test_a_damaged_line_of_the_log_costs_a_point_of_its_figure_and_no_more(
    copied: Path, make_recipe: Callable[..., Recipe], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(copied / "report")
    log = bytearray((copied / "train" / "log.jsonl").read_bytes())
    log[3] ^= 1
    (copied / "train" / "log.jsonl").write_bytes(log)
    with caplog.at_level("INFO", "tailora"):
        report(Run.open(make_recipe(), tmp_path))
    lines = log.count(b"\n")
    assert f"1 of its {lines} lines are damaged and left out" in caplog.text
    assert (copied / "report" / "figures" / "loss.svg").exists()


def test_an_adapter_that_was_changed_after_training_is_refused(
    copied: Path, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    shutil.rmtree(copied / "evaluate")
    shutil.rmtree(copied / "report", ignore_errors=True)
    weights = copied / "train/adapter/adapter_model.safetensors"
    flipped = bytearray(weights.read_bytes())
    flipped[-9] ^= 1
    weights.write_bytes(flipped)
    with pytest.raises(RunError, match="is not what its stage has written there"):
        evaluate(Run.open(make_recipe(), tmp_path))


def pages(folder: Path) -> tuple[Journal, Stage]:
    stage = Stage(folder, made_from={"base": "abc"})
    return Journal(stage, lambda: None), stage


def test_no_bit_of_a_journal_can_change_without_notice_and_the_other_lines_stay(tmp_path: Path) -> None:
    batches = [{0: 0.5, 1: 1.25}, {2: "c"}, {3: [4.5, None]}]
    assert pages(tmp_path)[0].collect("part", iter(batches), 4, "asking") == [0.5, 1.25, "c", [4.5, None]]
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    starts = [0, *(place + 1 for place, byte in enumerate(whole) if byte == 10)]
    numbers = random.Random(0)
    for bit in numbers.sample(range(8 * len(whole)), 300):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        journal, stage = pages(tmp_path)
        (note,) = stage.facts["notes"]
        assert "of journal.jsonl are damaged and were removed" in note
        line = bisect.bisect_right(starts, bit // 8) - 1
        hit = range(4) if line == 0 else {*batches[line - 1]}
        beside = {*batches[line]} if 0 < line < 3 and bit // 8 == starts[line + 1] - 1 else set()  # a lost line end
        known = {number: value for batch in batches for number, value in batch.items()}
        assert dict(journal.known("part")) == {n: v for n, v in known.items() if n not in hit and n not in beside}


@pytest.mark.parametrize(
    "line", [b"[]", b"null", b'{"row": 1, "hash": 2}', b'{"row": {"part": 1}}', b"[" * 9999, b"\xff"]
)
def test_a_line_that_no_journal_wrote_is_left_out_with_a_count(line: bytes, tmp_path: Path) -> None:
    pages(tmp_path)[0].collect("part", iter([{0: 0.5}]), 1, "asking")
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(line + b"\n")
    journal, stage = pages(tmp_path)
    assert dict(journal.known("part")) == {0: 0.5} and "1 lines of journal.jsonl" in stage.facts["notes"][0]
