"""Adapters made by anyone: what they must be, and whether all of one found its place on a base model."""

from pathlib import Path
from typing import Any

from tailora import files
from tailora.errors import ModelError, RunError
from tailora.model import load

WEIGHTS = "adapter_model.safetensors"


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of the adapter in `folder`, without importing torch.

    Raises:
        ModelError: when there is none, or it is of a kind that cannot be compared with its base.
    """
    try:
        config: dict[str, Any] = files.read_json(folder / "adapter_config.json")
    except RunError:
        raise ModelError(
            f"{folder} is no adapter: it has no readable adapter_config.json. Give the folder that PEFT's "
            "`save_pretrained` wrote, such as runs/demo/train/adapter."
        ) from None
    if not (folder / WEIGHTS).is_file():
        others = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise ModelError(
            f"{folder} has no {WEIGHTS}, and only that format is read, since others can run code; it has: {others}."
        )
    task = config.get("task_type") or "CAUSAL_LM"
    if task != "CAUSAL_LM":
        raise ModelError(f"{folder} is an adapter for the task {task}; models that answer have CAUSAL_LM.")
    if "num_virtual_tokens" in config:
        raise ModelError(
            f"{folder} is prompt tuning ({config.get('peft_type')}), not a change of weights; it cannot be compared."
        )
    return config


def put_on(base: Any, folder: Path, name: str) -> Any:
    """Put what was trained in `folder` on `base`, the model called `name`, as `load_adapter` does.

    Raises:
        ModelError: when shapes differ, or a tensor of the adapter has no place in the model, or the model has a place
            for one that the adapter lacks: PEFT leaves that out without an error, and what is compared would be less
            than the adapter. Or when a tensor holds values that are not finite.
    """
    try:
        model = load.load_adapter(base, folder)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if "mismatch" in line] or [str(error)]
        raise ModelError(
            f"{folder} does not fit {name}: {lines[0][:300]} It was trained on another base model; name that one."
        ) from None
    stored = _stored(folder)
    placed = _placed(model) if stored else set()
    homeless, lacking = sorted(stored - placed), sorted(placed - stored)
    if homeless:
        raise ModelError(
            f"{folder} does not fit {name}: {len(homeless):,} of its {len(stored):,} tensors have no place "
            f"there, the first is {homeless[0]}. It was trained on another base model; name that one."
        )
    if lacking:
        raise ModelError(
            f"{folder} is not whole: it lacks {len(lacking):,} of {len(placed):,} tensors, the first is {lacking[0]}. "
            "Save it again, or name in its adapter_config.json the layers that it has."
        )
    return model


def _stored(folder: Path) -> set[str]:
    """Return the names of the tensors of an adapter; none where all weights were trained, and there is none.

    Raises:
        ModelError: when one of them holds values that are not finite.
    """
    from safetensors import safe_open

    if not (folder / WEIGHTS).is_file():
        return set()
    with safe_open(folder / WEIGHTS, "pt") as file:
        names = set(file.keys())
        broken = sorted(name for name in names if not file.get_tensor(name).isfinite().all())
    if broken:
        raise ModelError(
            f"{folder} holds values that are not finite in {len(broken):,} of its {len(names):,} tensors, the first is "
            f"{broken[0]}: its training has diverged. Train it again, with a lower learning rate."
        )
    return names


def _placed(model: Any) -> set[str]:
    from peft import get_peft_model_state_dict

    return set(get_peft_model_state_dict(model, save_embedding_layers=False))
