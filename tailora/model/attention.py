"""Attention over packed rows: many sequences lie in one, and none looks at another; no padding, no mask tensors."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel

from tailora.model.packing import Branch, Packing

_NAME = "tailora_packed"
_LONG = 1024  # tokens; rows longer than this go through a kernel that does not keep their square of probabilities
# Keyword arguments that reach an attention function and change nothing that it computes.
_IDLE = {
    "cache_position", "cu_seq_lens_k", "logits_to_keep", "max_length_k", "num_items_in_batch", "output_attentions",
    "output_hidden_states", "output_router_logits", "position_ids", "return_dict", "use_cache",
}  # fmt: skip


class _Rule(NamedTuple):
    """How scores become weights, as transformers names it."""

    scale: float
    window: int | None
    cap: float | None
    dropout: float


@contextlib.contextmanager
def packed_attention(backbone: PreTrainedModel) -> Iterator[None]:
    """Within the block, `backbone` attends by rows as its `Packing` arguments say; its own attention returns after."""
    AttentionInterface.register(_NAME, _attend)
    config, before = backbone.config, backbone.config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(  # noqa: PLR0913  (the shape of transformers' attention functions)
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int = 0,
    branches: list[Branch] | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Attend within each row; query, key, value are [1, heads, tokens, width], the output [1, tokens, heads, width].

    Raises:
        NotImplementedError: when the model asks for what this does not compute.
    """
    unknown = [name for name, wanted in others.items() if wanted is not None and name not in _IDLE]
    if unknown or attention_mask is not None or cu_seq_lens_q is None or not getattr(module, "is_causal", True):
        raise NotImplementedError(f"its attention asks for {', '.join(unknown) or 'a mask of its own'}")
    rule = _Rule(scaling or query.shape[-1] ** -0.5, sliding_window, softcap, dropout)
    body = _attend_on_gpu if query.is_cuda else _attend_by_row if branches is None else _attend_by_branch
    return body(rule, query[0], key[0], value[0], Packing(cu_seq_lens_q, max_length_q, branches))[None], None


def _attend_on_gpu(rule: _Rule, query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    if rule.cap is not None or rule.dropout:
        raise NotImplementedError("its attention has a soft cap or dropout")
    if packing.branches is not None:
        raise NotImplementedError("its rows share beginnings")
    if query.element_size() != 2:
        raise NotImplementedError("its weights are not in half precision")
    attended = varlen_attn(
        query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1),
        packing.bounds, packing.bounds, packing.longest, packing.longest,
        scale=rule.scale,
        window_size=(-1 if rule.window is None else rule.window - 1, 0),
        enable_gqa=len(query) != len(key),
    )  # fmt: skip
    assert isinstance(attended, Tensor)  # no pair, since nothing else is asked for
    return attended


def _attend_by_row(rule: _Rule, query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    bounds = packing.bounds.tolist()
    lengths = [stop - start for start, stop in itertools.pairwise(bounds)]
    mask = _mask(rule, min(packing.longest, _LONG), query)
    rows = zip(*(tensor.split(lengths, dim=1) for tensor in (query, key, value)), strict=True)
    return torch.cat([_attend_in_row(rule, q, k, v, mask) for q, k, v in rows])


def _attend_by_branch(rule: _Rule, query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    mask, parts = _mask(rule, min(packing.longest, _LONG), query), []
    for own, whole, length in packing.branches or ():
        # A long row asks again for what it goes on from: causal kernels want as many queries as keys.
        asking, new = query[:, whole if length > _LONG else own], own.stop - own.start
        parts.append(_attend_in_row(rule, asking, key[:, whole], value[:, whole], mask)[-new:])
    return torch.cat(parts)


def _attend_in_row(rule: _Rule, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Return [tokens, heads, width] for the last tokens of a row; heads that share keys are multiplied as one matrix.

    `mask` is that of the longest row up to `_LONG` tokens; a longer row is asked for from its first token.
    """
    (heads, asked, width), length = query.shape, key.shape[1]
    if length > _LONG and rule.cap is None:
        return _attend_in_long_row(rule, query, key, value)
    if length > _LONG:
        mask = _mask(rule, length, query)
    query = query.reshape(len(key), -1, width)
    allowed = mask[length - asked : length, :length].repeat(heads // len(key), 1)
    if rule.cap is None:
        scores = torch.baddbmm(allowed, query, key.mT, alpha=rule.scale)
    else:
        scores = torch.bmm(query, key.mT).mul(rule.scale / rule.cap).tanh().mul(rule.cap) + allowed
    weights = torch.nn.functional.dropout(scores.softmax(-1), rule.dropout)
    return torch.bmm(weights, value).view(heads, asked, width).transpose(0, 1)


def _attend_in_long_row(rule: _Rule, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    mask = None if rule.window is None else _mask(rule, query.shape[1], query)
    row = torch.nn.functional.scaled_dot_product_attention(
        query[None], key[None], value[None],
        attn_mask=mask, is_causal=mask is None, scale=rule.scale, dropout_p=rule.dropout,
        enable_gqa=len(query) != len(key),
    )  # fmt: skip
    return row[0].transpose(0, 1)


def _mask(rule: _Rule, length: int, like: Tensor) -> Tensor:
    """Return what is added to the scores: 0 where a token may look, −∞ where not."""
    distance = torch.arange(length, device=like.device)
    distance = distance[:, None] - distance
    hidden = distance < 0 if rule.window is None else (distance < 0) | (distance >= rule.window)
    return torch.zeros(length, length, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)
