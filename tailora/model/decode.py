"""Decoding in batches: token ids in, token ids out, greedily or by chance.

Rows of different lengths stand in one batch, padded on the left, over one cache of keys and values. A row that has
ended leaves the batch, so nothing is computed for it. Greedy answers are those of transformers' `generate` on each
prompt alone; so are the rows of a batch independent of each other, but for the rounding of larger matrix products.
"""

import inspect
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tailora.model.fence import fenced
from tailora.model.head import reading_in_one_piece
from tailora.model.lengths import borders
from tailora.model.load import Transformer, without_adapter

IsOver = Callable[[list[int]], bool]


class Limits(NamedTuple):
    """How far decoding goes: tokens of an answer, tokens of prompt and answer together, rows at a time; and its chance.

    At temperature 0 the likeliest token is taken. Above, one is drawn from softmax(logits / temperature), for each of
    `samples` answers by numbers of its own that depend on `seed`, the prompt and the number of the answer alone.
    """

    max_new_tokens: int
    longest: int
    batch_size: int
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0


class Decoded(NamedTuple):
    """New tokens without the end token, and whether the model ended by itself."""

    tokens: list[int]
    ended: bool


class Draw(NamedTuple):
    """A prompt in tokens, and which of its answers is asked for, from 0."""

    prompt: list[int]
    number: int = 0


def batches_of(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Cut row numbers into batches of similar length, the longest first: what is too large fails at once."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return [order[start : start + size] for start in range(0, len(order), size)]


def decode(
    model: Transformer,
    draws: Sequence[Draw],
    limits: Limits,
    *,
    end_tokens: Sequence[int],
    pad_token: int,
    is_over: IsOver | None = None,
) -> list[Decoded]:
    """Continue the prompts of one batch; each answer ends by itself, at `max_new_tokens`, or at `longest` in all.

    It also ends where `is_over` says so of its tokens, the newest among them; then it has not ended by itself.
    Models whose memory is no cache of keys and values (state spaces, linear attention) answer through transformers'
    `generate`, one prompt at a time.
    """
    fitting = [draw for draw in draws if _room(draw, limits) > 0]
    base = without_adapter(model)
    fence = fenced(f"a {type(base).__name__} cannot answer", "Choose another base model")
    with torch.inference_mode(), reading_in_one_piece(base), fence:
        if _cache(base) is None:
            found = iter([_alone(model, draw, limits, end_tokens, pad_token) for draw in fitting])
        else:
            lines = [_Line(draw, limits) for draw in fitting]
            _say(model, lines, limits.temperature, set(end_tokens), pad_token, is_over)
            found = iter([Decoded(line.answer, line.ended) for line in lines])
    return [next(found) if _room(draw, limits) > 0 else Decoded([], ended=False) for draw in draws]


def bytes_of_a_token(model: Transformer) -> int:
    """Return what a token of a row takes of the cache, which holds half as much again; 0 where there is no cache."""
    cache = _cache(without_adapter(model))
    if cache is None:
        return 0
    with torch.inference_mode():
        model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), past_key_values=cache, use_cache=True)
    return sum(kept.nbytes for layer in cache.layers for kept in (layer.keys, layer.values))


class _Line:
    """A row that is being answered: its prompt, what has been said, and whether there is more to say."""

    def __init__(self, draw: Draw, limits: Limits) -> None:
        self._prompt, self._room = draw.prompt, _room(draw, limits)
        self.chance = _chance(draw, limits)
        self.answer: list[int] = []
        self.ended = self.over = False

    @property
    def tokens(self) -> list[int]:
        return self._prompt + self.answer

    def __len__(self) -> int:
        return len(self._prompt) + len(self.answer)

    def say(self, token: int, end_tokens: set[int], is_over: IsOver | None) -> None:
        self.ended = token in end_tokens
        if not self.ended:
            self.answer.append(token)
        self.over = self.ended or len(self.answer) >= self._room or bool(is_over and is_over(self.answer))


def _say(
    model: Transformer,
    lines: Sequence[_Line],
    temperature: float,
    end_tokens: set[int],
    pad_token: int,
    is_over: IsOver | None,
) -> None:
    """Let `model` say each line to its end; lines that have crossed a border of its lengths are read anew.

    A model that takes no positions counts padding as well, so there lines of one length alone are said together.
    """
    pads = "position_ids" in inspect.signature(without_adapter(model).forward).parameters
    for border in [*borders(model), math.inf]:
        together: dict[int, list[_Line]] = {}
        for line in lines:
            if not line.over and len(line) <= border:
                together.setdefault(0 if pads else len(line), []).append(line)
        for going in together.values():
            _Batch(model, going, temperature, pad_token).run(border, end_tokens, is_over)


class _Batch:
    """Lines on one side of a border, and the cache of those that have not ended."""

    def __init__(self, model: Transformer, lines: Sequence[_Line], temperature: float, pad_token: int) -> None:
        width = max(map(len, lines))
        padding = [width - len(line) for line in lines]
        base = without_adapter(model)
        cache = _cache(base)
        assert cache is not None  # `decode` asks models without one alone
        self._model, self._lines, self._cache = model, list(lines), cache
        self._temperature = temperature
        self._accepted = inspect.signature(base.forward).parameters.keys()
        tokens = [[pad_token] * gap + line.tokens for gap, line in zip(padding, lines, strict=True)]
        self._tokens = torch.tensor(tokens, device=model.device)
        self._mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in padding], device=model.device)
        self._positions = (self._mask.cumsum(-1) - 1).clamp(min=0)

    def run(self, border: float, end_tokens: set[int], is_over: IsOver | None) -> None:
        while self._lines:
            chosen = self._choose(self._logits())
            for line, token in zip(self._lines, chosen, strict=True):
                line.say(token, end_tokens, is_over)
            stay = [place for place, line in enumerate(self._lines) if not line.over and len(line) <= border]
            self._lines = [self._lines[place] for place in stay]
            if stay:
                self._advance(chosen, stay)

    def _logits(self) -> Tensor:
        """Return the logits of the next token of each row [rows, vocabulary]."""
        wished = {"position_ids": self._positions, "logits_to_keep": 1}
        known = {name: value for name, value in wished.items() if name in self._accepted}
        logits: Tensor = self._model(
            input_ids=self._tokens, attention_mask=self._mask, past_key_values=self._cache, use_cache=True, **known
        ).logits
        return logits[:, -1]

    def _choose(self, logits: Tensor) -> list[int]:
        if not self._temperature:
            return logits.argmax(-1).tolist()
        heights = torch.softmax(logits.double() / self._temperature, -1).cumsum(-1)
        numbers = torch.tensor([[line.chance.random()] for line in self._lines], device=logits.device)
        chosen = torch.searchsorted(heights, numbers.double() * heights[:, -1:], right=True)
        return chosen[:, 0].clamp(max=logits.shape[-1] - 1).tolist()

    def _advance(self, chosen: list[int], stay: list[int]) -> None:
        """Make `chosen` the tokens that are read next, in the rows that `stay`."""
        if len(stay) < len(chosen):
            places = torch.tensor(stay, device=self._tokens.device, dtype=torch.long)
            self._mask, self._positions = self._mask[places], self._positions[places]
            self._cache.batch_select_indices(places)
        self._tokens = torch.tensor([[chosen[place]] for place in stay], device=self._mask.device)
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        self._positions = self._positions[:, -1:] + 1


def _room(draw: Draw, limits: Limits) -> int:
    return min(limits.max_new_tokens, limits.longest - len(draw.prompt))


def _chance(draw: Draw, limits: Limits) -> random.Random:
    return random.Random(f"{limits.seed}/{draw.number}/{draw.prompt}")


def _cache(base: PreTrainedModel) -> DynamicCache | None:
    """Return an empty cache that rows of different lengths may share, or None where the model has no such memory."""
    if "past_key_values" not in inspect.signature(base.forward).parameters or getattr(
        base.config, "is_encoder_decoder", False
    ):
        return None
    cache = DynamicCache(config=base.config)
    if not {type(layer) for layer in cache.layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
        return None
    cache.layers = [_Roomy() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _Roomy(DynamicLayer):  # type: ignore[misc]
    """Keys and values with room for more: transformers' own layer copies all of them for every new token."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._rooms = [new.new_empty(*new.shape[:-2], 0, new.shape[-1]) for new in (key_states, value_states)]
        before = self.get_seq_length()
        length = before + key_states.shape[-2]
        if length > self._rooms[0].shape[-2]:
            self._rooms = [self._larger(room, before, length + length // 2) for room in self._rooms]
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., before:length, :] = new
        self.keys, self.values = (room[..., :length, :] for room in self._rooms)
        return self.keys, self.values

    @staticmethod
    def _larger(room: Tensor, used: int, length: int) -> Tensor:
        larger = room.new_empty(*room.shape[:-2], length, room.shape[-1])
        larger[..., :used, :] = room[..., :used, :]
        return larger

    def batch_select_indices(self, indices: Tensor) -> None:
        length = self.get_seq_length()
        self._rooms = [torch.index_select(room, 0, indices) for room in self._rooms]
        self.keys, self.values = (room[..., :length, :] for room in self._rooms)


def _alone(model: Transformer, draw: Draw, limits: Limits, end_tokens: Sequence[int], pad_token: int) -> Decoded:
    chance: dict[str, Any] = {"do_sample": False}
    if limits.temperature:
        torch.manual_seed(_chance(draw, limits).getrandbits(63))
        chance = {"do_sample": True, "temperature": limits.temperature, "top_k": 0, "top_p": 1.0}
    settings = GenerationConfig(
        max_new_tokens=_room(draw, limits), eos_token_id=list(end_tokens), pad_token_id=pad_token, **chance
    )
    prompt = torch.tensor([draw.prompt], device=model.device)
    full = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=settings)
    new = full[0, len(draw.prompt) :].tolist()
    ended = bool(new) and new[-1] in end_tokens
    return Decoded(new[:-1] if ended else new, ended)
