"""Greedy decoding in batches: token ids in, token ids out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple


class Limits(NamedTuple):
    """How far decoding goes: tokens of an answer, tokens of prompt and answer together, rows at a time."""

    max_new_tokens: int
    longest: int
    batch_size: int


class Decoded(NamedTuple):
    """New tokens without the end token, and whether the model ended by itself."""

    tokens: list[int]
    ended: bool


def decode_greedy(
    model: Any,
    prompts: Sequence[list[int]],
    limits: Limits,
    *,
    end_tokens: Sequence[int],
    pad_token: int,
    advance: Callable[[int], None],
) -> list[Decoded]:
    """Continue each prompt by its likeliest tokens; the answers come in the order of the prompts.

    Prompts of similar length run together, padded on the left. A prompt that leaves less room than `max_new_tokens`
    runs alone, so that it cuts no other answer short. `advance` is called with the rows done per batch.
    """
    answers: dict[int, Decoded] = {}
    for rows in _batches(prompts, limits):
        batch = [prompts[row] for row in rows]
        room = min(limits.max_new_tokens, limits.longest - max(map(len, batch)))
        for row, new in zip(rows, _continue(model, batch, room, end_tokens, pad_token), strict=True):
            answers[row] = _until_end(new, end_tokens)
        advance(len(rows))
    return [answers[row] for row in range(len(prompts))]


def _batches(prompts: Sequence[list[int]], limits: Limits) -> Iterator[list[int]]:
    """Yield the numbers of prompts to run together; those without room for the longest answer come alone."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    together = [row for row in order if len(prompts[row]) + limits.max_new_tokens <= limits.longest]
    size = limits.batch_size
    yield from (together[start : start + size] for start in range(0, len(together), size))
    yield from ([row] for row in order[len(together) :])


def _continue(
    model: Any, batch: list[list[int]], max_new_tokens: int, end_tokens: Sequence[int], pad_token: int
) -> list[list[int]]:
    import torch
    from transformers import GenerationConfig

    width = max(map(len, batch))
    tokens = torch.tensor([[pad_token] * (width - len(p)) + p for p in batch], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch], device=model.device)
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=list(end_tokens), pad_token_id=pad_token
    )
    with torch.inference_mode():
        full = model.generate(input_ids=tokens, attention_mask=mask, generation_config=settings)
    return [row[width:] for row in full.tolist()]


def _until_end(tokens: list[int], end_tokens: Sequence[int]) -> Decoded:
    for position, token in enumerate(tokens):
        if token in end_tokens:
            return Decoded(tokens[:position], ended=True)
    return Decoded(tokens, ended=False)
