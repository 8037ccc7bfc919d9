"""Attention over packed rows: many sequences lie in one, and none looks at another; no padding, no mask tensors."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from tailora.model.packing import Block, Forest, Packing

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
def packed_attention(backbone: Any) -> Iterator[None]:
    """Within the block, `backbone` attends by rows as its `Packing` arguments say; its own attention returns after."""
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _attend)
    config, before = backbone.config, backbone.config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(  # noqa: PLR0913  (the shape of transformers' attention functions)
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cu_seq_lens_q: Any = None,
    max_length_q: int = 0,
    forest: Forest | None = None,
    **others: Any,
) -> tuple[Any, None]:
    """Attend within each row; query, key, value are [1, heads, tokens, width], the output [1, tokens, heads, width].

    Raises:
        NotImplementedError: when the model asks for what this does not compute.
    """
    unknown = [name for name, wanted in others.items() if wanted is not None and name not in _IDLE]
    if unknown or attention_mask is not None or cu_seq_lens_q is None or not getattr(module, "is_causal", True):
        raise NotImplementedError(f"its attention asks for {', '.join(unknown) or 'a mask of its own'}")
    rule = _Rule(scaling or query.shape[-1] ** -0.5, sliding_window, softcap, dropout)
    body = _attend_on_gpu if query.is_cuda else _attend_by_row if forest is None else _attend_in_forest
    return body(rule, query[0], key[0], value[0], Packing(cu_seq_lens_q, max_length_q, forest))[None], None


def _attend_on_gpu(rule: _Rule, query: Any, key: Any, value: Any, packing: Packing) -> Any:
    from torch.nn.attention.varlen import varlen_attn

    if rule.cap is not None or rule.dropout:
        raise NotImplementedError("its attention has a soft cap or dropout")
    if packing.forest is not None:
        raise NotImplementedError("its rows share beginnings")
    if query.element_size() != 2:
        raise NotImplementedError("its weights are not in half precision")
    return varlen_attn(
        *(tensor.transpose(0, 1) for tensor in (query, key, value)),
        packing.bounds, packing.bounds, packing.longest, packing.longest,
        scale=rule.scale,
        window_size=(-1 if rule.window is None else rule.window - 1, 0),
        enable_gqa=len(query) != len(key),
    )  # fmt: skip


def _attend_by_row(rule: _Rule, query: Any, key: Any, value: Any, packing: Packing) -> Any:
    import torch

    bounds = packing.bounds.tolist()
    lengths = [stop - start for start, stop in itertools.pairwise(bounds)]
    mask = _mask(rule, min(packing.longest, _LONG), query)

    def of_row(length: int) -> Any:
        if length <= _LONG:
            return mask[:length, :length]
        return None if _is_only_causal(rule) else _mask(rule, length, query)

    rows = zip(*(tensor.split(lengths, dim=1) for tensor in (query, key, value)), strict=True)
    return torch.cat([_attend_in_row(rule, q, k, v, of_row(q.shape[1])) for q, k, v in rows])


def _attend_in_forest(rule: _Rule, query: Any, key: Any, value: Any, packing: Packing) -> Any:
    import torch

    forest, parts = packing.forest, []
    assert forest is not None
    for block in forest.blocks:
        seen = block.own if block.seen is None else block.seen
        mask = _mask_of_block(rule, forest, block, query)
        parts.append(_attend_in_row(rule, query[:, block.own], key[:, seen], value[:, seen], mask))
    return torch.cat(parts)


def _attend_in_row(rule: _Rule, query: Any, key: Any, value: Any, mask: Any) -> Any:
    """Return [tokens, heads, width]; heads that share keys are multiplied as one matrix.

    `mask` is added to the scores [tokens, keys]; None is for as many tokens as keys, more than `_LONG` of them, where
    each looks at all before it.
    """
    import torch

    (heads, length, width), seen = query.shape, key.shape[1]
    if seen > _LONG and rule.cap is None:
        return _attend_in_long_row(rule, query, key, value, mask)
    query = query.reshape(len(key), -1, width)
    allowed = mask.repeat(heads // len(key), 1)
    if rule.cap is None:
        scores = torch.baddbmm(allowed, query, key.mT, alpha=rule.scale)
    else:
        scores = torch.bmm(query, key.mT).mul(rule.scale / rule.cap).tanh().mul(rule.cap) + allowed
    weights = torch.nn.functional.dropout(scores.softmax(-1), rule.dropout)
    return torch.bmm(weights, value).view(heads, length, width).transpose(0, 1)


def _attend_in_long_row(rule: _Rule, query: Any, key: Any, value: Any, mask: Any) -> Any:
    import torch

    row = torch.nn.functional.scaled_dot_product_attention(
        query[None], key[None], value[None],
        attn_mask=mask, is_causal=mask is None, scale=rule.scale, dropout_p=rule.dropout,
        enable_gqa=len(query) != len(key),
    )  # fmt: skip
    return row[0].transpose(0, 1)


def _is_only_causal(rule: _Rule) -> bool:
    """Say whether a long row needs no mask of its own."""
    return rule.window is None and rule.cap is None


def _mask(rule: _Rule, length: int, like: Any) -> Any:
    """Return what is added to the scores: 0 where a token may look, −∞ where not."""
    import torch

    distance = torch.arange(length, device=like.device)
    distance = distance[:, None] - distance
    hidden = distance < 0 if rule.window is None else (distance < 0) | (distance >= rule.window)
    return torch.zeros(length, length, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)


def _mask_of_block(rule: _Rule, forest: Forest, block: Block, like: Any) -> Any:
    """Return what is added to the scores of a block, or None for a long row that needs no mask of its own."""
    import torch

    if block.seen is None and block.own.stop - block.own.start > _LONG and _is_only_causal(rule):
        return None
    name = (block.own.start, rule.window, like.dtype)
    if name in forest.masks:
        return forest.masks[name]
    own = torch.arange(block.own.start, block.own.stop)
    seen = own if block.seen is None else block.seen
    hidden = (own[:, None] < seen) | (own[:, None] >= forest.reach[seen])
    if rule.window is not None:
        hidden |= forest.positions[own, None] - forest.positions[seen] >= rule.window
    mask = torch.zeros(hidden.shape, dtype=like.dtype).masked_fill_(hidden, -torch.inf)
    if len(seen) <= _LONG:  # so that they hold at most 4 KiB a token in all
        forest.masks[name] = mask
    return mask
