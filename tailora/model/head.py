"""The output head and its loss on chosen positions: the logits of a whole batch never exist."""

from typing import Any, NamedTuple

from tailora.model.autograd import differentiable

# Positions whose logits exist at a time: on a processor they should stay in its last cache.
_CHUNK = {"cpu": 128, "cuda": 4096}


class Head(NamedTuple):
    """What turns hidden states into logits: cap·tanh((h·Wᵀ + bias) / cap), without the tanh where `cap` is None."""

    weight: Any
    bias: Any
    cap: float | None


def token_losses(head: Head, hidden: Any, targets: Any) -> Any:
    """Return −ln p of each target token (float32, nats) given its hidden state [targets, width]; the head is frozen.

    The gradient is computed on the way there, chunk by chunk, so each logit is computed once and forgotten.
    """
    return differentiable(_forward, _backward)(head, hidden, targets)


def _forward(head: Head, hidden: Any, targets: Any) -> tuple[Any, tuple[Any, ...]]:
    import torch

    size = _CHUNK.get(hidden.device.type, 1024)
    nats = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    unit = torch.empty_like(hidden) if hidden.requires_grad else None
    for start in range(0, len(targets), size):
        part = slice(start, start + size)
        logits, slope = _logits(head, hidden[part])
        chosen = targets[part, None]
        total = logits.logsumexp(-1, keepdim=True)
        nats[part] = (total - logits.gather(1, chosen))[:, 0]
        if unit is not None:
            logits.sub_(total).exp_()  # from here on: p, then its difference from what was to be said
            logits.scatter_add_(1, chosen, -torch.ones_like(total))
            if slope is not None:
                logits.mul_(slope)
            torch.mm(logits.to(hidden.dtype), head.weight, out=unit[part])
    return nats, () if unit is None else (unit,)


def _logits(head: Head, hidden: Any) -> tuple[Any, Any]:
    """Return float32 logits and, where they are capped, the slope of the cap."""
    logits = hidden @ head.weight.T if head.bias is None else head.bias.addmm(hidden, head.weight.T)
    logits = logits.float()
    if head.cap is None:
        return logits, None
    bent = logits.div_(head.cap).tanh_()
    return bent * head.cap, 1 - bent * bent


def _backward(head: Head, kept: tuple[Any, ...], gradient: Any, needed: tuple[bool, ...]) -> tuple[Any, None]:
    (unit,) = kept
    return unit * gradient[:, None].to(unit.dtype), None
