"""What must hold before a training is worth its time, proved on the model at hand and a few of its rows.

A fresh adapter changes nothing; the adapter as saved, put on a fresh base, says what the model in memory says; with the
adapter off the model is its base; and a row loses the same whatever stands beside it. What fails is refused in one
line. All of it leaves weights and random numbers as they were.
"""

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import Module
from transformers import PreTrainedModel

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.fence import fenced, quiet_transformers
from tailora.model.lengths import borders, by_side
from tailora.model.load import Transformer, read_row, without_adapter
from tailora.model.lora import add_lora, save_adapter, trainable
from tailora.model.losses import distance, micro_batches, most_apart
from tailora.text.chat import Sample

_FEW = 2  # rows of each side of a border
_MOST_TOKENS = 64  # of a row whose logits are compared: a vocabulary may have a quarter of a million
_TOGETHER = 2**30  # tokens; all rows of one side in one pass
_SHAKES = (0.1, 1.0, 10.0, 100.0)  # sizes of random changes to the adapter, until one stands out from rounding
_OUTSTANDING = 10  # times what rounding may explain
# How far logits and losses of a row may lie apart, relative: rounding alone makes 1e-6 in float32 and 0.01 in bfloat16.
_ROUNDING = {"float32": 1e-4, "other": 0.03}
_REMEDY = 'Use other lora.targets, such as "all-linear", or the method "lora" with init "zero".'

RowLosses = Callable[[Transformer, list[Sample]], list[float]]


def few_rows(model: Transformer, samples: Sequence[Sample]) -> list[Sample]:
    """Return the shortest of `samples` on each side of every border of `model`'s lengths."""
    ordered = sorted(samples, key=lambda sample: len(sample.tokens))
    return [sample for rows in by_side(ordered, model) for sample in rows[:_FEW]]


def add_proved_lora(model: PreTrainedModel, settings: recipe.Lora, seed: int, samples: Sequence[Sample]) -> Transformer:
    """Return `add_lora` of `model`, when it begins at the base and what is saved of it is what it computes.

    Raises:
        ModelError: when one of the two does not hold on a few of `samples`, or the adapter cannot be made.
    """
    if settings.method == "full":  # no adapter: what is saved are transformers' own files
        return add_lora(model, settings, seed)
    rows = [sample.tokens[:_MOST_TOKENS] if sample.label is None else sample.tokens for sample in samples]
    rows, kind = sorted(rows, key=len)[:_FEW], type(model).__name__
    with fenced(f"model.base: a {kind} cannot read rows of yours", "Choose another base model"):
        before, fresh = logits(model, rows), _copied(model, shared=settings.init == "zero")
    if not before.isfinite().all():
        raise ModelError(
            f"model.base: this {kind} gives your rows logits that are not finite, before any training: its weights are "
            "broken. Choose another base model."
        )
    if samples[0].label is None:
        _require_causal(model, rows[0])
    model = add_lora(model, settings, seed)
    asked = f'lora.method = "{settings.method}" with lora.init = "{settings.init}" and lora.targets'
    with fenced(f"{asked} = {settings.targets!r} fails on a {kind}", _REMEDY):
        prove_start(model, before, rows, asked)
        prove_saved(model, fresh, before, rows, asked)
    return model


def _require_causal(model: Transformer, row: list[int]) -> None:
    """Raise ModelError when what `model` says at a token depends on those behind it: it would learn to look them up."""
    row = row[:-1] if len(row) - 1 in borders(model) else row
    whole, begun = (logits(model, [part]).view(len(part), -1) for part in (row, row[:-1]))
    if not distance([whole[:-1]], [begun]) <= _rounding(model):
        raise ModelError(
            f"model.base: what a {type(model).__name__} says at a token depends on the tokens behind it, so it would "
            "read the answers that it is to give: it is no causal language model. Choose one that is."
        )


def prove_start(model: Transformer, before: Tensor, rows: Sequence[list[int]], asked: str) -> None:
    """Raise ModelError when `model` with a fresh adapter says something else on `rows` than its base did `before`."""
    apart = distance([logits(model, rows)], [before])
    if not apart <= most_apart(model):
        raise ModelError(
            f"{asked}: with a fresh adapter the model does not say what its base says (logits differ by {apart:.2g}), "
            f"so tuned could not be compared with base. {_REMEDY}"
        )


def prove_saved(
    model: Transformer, fresh: PreTrainedModel, before: Tensor, rows: Sequence[list[int]], asked: str
) -> None:
    """Raise ModelError when the adapter of `model` as saved, on the base `fresh`, says something else on `rows`."""
    with _shaken(model, before, rows) as memory:
        apart = distance([_as_saved(model, fresh, rows)], [memory])
    if not apart <= most_apart(model):
        raise ModelError(
            f"{asked}: the adapter as saved, put on a fresh base, says something else than the model that is trained "
            f"(logits differ by {apart:.2g}). {_REMEDY}"
        )


def prove_rows(model: Transformer, row_losses: RowLosses, samples: Sequence[Sample]) -> None:
    """Raise ModelError when the loss of one of a few of `samples` depends on the rows beside it."""
    rows, training = few_rows(model, samples), model.training
    model.eval()
    with fenced(f"a {type(without_adapter(model)).__name__} fails on your rows", "Choose another base model"):
        batches = list(micro_batches(model, rows, _TOGETHER))
        together = [loss for batch in batches for loss in row_losses(model, batch)]
        alone = [row_losses(model, [sample])[0] for batch in batches for sample in batch]
    model.train(training)
    # What is no number stays none beside other rows, and is said where losses are read.
    apart = distance([torch.tensor(together).nan_to_num()], [torch.tensor(alone).nan_to_num()])
    if not apart <= _rounding(model):
        raise ModelError(
            f"a {type(without_adapter(model)).__name__} loses something else on a row beside others than on the row "
            f"alone (it differs by {apart:.2g}), so results would depend on batches. Choose another base model."
        )


def logits(model: Transformer, rows: Sequence[list[int]]) -> Tensor:
    """Return the logits of each row by itself, one after another, in evaluation mode and float32."""
    training = model.training
    model.eval()
    found = [read_row(model, row).float().flatten() for row in rows]
    model.train(training)
    return torch.cat(found)


def _rounding(model: Module) -> float:
    """Return how far what `model` gives a row may lie apart when it is computed in two ways."""
    exact = all(weight.dtype == torch.float32 for weight in model.parameters())
    return _ROUNDING["float32" if exact else "other"]


def _copied(model: PreTrainedModel, shared: bool) -> PreTrainedModel:
    """Return a copy of `model`; its weights are those of `model`, or copies where they are not `shared`."""
    weights = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(weight): weight for weight in weights} if shared else {})


@contextlib.contextmanager
def _shaken(model: Transformer, before: Tensor, rows: Sequence[list[int]]) -> Iterator[Tensor]:
    """Within the block, the adapter has random weights by which `model` says clearly something else than `before`."""
    weights = trainable(model)
    first = {name: weight.detach().clone() for name, weight in weights.items()}
    numbers = torch.Generator(model.device).manual_seed(0)
    try:
        for size in _SHAKES:
            for name, weight in weights.items():
                noise = torch.randn(weight.shape, generator=numbers, device=weight.device, dtype=weight.dtype)
                weight.data.copy_(first[name] + size * (float(first[name].std(correction=0)) or 1) * noise)
            now = logits(model, rows)
            if distance([now], [before]) > _OUTSTANDING * most_apart(model):
                break
        yield now
    finally:
        for name, weight in weights.items():
            weight.data.copy_(first[name])


def _as_saved(model: Transformer, fresh: PreTrainedModel, rows: Sequence[list[int]]) -> Tensor:
    """Return what `fresh` says with the adapter of `model`, when that has been written and read."""
    devices = [model.device] if model.device.type == "cuda" else []
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices), quiet_transformers():
        save_adapter(model, Path(folder))
        return logits(PeftModel.from_pretrained(fresh, folder), rows)
