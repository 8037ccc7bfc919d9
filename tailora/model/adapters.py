"""Adapters made by anyone: what they must be, and whether all of one found its place on a base model."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from peft import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from tailora.errors import ModelError
from tailora.model import load
from tailora.model.border import ADAPTER_WEIGHTS, read_adapter_config
from tailora.model.fence import fenced
from tailora.model.load import Transformer
from tailora.model.losses import distance, most_apart
from tailora.model.proofs import logits

_PREFIX = "base_model.model."  # of PEFT's names


def count_labels(folder: Path) -> int:
    """Return how many labels the head of a classifier's adapter tells apart.

    Raises:
        ModelError: when the adapter brings no head.
    """
    with load.explained(str(folder)), safe_open(folder / ADAPTER_WEIGHTS, "numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  (it is no dict)
    outputs = [shape[0] for name, shape in shapes.items() if ".lora_" not in name and len(shape) == 2]
    if not outputs:
        raise ModelError(
            f"{folder} is a classifier without its head: no layer was saved whole. Train it with modules_to_save, "
            "which PEFT fills in by itself for task_type SEQ_CLS."
        )
    if min(outputs) < 2:
        raise ModelError(
            f"{folder} has a head with one output: it gives numbers, and no labels that could be compared."
        )
    return int(min(outputs))  # layers of a head that come before the last are as wide as the model


def put_on(base: PreTrainedModel, folder: Path, name: str) -> Transformer:
    """Put what was trained in `folder` on `base`, the model called `name`, as `load_adapter` does.

    An adapter may bring weights of the base itself, such as embeddings that were trained too; within
    `model.disable_adapter()` the model has those of `base`.

    Raises:
        ModelError: when shapes differ, or a tensor of the adapter has no place in the model, or the model has a place
            for one that the adapter lacks: PEFT leaves that out without an error, and what is compared would be less
            than the adapter. Or when a tensor holds values that are not finite, or the model without the adapter is
            not `base` any more.
    """
    rows = [row.tokens for row in load.short_rows(base)]
    stored = _stored(folder)
    _require_head(base, stored, folder, name)
    with fenced(f"{folder} cannot be put on {name}", "Name the base model that it was trained on"):
        before, weights = logits(base, rows), _weights_behind(base, stored, folder, name)
        model = _loaded(base, folder, name)
        _require_all(model, stored, folder, name)
        _switch_weights(model, weights, stored, folder)
        with model.disable_adapter():
            apart = distance([logits(model, rows).nan_to_num()], [before.nan_to_num()])  # a broken base is no worse
    if not apart <= most_apart(model):
        raise ModelError(
            f"{folder}: without the adapter, {name} does not say what it said before it was put on (logits differ by "
            f"{apart:.2g}){_hint(folder)}, so base and tuned cannot be compared. Merge it into its base, and "
            "compare the two as models of their own."
        )
    return model


def _loaded(base: PreTrainedModel, folder: Path, name: str) -> Transformer:
    try:
        return load.load_adapter(base, folder)
    except ModelError as error:
        lines = [line.strip() for line in str(error.__cause__).splitlines() if "mismatch" in line]
        if not lines:
            raise
        raise ModelError(
            f"{folder} does not fit {name}: {lines[0][:300]} It was trained on another base model; name that one."
        ) from error


def _weights_behind(base: PreTrainedModel, stored: dict[str, Tensor], folder: Path, name: str) -> dict[str, Tensor]:
    """Return copies of the weights of `base` that the adapter brings its own of, by their names in the adapter.

    Raises:
        ModelError: when one of them has another shape, as embeddings have that were enlarged.
    """
    found, own = {}, base.state_dict()
    for key, tensor in stored.items():
        weight = own.get(key.removeprefix(_PREFIX).replace(".base_layer.", "."))
        if weight is None:
            continue
        if weight.shape != tensor.shape:
            raise ModelError(
                f"{folder} brings its own {key.removeprefix(_PREFIX)} of shape {list(tensor.shape)}; {name} has one of "
                f"{list(weight.shape)}: its vocabulary was changed. Change that of the base likewise "
                "(resize_token_embeddings), save it with the adapter's tokenizer, and name that folder."
            )
        found[key] = weight.detach().clone()
    return found


def _switch_weights(model: Transformer, weights: dict[str, Tensor], stored: dict[str, Tensor], folder: Path) -> None:
    """Let `model` have the `weights` of its base where the adapter is off, as far as it has others now; in place."""
    now = model.state_dict()
    weights = {key: weight for key, weight in weights.items() if key in now}
    wrong = [key for key in weights if not now[key].equal(stored[key].to(now[key]))]
    if wrong:
        raise ModelError(
            f"{folder} brings its own {wrong[0].removeprefix(_PREFIX)}, which its base shares with another weight that "
            "it brings: both cannot be put on. Merge it into its base, and compare the two as models of their own."
        )
    changed = {key: weight for key, weight in weights.items() if not now[key].equal(weight)}
    if changed:
        model.disable_adapter = functools.partial(_as_base, model, type(model).disable_adapter, changed)


@contextlib.contextmanager
def _as_base(
    model: Transformer,
    switched_off: Callable[[Transformer], contextlib.AbstractContextManager[None]],
    weights: dict[str, Tensor],
) -> Iterator[None]:
    with switched_off(model), load.weights_of_base(model, weights):
        yield


def _hint(folder: Path) -> str:
    """Say what in the configuration of an adapter changes its base; nothing where that is not known."""
    config = read_adapter_config(folder)
    keys = ("layer_replication", "init_lora_weights", "bias", "loftq_config", "corda_config", "eva_config")
    found = [f"{key} = {config[key]!r}"[:80] for key in keys if config.get(key) not in (None, True, "none", {})]
    return f"; it has {', '.join(found)}" if found else ""


def _require_all(model: Transformer, stored: dict[str, Tensor], folder: Path, name: str) -> None:
    """Raise ModelError when a tensor of the adapter has no place in the model or another value there, or one lacks."""
    placed = _placed(model) if stored else {}
    homeless = sorted(stored.keys() - placed.keys() - model.state_dict().keys())
    lacking = sorted(placed.keys() - stored.keys())
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
    lost = [key for key, tensor in sorted(placed.items()) if not tensor.equal(stored[key].to(tensor))]
    if lost:
        raise ModelError(
            f"{folder}: {len(lost):,} of its {len(stored):,} tensors are not in the model as they are stored, the "
            f"first is {lost[0]}: PEFT lost them while it loaded a {type(load.without_adapter(model)).__name__}. Merge "
            "it into its base with the versions that it was trained with, and compare the two as models of their own."
        )


def _stored(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of an adapter; none where all weights were trained, and there is none.

    Raises:
        ModelError: when one of them holds values that are not finite.
    """
    if not (folder / ADAPTER_WEIGHTS).is_file():
        return {}
    with load.explained(str(folder)):
        tensors: dict[str, Tensor] = load_file(folder / ADAPTER_WEIGHTS)
    broken = sorted(name for name, tensor in tensors.items() if not tensor.isfinite().all())
    if broken:
        raise ModelError(
            f"{folder} holds values that are not finite in {len(broken):,} of its {len(tensors):,} tensors, the first "
            f"is {broken[0]}: its training has diverged. Train it again, with a lower learning rate."
        )
    return tensors


def _require_head(base: PreTrainedModel, stored: dict[str, Tensor], folder: Path, name: str) -> None:
    """Raise ModelError when a part of a classifier's head comes from neither the base nor the adapter."""
    for part in getattr(base, "tailora_untrained", []) if stored else []:
        if not any(key.startswith(f"{_PREFIX}{part}.") for key in stored):
            raise ModelError(
                f"{folder}: neither it nor {name} brings the layer {part}, which would be random. Save it with the "
                "adapter: name it in modules_to_save."
            )


def _placed(model: Transformer) -> dict[str, Tensor]:
    found: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return found
