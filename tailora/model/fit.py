"""The training loop.

Losses arrive as a sum and a count and are divided once, so no result depends on how rows were cut into micro-batches.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tailora import recipe
from tailora.errors import RunError
from tailora.model.lora import trainable
from tailora.model.losses import micro_batches
from tailora.model.schedule import cosine
from tailora.run import Stage, progress
from tailora.text.batches import epoch_batches
from tailora.text.prompts import Sample


class LossSum(NamedTuple):
    """Summed loss in nats (a scalar tensor that carries gradients) and the number of target tokens."""

    nats: Any
    targets: int


Loss = Callable[[Any, list[Sample]], LossSum]


@dataclass(frozen=True)
class Fitted:
    """How training went: the epoch whose weights were kept, and its validation loss in nats per target token."""

    best_epoch: int
    best_val_loss: float
    first_val_loss: float
    steps: int
    tokens: int
    seconds: float


def fit(
    model: Any, train: Sequence[Sample], val: Sequence[Sample], loss: Loss, settings: recipe.Train, stage: Stage
) -> Fitted:
    """Train the trainable weights of `model` in place and leave it with the best validated ones, in evaluation mode.

    Writes one row per step and one per validation to the stage's log.

    Raises:
        RunError: when a loss or gradient is not finite; the step is named and no weight has been touched by it.
    """
    import torch

    torch.manual_seed(settings.seed)
    weights = trainable(model)
    optimizer = torch.optim.AdamW(weights.values(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    step, tokens, started = 0, 0, time.monotonic()
    best_loss, best_epoch, best_weights = first_loss, _, _ = validate(model, val, loss, settings), 0, _copy(weights)
    stage.log({"split": "val", "step": 0, "epoch": 0, "loss": first_loss})

    with progress("training", steps) as advance:
        for epoch in range(1, settings.epochs + 1):
            model.train()
            for rows in epoch_batches(len(train), settings.batch_size, settings.seed, epoch):
                samples = [train[row] for row in rows]
                scale = cosine(step, steps, settings.warm_up)
                row = _take_step(model, samples, loss, optimizer, settings, scale, step + 1)
                step, tokens = step + 1, tokens + sum(len(s.tokens) for s in samples)
                elapsed = time.monotonic() - started
                stage.log(
                    {
                        "split": "train",
                        "step": step,
                        "epoch": epoch,
                        **row,
                        "tokens": tokens,
                        "seconds": round(elapsed, 2),
                    }
                )
                advance(note=f"loss {row['loss']:.3f}  {tokens / elapsed:,.0f} tokens/s")
            val_loss = validate(model, val, loss, settings)
            stage.log({"split": "val", "step": step, "epoch": epoch, "loss": val_loss})
            if val_loss < best_loss:
                best_loss, best_epoch, best_weights = val_loss, epoch, _copy(weights)
    _restore(weights, best_weights)
    model.eval()
    return Fitted(best_epoch, best_loss, first_loss, step, tokens, time.monotonic() - started)


def _take_step(
    model: Any, samples: list[Sample], loss: Loss, optimizer: Any, settings: recipe.Train, scale: float, step: int
) -> dict[str, float]:
    """One optimizer step on the token-weighted mean over `samples`; returns loss, gradient norm and rate."""
    import torch

    nats, targets = accumulate(model, samples, loss, settings.micro_tokens)
    norm = torch.nn.utils.clip_grad_norm_(trainable(model).values(), settings.clip).item()
    if not (math.isfinite(nats) and math.isfinite(norm)):
        raise RunError(
            f"training stopped at step {step}: loss {nats / targets}, gradient norm {norm}. "
            f"Lower train.lr (now {settings.lr}) or train.clip (now {settings.clip})."
        )
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * scale
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": nats / targets, "grad_norm": norm, "lr": settings.lr * scale}


def accumulate(model: Any, samples: Sequence[Sample], loss: Loss, micro_tokens: int) -> tuple[float, int]:
    """Add the gradient of the mean loss per target token over `samples`; returns the summed nats and the count."""
    targets = sum(sample.targets for sample in samples)
    total = 0.0
    for batch in micro_batches(model, samples, micro_tokens):
        part = loss(model, batch)
        (part.nats / targets).backward()
        total += part.nats.item()
    return total, targets


def validate(model: Any, samples: Sequence[Sample], loss: Loss, settings: recipe.Train) -> float:
    """Return the loss over all `samples` in nats per target token."""
    import torch

    model.eval()
    nats, targets = 0.0, 0
    with torch.inference_mode():
        for batch in micro_batches(model, samples, settings.micro_tokens):
            part = loss(model, batch)
            nats, targets = nats + part.nats.item(), targets + part.targets
    return nats / targets


def _copy(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: weight.detach().clone() for name, weight in weights.items()}


def _restore(weights: dict[str, Any], saved: dict[str, Any]) -> None:
    for name, weight in weights.items():
        weight.data.copy_(saved[name])
