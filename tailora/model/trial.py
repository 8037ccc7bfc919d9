"""The trial before a training: how its largest pass is approached, and what to change when it is too large."""

import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch

from tailora import machine, recipe
from tailora.errors import RunError
from tailora.model.devices import is_sharded
from tailora.model.forecast import Held, count_tokens, gib, needed
from tailora.model.load import Transformer
from tailora.model.losses import Loss, recompute_activations
from tailora.text.chat import Sample

_SAVED_BY_NF4 = 0.82  # of float32 weights, embeddings included, which stay as they are
_KERNELS = 2**28  # bytes that bfloat16 comes to hold within some steps and a trial of seconds does not show (PLAN.md)
_SHARES = (0.25, 0.5)  # of the largest pass, tried before it


def approach(step: Callable[[list[Sample]], None], rows: Sequence[Sample]) -> list[Held]:
    """Take a `step` on shortened copies of `rows`; returns what the process held where that grew.

    On a processor the kernel kills who takes too much memory: the whole cannot just be tried and its error caught.
    """
    measured = []
    for share in _SHARES:
        before, part = machine.peak_memory_bytes(), [shortened(sample, share) for sample in rows]
        step(part)
        peak = machine.peak_memory_bytes()
        if peak is not None and before is not None and peak > before:  # else loading the model has taken more
            measured.append(Held(count_tokens(part), peak))
    return measured


def kernel_bytes(model: torch.nn.Module) -> int:
    """Return what the kernels may take that passes of ever other lengths through `model` will need after a trial."""
    return _KERNELS if any(weight.dtype == torch.bfloat16 for weight in model.parameters()) else 0


def shortened(sample: Sample, share: float) -> Sample:
    """Return the last `share` of a sample, or the first of a text with a label, two tokens at least."""
    if sample.label is not None:
        return sample._replace(tokens=sample.tokens[: max(2, math.ceil(share * len(sample.tokens)))])
    drop = min(len(sample.tokens) - math.ceil(share * len(sample.tokens)), max(0, sample.learned[-1][1] - 2))
    learned = [(max(1, start - drop), stop - drop) for start, stop in sample.learned if stop - drop > 1]
    return Sample(sample.tokens[drop:], learned)


def refuse(
    model: Transformer, loss: Loss, settings: recipe.Train, rows: list[Sample], measured: list[Held], limit: int
) -> RunError:
    """Return the error that says how much memory a pass of `rows` needs, and which keys would make it fit.

    What it proposes leaves the rows of each step as they are. The model is of no use for training afterwards.
    """
    need = needed(count_tokens(rows), measured, kernel_bytes(model))
    found = [(keys, size) for keys, size in _remedies(model, loss, settings, rows, measured) if size <= limit]
    alone = [remedy for remedy in found if " " not in remedy[0]]
    fitting = [f"{keys} ({gib(size)})" for keys, size in _largest_of_each(alone or found)]
    advice = f"By the same measure these fit: {', '.join(fitting)}" if fitting else "Choose a smaller base model"
    return RunError(
        f"training would need {gib(need)} of memory and {gib(limit)} may be held: its largest pass has {len(rows)} "
        f"rows with {count_tokens(rows):,} tokens. {advice}; or lower model.max_length, and leave long rows out."
    )


def _remedies(
    model: Transformer, loss: Loss, settings: recipe.Train, rows: list[Sample], measured: list[Held]
) -> list[tuple[str, int]]:
    """Return keys that lower memory, with the peak that is expected with them."""
    whole, longest = count_tokens(rows), max(len(sample.tokens) for sample in rows)
    resident = measured[0].peak_bytes
    grows = needed(whole, measured, kernel_bytes(model)) - resident
    saves = (
        0 if settings.gradient_checkpointing or is_sharded(model) else grows - _with_recompute(model, loss, rows, grows)
    )
    halves = [whole // 2**times for times in range(1, 20) if whole // 2**times >= longest]
    frozen = sum(
        w.numel() * w.element_size() for w in model.parameters() if not w.requires_grad and w.element_size() == 4
    )
    found = [(f"train.micro_batch_tokens={tokens}", resident + round(grows * tokens / whole)) for tokens in halves]
    if saves > 0:
        found.append(("train.gradient_checkpointing=true", resident + grows - saves))
        found += [
            (f"{keys} train.gradient_checkpointing=true", size - round(saves * (size - resident) / grows))
            for keys, size in found[:-1]
        ]
    if frozen:
        found.append(("model.dtype=bfloat16", resident + grows - frozen // 2))
        if find_spec("bitsandbytes") is not None:
            found.append(("model.quantize=nf4", resident + grows - round(frozen * _SAVED_BY_NF4)))
    return found


def _largest_of_each(remedies: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Keep of the remedies that differ in a number the first, which changes least."""
    first: dict[tuple[str, ...], tuple[str, int]] = {}
    for changes, size in remedies:
        keys = tuple(change.partition("=")[0] for change in changes.split())
        first.setdefault(keys, (changes, size))
    return list(first.values())


def _with_recompute(model: Transformer, loss: Loss, rows: list[Sample], grows: int) -> int:
    """Return what a pass takes of `grows` bytes when its layers are recomputed: what is kept, and one layer at work."""
    part = [shortened(sample, _SHARES[0]) for sample in rows]
    before = kept_bytes(model, part, loss)
    recompute_activations(model)
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", 1)
    return round(grows * min(1.0, kept_bytes(model, part, loss) / before + 1 / layers))


def kept_bytes(model: Transformer, samples: list[Sample], loss: Loss) -> int:
    """Return the bytes that a pass of `samples` keeps for the way back, apart from the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nats = loss(model, samples).nats.sum()
    del nats
    return sum(kept.values())
