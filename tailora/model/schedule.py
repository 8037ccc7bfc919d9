"""Learning-rate schedules: numbers in, numbers out."""

import math

# The share of the steps after warm-up in which "wsd" brings the rate down: 20 % loses nothing against a cosine
# (Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", section 3).
_COOLDOWN = 0.2


def rate(schedule: str, step: int, steps: int, warmup: float) -> float:
    """Return the factor on the peak rate at `step` (0 … steps-1): a linear rise, then the shape of `schedule`.

    The rise takes `warmup` × `steps` steps, rounded up, and reaches 1 at its last step; with `warmup` 0 the
    first step is at the peak.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return {"cosine": _cosine, "linear": _linear, "constant": _constant, "wsd": _stable_then_decay}[schedule](done)


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _linear(done: float) -> float:
    return 1 - done


def _constant(done: float) -> float:
    return 1.0


def _stable_then_decay(done: float) -> float:
    """1, and in the last fifth 1 − √(share of it that is done), as in the source above."""
    return 1 - math.sqrt(max(0.0, (done - (1 - _COOLDOWN)) / _COOLDOWN))
