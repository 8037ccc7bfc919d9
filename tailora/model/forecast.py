"""What a training will need, foretold from a trial of it: memory and time as plain numbers. Knows no tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tailora.text.chat import Sample

_GROWTH = 0.25


@dataclass(frozen=True)
class Forecast:
    """Memory and time of a training, measured on its largest pass and its first steps before it starts."""

    peak_bytes: int
    """A bound on the memory that each process will hold, interpreter and libraries included; on a GPU, what torch will
    hold. It is what is compared with `limit_bytes`."""
    limit_bytes: int | None
    """Most memory that it may hold: what it held and what was free at the start, or `train.memory_mb`."""
    seconds: float
    """Of all steps and validations, without checkpoints."""
    validation_seconds: float
    """The part of `seconds` that validations take."""
    steps: int
    tokens_an_epoch: int
    tokens_per_second: float
    """Of the steps."""
    validation_pace: float
    """Seconds a token."""
    trial_seconds: float
    """What the trial itself took, which is not in `seconds`."""


@dataclass(frozen=True)
class Plan:
    """What is foretold of each stage; seconds are what is left to do, 0 where a stage is done."""

    rows: dict[str, int]
    """Of each split."""
    weights: dict[str, int]
    train: Forecast
    train_seconds: float
    """Those of `train`, and of loading and the trial."""
    evaluate_seconds: float
    """At most, but for running programs: base answers of full length, tuned ones as long as the references."""
    evaluate_bytes: int
    """A bound on the memory of `evaluate`, as that of `train`."""


class Pace(NamedTuple):
    """Seconds that a token takes in a step and in a validation."""

    step: float
    validation: float


class Memory(NamedTuple):
    """The peak that is foretold, and what may be held."""

    peak_bytes: int
    limit_bytes: int | None


class Held(NamedTuple):
    """The peak of memory after a pass of so many tokens."""

    tokens: int
    peak_bytes: int


def count_tokens(samples: Sequence[Sample]) -> int:
    """Return the tokens of all samples together."""
    return sum(len(sample.tokens) for sample in samples)


def expected_bytes(tokens: int, measured: Sequence[Held]) -> int:
    """Return the peak to expect of a pass of `tokens`: on the line through the last two that were `measured`.

    Memory grows with the tokens of a pass, and with their square where attention keeps its probabilities: then this is
    too little, which is why passes are approached step by step. A line that falls counts as level.
    """
    before, last = measured[-2:]
    slope = max(0.0, (last.peak_bytes - before.peak_bytes) / (last.tokens - before.tokens))
    return round(last.peak_bytes + slope * (tokens - last.tokens))


def grown(peak_bytes: int, held_before: int, kernels: int = 0) -> int:
    """Return a bound on the peak of a whole training or evaluation on a processor whose trial had this one.

    Passes of ever other lengths leave gaps and kernels behind, which the few of a trial do not show: a quarter of what
    the trial took is added, or what `kernels` may still take where that is more (benchmarks/PLAN.md).
    """
    return peak_bytes + max(kernels, round(_GROWTH * max(0, peak_bytes - held_before)))


def needed(tokens: int, measured: Sequence[Held], kernels: int = 0) -> int:
    """Return a bound on the peak of a training whose largest pass has so many tokens; `measured` began at rest."""
    return grown(expected_bytes(tokens, measured), measured[0].peak_bytes, kernels)


def gib(amount: float) -> str:
    """Return bytes as text."""
    return f"{amount / 2**30:.2f} GiB"


def time_text(seconds: float) -> str:
    """Return a duration as text: seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
