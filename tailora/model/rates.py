"""A learning rate by a range test: raise the rate from step to step and see where the loss falls and where it breaks.

The test tells the order of magnitude at which training is stable. It is no search: no whole training is compared.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from tailora import recipe
from tailora.errors import RunError
from tailora.model.fit import accumulate, copied, fill, optimised, set_rate
from tailora.model.load import Transformer
from tailora.model.losses import Loss
from tailora.run import progress
from tailora.text.batching import epoch_batches
from tailora.text.chat import Sample

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 60  # ten steps a decade
_SMOOTH = 0.8  # weight of the past in the mean of losses
_BROKEN = 1.2  # times the lowest mean: from here on the rate is too high to go on
_SAFETY = 10.0  # how far below the rate of the lowest loss training starts


class RangeTest(NamedTuple):
    """The rates that were tried, the loss before each step in nats per token, and the rate that was chosen."""

    chosen: float
    rates: list[float]
    losses: list[float]

    def line(self) -> str:
        """Say it to a user."""
        return f"train.lr = {self.chosen:.2g}: chosen by a range test of {len(self.rates)} steps, not tuned"


def find_rate(model: Transformer, samples: Sequence[Sample], loss: Loss, settings: recipe.Train) -> RangeTest:
    """Train on `samples` while the rate rises from 1e-6 to 1, and undo it; returns what was seen and a rate.

    The rate is a tenth of the one at which the smoothed loss was lowest (Smith 2017, "Cyclical Learning Rates", section
    3.3, describes the test; the tenth is the rule of fastai). Rows come in the order of the first epoch, repeated when
    they are fewer.

    Raises:
        RunError: when no rate lowered the loss.
    """
    weights, optimizer = optimised(model, settings)
    before = copied(weights)
    torch.manual_seed(settings.seed)
    model.train()
    rates, losses, mean = [], [], _Mean()
    with progress("range test", STEPS) as advance:
        for rate, rows in zip(_rising(), _rows(len(samples), settings), strict=False):
            nats, targets = accumulate(model, [samples[row] for row in rows], loss, settings.micro_batch_tokens)
            rates.append(rate)
            losses.append(nats / targets)
            if not math.isfinite(losses[-1]) or mean.add(losses[-1]) > _BROKEN * mean.lowest:
                break
            torch.nn.utils.clip_grad_norm_(weights.values(), settings.max_grad_norm)
            set_rate(optimizer, rate)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            advance()
    fill(weights, before)
    optimizer.zero_grad(set_to_none=True)
    if not mean.at:
        raise RunError('train.lr = "auto": no rate lowered the loss; give a number, such as 2e-4.')
    return RangeTest(float(f"{rates[mean.at] / _SAFETY:.2g}"), rates, [v for v in losses if math.isfinite(v)])


class _Mean:
    """The mean of the losses so far, the later ones weighing more; its lowest value, and the step where that was."""

    def __init__(self) -> None:
        self._sum, self._weight, self._count = 0.0, 0.0, 0
        self.lowest, self.at = math.inf, 0

    def add(self, value: float) -> float:
        self._sum = _SMOOTH * self._sum + (1 - _SMOOTH) * value
        self._weight = _SMOOTH * self._weight + (1 - _SMOOTH)
        now = self._sum / self._weight
        if now < self.lowest:
            self.lowest, self.at = now, self._count
        self._count += 1
        return now


def _rising() -> list[float]:
    return [LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(STEPS)]


def _rows(count: int, settings: recipe.Train) -> Iterator[list[int]]:
    epochs = (epoch_batches(count, settings.batch_size, settings.seed, epoch) for epoch in itertools.count(1))
    return itertools.chain.from_iterable(epochs)
