"""Greedy decoding in batches: token ids in, token ids out."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Decoded(NamedTuple):
    """New tokens without the end token, and whether the model ended by itself."""

    tokens: list[int]
    ended: bool


def decode_greedy(
    model: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    end_tokens: Sequence[int],
    pad_token: int,
    batch_size: int,
    advance: Callable[[int], None],
) -> list[Decoded]:
    """Continue each prompt by its likeliest tokens; the answers come in the order of the prompts.

    Prompts of similar length run together, padded on the left. `advance` is called with the rows done per batch.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, Decoded] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = [prompts[row] for row in rows]
        for row, new in zip(rows, _continue(model, batch, max_new_tokens, end_tokens, pad_token), strict=True):
            answers[row] = _until_end(new, end_tokens)
        advance(len(rows))
    return [answers[row] for row in range(len(prompts))]


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
