"""Checkpoints: whole or not there, and never something else than what was saved."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tailora import files
from tailora.errors import RunError
from tailora.model import checkpoint
from tailora.recipe import parse_recipe
from tailora.run import Run, Stage

FILES = ("manifest.json", "position.json", "weights.safetensors", "random.safetensors")


def groups(step: int, size: int = 3) -> dict[str, dict[str, Any]]:
    torch.manual_seed(step)
    weights = {"a": torch.randn(size, 2), "b.c": torch.randn(2, size).T, "count": torch.tensor(float(step))}
    return {"weights": weights, "random": {"cpu": torch.get_rng_state()[:9]}, "optimizer": {}}


def saved(folder: Path, *steps: int, **made_from: Any) -> Stage:
    stage = Stage(folder, made_from=made_from)
    for step in steps:
        checkpoint.save(stage, f"step-{step}", {"step": step}, groups(step))
    return stage


def same(found: checkpoint.Checkpoint, step: int) -> bool:
    return found.position == {"step": step} and all(
        found.load(group).keys() == tensors.keys()
        and all(torch.equal(tensor, found.load(group)[key]) for key, tensor in tensors.items())
        for group, tensors in groups(step).items()
    )


def test_the_newest_is_found_and_holds_what_was_saved(tmp_path: Path) -> None:
    stage = saved(tmp_path, 0, 9, 10, 100)
    found = checkpoint.newest(stage)
    assert found is not None and same(found, 100)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-10", "step-100"}
    checkpoint.save(stage, "step-100-validated", {"step": 101}, groups(101))
    found = checkpoint.newest(stage)
    assert found is not None and same(found, 101)
    assert "notes" not in stage.facts


def test_without_checkpoints_there_is_none_and_nothing_to_say(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert checkpoint.newest(stage) is None and stage.facts == {}


@settings(max_examples=150)
@given(data=st.data())
def test_one_flipped_bit_anywhere_is_noticed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    stage = saved(tmp_path_factory.mktemp("flipped"), 1, 2)
    path = stage.folder / "checkpoints" / "step-2" / data.draw(st.sampled_from(FILES))
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    found = checkpoint.newest(stage)
    assert found is not None and same(found, 1)
    assert len(stage.facts["notes"]) == 1 and "checkpoint step-2 is damaged" in stage.facts["notes"][0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [None, 0, 10])
def test_a_file_that_is_missing_or_cut_is_noticed(tmp_path: Path, name: str, left: int | None) -> None:
    stage = saved(tmp_path, 1, 2)
    path = tmp_path / "checkpoints" / "step-2" / name
    if left is None:
        path.unlink()
    else:
        os.truncate(path, left)
    found = checkpoint.newest(stage)
    assert found is not None and same(found, 1)
    assert f"({name} " in stage.facts["notes"][0]


def test_when_none_is_whole_that_is_said(tmp_path: Path) -> None:
    stage = saved(tmp_path, 1, 2)
    for step in (1, 2):
        (tmp_path / "checkpoints" / f"step-{step}" / "manifest.json").unlink()
    assert checkpoint.newest(stage) is None
    assert len(stage.facts["notes"]) == 3 and "starts anew" in stage.facts["notes"][-1]
    checkpoint.save(stage, "step-1", {"step": 1}, groups(1))
    found = checkpoint.newest(stage)
    assert found is not None and same(found, 1)


def test_what_was_made_from_other_values_is_refused_with_the_key(tmp_path: Path) -> None:
    saved(tmp_path, 1, **{"train.lr": 0.1, "base": "abc"})
    changes: list[tuple[dict[str, Any], str]] = [
        ({"train.lr": 0.2}, "train.lr has changed since (0.1, now 0.2)"),
        ({"base": "abd"}, "base has changed since ('abc', now 'abd')"),
        ({"new": 1}, "new has changed since (None, now 1)"),
    ]
    for now, key in changes:
        with pytest.raises(RunError) as caught:
            checkpoint.newest(Stage(tmp_path, made_from=now))
        assert key in str(caught.value) and "--fresh" in str(caught.value)
    assert checkpoint.newest(Stage(tmp_path, made_from={"base": "abc"}))  # what is not known yet is not compared
    record = tmp_path / "checkpoints" / "step-1" / "position.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 0}))
    manifest = record.with_name("manifest.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {record.name: files.sha256(record)}))
    with pytest.raises(RunError, match=r"checkpoint format has changed since \(0, now"):
        checkpoint.newest(Stage(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a real file system of 64 KiB; needs to be root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full_leaves_the_last_checkpoint_whole(small_disk: Path) -> None:
    run = Run.open(parse_recipe({"name": "r", "data": {"source": "rows.jsonl"}}), small_disk)
    no_room = pytest.raises(RunError, match=r"no room to write \(No space left on device; 0\.0 MiB free")
    with no_room as caught, run.stage("train", resume=True) as stage:
        checkpoint.save(stage, "step-1", {"step": 1}, groups(1))
        for number in range(1, 99):
            checkpoint.save(stage, "step-2", {"step": 2}, groups(2, size=1000 * number))
            files.remove_folder(stage.folder / "checkpoints" / "step-2")
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOSPC
    assert [path.name for path in (stage.folder / "checkpoints").iterdir()] == ["step-1"]
    found = checkpoint.newest(stage)
    assert found is not None and same(found, 1)
