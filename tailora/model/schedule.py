"""Learning-rate schedules: numbers in, numbers out."""

import math


def cosine(step: int, steps: int, warm_up: float) -> float:
    """Return the factor on the peak rate at `step` (0 … steps-1): a linear rise, then half a cosine towards zero.

    The rise takes `warm_up` × `steps` steps, rounded up, and reaches 1 at its last step; with `warm_up` 0 the
    first step is at the peak.
    """
    rising = math.ceil(warm_up * steps)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return 0.5 * (1 + math.cos(math.pi * done))
