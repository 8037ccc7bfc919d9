"""Rows that begin alike: which go on from the beginning of which. Knows no tensors."""

import itertools
from collections.abc import Sequence

from tailora.text.chat import Sample

# Tokens that rows must begin with alike for that to be computed once: about where it starts to save time.
LEAST = 16


def alike(rows: Sequence[Sequence[int]], least: int = LEAST) -> list[tuple[int, int]]:
    """Order `rows` so that those that begin alike stand together.

    Returns the number of each and how many tokens it has in common with the one before it; fewer than `least` are 0.
    """
    order = sorted(range(len(rows)), key=lambda row: list(rows[row]))
    common = [0, *(_common(rows[left], rows[right]) for left, right in itertools.pairwise(order))]
    return [(row, shared if shared >= least else 0) for row, shared in zip(order, common, strict=False)]


def inputs(sample: Sample) -> list[int]:
    """Return what a model must read to say how likely the learned tokens are: all that stands before the last one."""
    last = max((stop for _, stop in sample.learned), default=0)
    return sample.tokens[: max(1, last - 1)]


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    shorter = min(len(left), len(right))
    return next((place for place in range(shorter) if left[place] != right[place]), shorter)
