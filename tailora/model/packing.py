"""Rows laid one after another without padding, each for itself or each going on from the beginning of another."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from tailora.text.prompts import Sample
from tailora.text.stems import LEAST, branches, inputs

# Tokens of rows that go on from one stem and are attended together: fewer and larger products of matrices, for scores
# between them that nobody asked for.
_TOGETHER = 256


class Block(NamedTuple):
    """A part of a packed sequence that is attended at once, and the places that it looks at: None where just itself."""

    own: slice
    seen: Any


class Forest(NamedTuple):
    """Rows that go on from one another's beginnings, so that a packed sequence holds each beginning once.

    They lie so that all that goes on from a token follows it without a gap: the token at place j is seen from the
    places j to `reach[j]` - 1.
    """

    positions: Any
    reach: Any
    blocks: list[Block]
    masks: dict[Any, Any]
    """What each block is masked with, kept from one layer to the next."""


class Packing(NamedTuple):
    """Where rows lie in a packed sequence: row i holds the tokens from `bounds[i]` to `bounds[i + 1]`.

    With a `forest`, these are the bounds of its trees.
    """

    bounds: Any
    longest: int
    forest: Forest | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments by which transformers hands this through a model to its attention."""
        named = {
            "cu_seq_lens_q": self.bounds,
            "cu_seq_lens_k": self.bounds,
            "max_length_q": self.longest,
            "max_length_k": self.longest,
        }
        return named if self.forest is None else named | {"forest": self.forest}


class Packed(NamedTuple):
    """Samples laid one after another without padding."""

    tokens: Any
    positions: Any
    packing: Packing

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of a backbone, but for what it reads: tokens, or hidden states."""
        return {"position_ids": self.positions[None], "use_cache": False, **self.packing.arguments()}


def pack(samples: Sequence[Sample], device: Any) -> Packed:
    """Lay the tokens of `samples` one after another."""
    import torch

    lengths = [len(sample.tokens) for sample in samples]
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    tokens = torch.tensor([token for sample in samples for token in sample.tokens], device=device)
    positions = torch.cat([torch.arange(length) for length in lengths]).to(device)
    return Packed(tokens, positions, Packing(bounds.to(device), max(lengths)))


def pack_shared(samples: Sequence[Sample], least: int = LEAST) -> tuple[Packed, list[Any]]:
    """Lay what must be read of `samples` one after another, beginnings of `least` tokens that rows share once.

    Returns with it the places of each sample's tokens in the packed sequence.
    """
    import torch

    rows = [inputs(sample) for sample in samples]
    order = branches(rows, least)
    places: list[Any] = [None] * len(rows)
    stops = list(itertools.accumulate(len(rows[row]) - shared for row, shared in order))
    before = torch.empty(0, dtype=torch.long)
    for (row, shared), stop in zip(order, stops, strict=True):
        before = places[row] = torch.cat([before[:shared], torch.arange(stop - len(rows[row]) + shared, stop)])
    tokens = torch.tensor([token for row, shared in order for token in rows[row][shared:]])
    positions = torch.cat([torch.arange(shared, len(rows[row])) for row, shared in order])
    reach = torch.empty(len(tokens), dtype=torch.long)
    for (row, _), stop in zip(order, stops, strict=True):  # the last row that holds a token is the one that counts
        reach[places[row]] = stop
    blocks = _blocks([(places[row][:shared], stop) for (row, shared), stop in zip(order, stops, strict=True)])
    roots = [start for start, (_, shared) in zip([0, *stops], order, strict=False) if not shared]
    longest = max(stop - start for start, stop in itertools.pairwise([*roots, len(tokens)]))
    bounds = torch.tensor([*roots, len(tokens)], dtype=torch.int32)
    return Packed(tokens, positions, Packing(bounds, longest, Forest(positions, reach, blocks, {}))), places


def _blocks(parts: Sequence[tuple[Any, int]]) -> list[Block]:
    """Cut a packed sequence for attention: what each row goes on from, and where its own part stops → blocks."""
    import torch

    cuts: list[tuple[Any, int, int]] = []  # what a block goes on from, its start and stop
    for stem, stop in parts:
        start = cuts[-1][2] if cuts else 0
        if len(stem) and stop - cuts[-1][1] <= _TOGETHER:
            cuts[-1] = (*cuts[-1][:2], stop)
        elif stop > start:
            cuts.append((stem, start, stop))
    return [
        Block(slice(start, stop), torch.cat([stem, torch.arange(start, stop)]) if len(stem) else None)
        for stem, start, stop in cuts
    ]
