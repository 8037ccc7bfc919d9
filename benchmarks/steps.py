"""Optimizer steps, one after another, each with its time: tailora's, and those of a trainer of transformers or TRL.

For all of them: AdamW at a constant rate without decay, gradients clipped at 1, and rows in the order they have.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tailora import machine
from tailora.model.fit import accumulate
from tailora.model.losses import Loss
from tailora.text.chat import Sample

LR = 2e-4


class Step(NamedTuple):
    """One optimizer step: its wall time, its size (tokens without padding, or rows), and its loss per target."""

    seconds: float
    size: int
    loss: float


def wait() -> None:
    """Wait until the GPU has done what it was asked, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def take_steps(
    model: Any,
    samples: list[Sample],
    batch: int,
    loss: Loss,
    micro_batch_tokens: int,
    size: Callable[[list[Sample]], int],
) -> list[Step]:
    """Take a step on each `batch` of samples with tailora's engine."""
    import torch

    from tailora.model.lora import trainable

    model.train()
    weights = list(trainable(model).values())
    optimizer = torch.optim.AdamW(weights, lr=LR, weight_decay=0.0)
    steps = []
    for start in range(0, len(samples), batch):
        rows, began = samples[start : start + batch], time.perf_counter()
        nats, targets = accumulate(model, rows, loss, micro_batch_tokens)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait()
        steps.append(Step(time.perf_counter() - began, size(rows), nats / targets))
    return steps


def trainer_keys(batch: int, seed: int) -> dict[str, Any]:
    """Return the settings with which a trainer takes the same steps, and does nothing else."""
    return {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": batch, "num_train_epochs": 1,
        "learning_rate": LR, "lr_scheduler_type": "constant", "weight_decay": 0.0, "max_grad_norm": 1.0,
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "seed": seed,
        "train_sampling_strategy": "sequential", "dataloader_pin_memory": False, "use_cpu": machine.device() == "cpu",
    }  # fmt: skip


def steps_of(trainer: Any, sizes: Iterable[int]) -> list[Step]:
    """Let a trainer train; returns its steps, from end to end, whose `sizes` may become known while it does."""
    from transformers import TrainerCallback

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wait()
            ends.append(time.perf_counter())

    trainer.add_callback(Clock())
    trainer.train()
    seconds = [end - began for began, end in itertools.pairwise(ends)]
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return [Step(*step) for step in zip(seconds, sizes, losses, strict=False)]


def summed(taken: list[Step], unit: str) -> dict[str, Any]:
    """Return speed, peak of memory and losses of a contender; the first step warms up and its time does not count."""
    counted = taken[1:]
    size, seconds = sum(step.size for step in counted), sum(step.seconds for step in counted)
    return {
        "steps": len(counted), unit: size, "seconds": round(seconds, 3), f"{unit}_per_second": size / seconds,
        "best_step": max(step.size / step.seconds for step in counted), "peak_bytes": machine.held_memory_bytes(),
        "losses": [round(step.loss, 5) for step in taken],
    }  # fmt: skip
