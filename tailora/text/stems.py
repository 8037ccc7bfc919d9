"""Rows that begin alike: which go on from the beginning of which. Knows no tensors."""

from collections.abc import Sequence
from typing import NamedTuple

from tailora.text.prompts import Sample

# Tokens that rows must begin with alike for that to be computed once: about where it starts to save time.
LEAST = 16


class Branch(NamedTuple):
    """A row, and how many of its first tokens it has in common with the row before it, from which it goes on."""

    row: int
    shared: int


def branches(rows: Sequence[Sequence[int]], least: int = LEAST) -> list[Branch]:
    """Order `rows` so that those that begin alike stand together; fewer than `least` tokens in common are none."""
    order = sorted(range(len(rows)), key=lambda row: list(rows[row]))
    found: list[Branch] = []
    for row in order:
        shared = _alike(rows[found[-1].row], rows[row]) if found else 0
        found.append(Branch(row, shared if shared >= least else 0))
    return found


def inputs(sample: Sample) -> list[int]:
    """Return what a model must read to say how likely the learned tokens are: all that stands before the last one."""
    last = max((stop for _, stop in sample.learned), default=0)
    return sample.tokens[: max(1, last - 1)]


def _alike(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens both begin with."""
    shorter = min(len(left), len(right))
    return next((place for place in range(shorter) if left[place] != right[place]), shorter)
