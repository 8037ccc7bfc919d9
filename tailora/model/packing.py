"""Rows laid one after another without padding, each by itself or going on from the beginning of the one before."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tailora.text.chat import Sample
from tailora.text.shared_prefixes import LEAST, alike, inputs


class Branch(NamedTuple):
    """What a row has of its own in a packed sequence, and the places of all its tokens: a slice where they are own."""

    own: slice
    whole: slice | Tensor
    length: int


class Packing(NamedTuple):
    """Where rows lie in a packed sequence: row i holds the tokens from `bounds[i]` to `bounds[i + 1]`.

    With `branches`, each row may go on from the beginning of the one before it, and the bounds are of what is its own.
    """

    bounds: Tensor
    longest: int
    branches: list[Branch] | None = None

    def arguments(self) -> dict[str, object]:
        """Return the keyword arguments by which transformers hands this through a model to its attention."""
        named: dict[str, object] = {
            "cu_seq_lens_q": self.bounds,
            "cu_seq_lens_k": self.bounds,
            "max_length_q": self.longest,
            "max_length_k": self.longest,
        }
        return named if self.branches is None else named | {"branches": self.branches}


class Packed(NamedTuple):
    """Samples laid one after another without padding."""

    tokens: Tensor
    positions: Tensor
    packing: Packing

    def arguments(self) -> dict[str, object]:
        """Return the keyword arguments of a backbone, but for what it reads: tokens, or hidden states."""
        return {"position_ids": self.positions[None], "use_cache": False, **self.packing.arguments()}


def pack(samples: Sequence[Sample], device: torch.device) -> Packed:
    """Lay the tokens of `samples` one after another."""
    lengths = [len(sample.tokens) for sample in samples]
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    tokens = torch.tensor([token for sample in samples for token in sample.tokens], device=device)
    positions = torch.cat([torch.arange(length) for length in lengths]).to(device)
    return Packed(tokens, positions, Packing(bounds.to(device), max(lengths)))


def pack_shared(samples: Sequence[Sample], least: int = LEAST) -> tuple[Packed, list[Tensor]]:
    """Lay what must be read of `samples` one after another, beginnings of `least` tokens that rows share once.

    Returns with it the places of each sample's tokens in the packed sequence.
    """
    rows = [inputs(sample) for sample in samples]
    order = alike(rows, least)
    bounds = list(itertools.accumulate((len(rows[row]) - shared for row, shared in order), initial=0))
    places = [torch.empty(0, dtype=torch.long)] * len(rows)
    branches, before = [], torch.empty(0, dtype=torch.long)
    for (row, shared), (start, stop) in zip(order, itertools.pairwise(bounds), strict=True):
        before = places[row] = torch.cat([before[:shared], torch.arange(start, stop)])
        if start < stop:
            own = slice(start, stop)
            branches.append(Branch(own, before if shared else own, len(before)))
    tokens = torch.tensor([token for row, shared in order for token in rows[row][shared:]])
    positions = torch.cat([torch.arange(shared, len(rows[row])) for row, shared in order])
    packing = Packing(torch.tensor(bounds, dtype=torch.int32), max(map(len, rows)), branches)
    return Packed(tokens, positions, packing), places
