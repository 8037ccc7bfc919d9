"""Checkpoints: what a training needs to go on as if it had never stopped, in safetensors and JSON.

A checkpoint is a folder `checkpoints/step-N` that appears only when it is whole, with a manifest of hashes. A damaged
one is named and removed, and the one before it is taken. Each says what it was made from; nothing else continues it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from tailora import files
from tailora.errors import RunError
from tailora.provenance import require_same
from tailora.run import Stage

Tensors = dict[str, Tensor]

_KEPT = 2
_NAME = re.compile(r"step-(\d+)(-validated)?")
_FORMAT = 4


class _Record(BaseModel):
    """What `position.json` must say."""

    format: int
    made_from: dict[str, Any]
    position: dict[str, Any]
    groups: list[str] = Field(min_length=1)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk: the position of the loop (JSON of the loop's own), and groups of tensors by name."""

    folder: Path
    position: dict[str, Any]

    def load(self, group: str) -> Tensors:
        """Return one of the groups that `save` was given."""
        tensors: Tensors = load_file(self.folder / f"{group}.safetensors")
        return tensors


def save(stage: Stage, name: str, position: dict[str, Any], groups: dict[str, Tensors]) -> None:
    """Save a checkpoint under `name` ("step-N", or "step-N-validated") and remove all but the newest two.

    When that fails, the earlier ones are as they were.
    """
    folder = stage.folder / "checkpoints"
    if (folder / name).exists():  # nothing has happened since
        return
    with files.whole_folder(folder / name) as partial:
        for group, tensors in groups.items():
            whole = {key: tensor.contiguous() for key, tensor in tensors.items()}
            files.write_bytes(partial / f"{group}.safetensors", to_bytes(whole))
        record = {"format": _FORMAT, "made_from": stage.made_from, "position": position, "groups": sorted(groups)}
        files.write_json(partial / "position.json", record)
    for old in _by_age(folder)[_KEPT:]:
        files.remove_folder(old)


def newest(stage: Stage) -> Checkpoint | None:
    """Return the newest whole checkpoint of a stage; damaged ones are named to the user and removed.

    Raises:
        RunError: when it was made from other values than `stage.made_from`; names the first that differs.
    """
    found = _by_age(stage.folder / "checkpoints")
    for folder in found:
        problem = files.damage(folder) or _incomplete(folder)
        if problem is None:
            record = files.read_json(folder / "position.json")
            _require_same(stage, record)
            return Checkpoint(folder, record["position"])
        files.remove_folder(folder)
        stage.say(f"checkpoint {folder.name} is damaged ({problem}) and was removed")
    if found:
        stage.say("no whole checkpoint is left, so training starts anew")
    return None


def _incomplete(folder: Path) -> str | None:
    """Say what a folder lacks to be a checkpoint; None where a position and its groups of tensors are there."""
    try:
        record = files.read_json(folder / "position.json")
    except RunError:
        return "position.json is missing or damaged"
    if record.get("format") not in (_FORMAT, None):
        return None  # another version's: it is refused by name, and not removed
    try:
        groups = _Record.model_validate(record).groups
    except ValidationError:
        return "it lacks what a checkpoint says of itself"
    lacking = [group for group in groups if not (folder / f"{group}.safetensors").is_file()]
    return f"it lacks {', '.join(lacking)}" if lacking else None


def _by_age(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, the newest first."""
    named = [(match, path) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name))]
    return [path for match, path in sorted(named, key=lambda pair: (-int(pair[0][1]), not pair[0][2]))]


def _require_same(stage: Stage, record: dict[str, Any]) -> None:
    require_same(
        {"checkpoint format": record["format"], **record["made_from"]},
        {"checkpoint format": _FORMAT, **stage.made_from},
        f"{stage.folder}: this training was interrupted",
        'Put that back to resume, choose another name (name="…"), or start anew: `tailora train <recipe> --fresh`.',
    )
