"""Rows → samples that fit a length, with a count of every token that is read, learned, cut off or left out.

Answers are never cut. Where a row is too long its context is shortened first; a row that is too long without one is
left out and counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tailora.errors import DataError, ModelError, RunError
from tailora.files import Row
from tailora.text.chat import Prompts, Sample

_STEP, _WHOLE = 64, 0.99
_PROVEN = 64  # rows on which the laws of prompts are proven at the start


@dataclass(frozen=True)
class Budget:
    """What becomes of the rows and tokens of one split at a longest sample of `max_length` tokens."""

    max_length: int
    rows: int
    too_long: int
    """Rows that were left out."""
    shortened: int
    """Rows whose context was shortened."""
    cut: int
    """Tokens of context that were cut off."""
    tokens: int
    """Tokens of all samples, and `targets` of them are learned."""
    targets: int
    unknown: int
    """Tokens that the tokenizer has no piece for."""
    altered: list[str]
    """Places of rows whose answer is another text once it is encoded and decoded again."""
    rewritten: list[str]
    """Places of rows of which the chat template leaves out or changes what a turn says, be it a space at its end."""
    longest: int
    """Tokens of the longest row as it was given."""
    suggested: int | None
    """Length at which 99 % of the rows fit whole; None when they do."""


@dataclass(frozen=True)
class Fitting:
    """Rows that fit, each with its sample; their context may be shorter than it was."""

    rows: list[Row]
    samples: list[Sample]
    budget: Budget


def fitted(
    found: Sequence[tuple[Row, Sample | None, int]],
    max_length: int,
    tokenizer: Any,
    altered: Sequence[str] = (),
    rewritten: Sequence[str] = (),
) -> Fitting:
    """Return the rows that were `found` to fit into `max_length` tokens, and count what became of all.

    Each comes with its sample, None where it is left out, and with the tokens that it was given with.
    """
    kept = [(row, sample, given) for row, sample, given in found if sample is not None]
    samples, lengths = [sample for _, sample, _ in kept], [given for *_, given in found]
    cut = [given - len(sample.tokens) for _, sample, given in kept]
    unknown = _unknown_token(tokenizer)
    budget = Budget(
        max_length=max_length,
        rows=len(kept),
        too_long=len(found) - len(kept),
        shortened=sum(map(bool, cut)),
        cut=sum(cut),
        tokens=sum(len(sample.tokens) for sample in samples),
        targets=sum(sample.targets for sample in samples),
        unknown=0 if unknown is None else sum(sample.tokens.count(unknown) for sample in samples),
        altered=list(altered),
        rewritten=list(rewritten),
        longest=max(lengths),
        suggested=_suggested(lengths, max_length),
    )
    return Fitting([row for row, *_ in kept], samples, budget)


def fit_rows(rows: Sequence[Row], prompts: Prompts, max_length: int, split: str) -> Fitting:
    """Encode rows and make them fit into `max_length` tokens.

    Raises:
        RunError: when none fits; says how long the shortest prompt is.
    """
    found: list[tuple[Row, Sample | None, int]] = []
    altered, rewritten = [], []
    for row in rows:
        whole = _encoded(row, prompts)
        if prompts.spell(whole.tokens[whole.answer_start : -1]) != row["answer"]:
            altered.append(row["where"])
        if not prompts.shows(row["prompt"]):
            rewritten.append(row["where"])
        if len(found) < _PROVEN:
            _prove(row, whole, prompts)
        fits = (row, whole) if len(whole.tokens) <= max_length else _shortened(row, prompts, max_length)
        found.append((*fits, len(whole.tokens)))
    if all(sample is None for _, sample, _ in found):
        given = min(length for *_, length in found)
        shortest = min(len(prompts.encode_prompt(row["prompt"])) for row in rows)
        raise RunError(
            f"0 of {len(rows)} {split} rows fit into max_length = {max_length} tokens; the shortest has {given}, "
            f"its shortest prompt {shortest}. Raise model.max_length, or choose a base model with a longer context."
        )
    return fitted(found, max_length, prompts.tokenizer, altered, rewritten)


def _unknown_token(tokenizer: Any) -> int | None:
    """Return the token of what a tokenizer does not know; None where there is none.

    GPT-2 and its like know every byte, and name the token that begins and ends texts in its place.
    """
    unknown: int | None = tokenizer.unk_token_id
    return None if unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id) else unknown


def _encoded(row: Row, prompts: Prompts) -> Sample:
    try:
        return prompts.encode(row["prompt"], row["answer"])
    except DataError as error:
        raise DataError(f"{row['where']}: {error}") from None


def _prove(row: Row, sample: Sample, prompts: Prompts) -> None:
    """Raise ModelError unless the prompt is encoded as it will be when it is asked, and the end token is learned."""
    start, stop = sample.learned[-1]
    as_asked = sample.tokens[:start] == prompts.encode_prompt(row["prompt"])
    if not as_asked or stop != len(sample.tokens) or sample.tokens[-1] != prompts.end_token:
        what = "the end token is not learned" if as_asked else "the answer changes the tokens of its prompt"
        raise ModelError(
            f"{row['where']}: {what} with this tokenizer, so training would teach something else; stopped."
        )


def _shortened(row: Row, prompts: Prompts, max_length: int) -> tuple[Row, Sample | None]:
    """Keep as much of the beginning of the context as fits; no sample when even none of it does."""
    context = row.get("context", 0)
    *before, last = row["prompt"]
    best: tuple[Row, Sample | None] = (row, None)
    low, high = 0, context - 1
    while context and low <= high:
        kept = (low + high) // 2
        turn = last | {"content": last["content"][: len(last["content"]) - context + kept]}
        shorter = row | {"prompt": [*before, turn], "context": kept}
        sample = prompts.encode(shorter["prompt"], row["answer"])
        if len(sample.tokens) <= max_length:
            best, low = (shorter, sample), kept + 1
        else:
            high = kept - 1
    return best


def _suggested(lengths: list[int], max_length: int) -> int | None:
    """Return the length, in steps of 64 tokens, at which 99 % of the rows fit whole; None when they do."""
    needed = sorted(lengths)[math.ceil(_WHOLE * len(lengths)) - 1]
    return None if needed <= max_length else math.ceil(needed / _STEP) * _STEP
