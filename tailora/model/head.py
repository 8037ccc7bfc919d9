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

    size = max(1, min(_CHUNK.get(hidden.device.type, 1024), len(targets)))
    nats = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    unit = torch.empty_like(hidden) if hidden.requires_grad else None
    # Used again for each chunk: memory of this size is fresh from the system every time, and faulted in page by page.
    logits = torch.empty(size, len(head.weight), dtype=hidden.dtype, device=hidden.device)
    logs = torch.empty(size, len(head.weight), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(targets), size):
        part = slice(start, start + size)
        chosen = targets[part, None]
        here, slope = _capped(head, _logits(head, hidden[part], logits[: len(chosen)]))
        p = torch.log_softmax(here, -1, dtype=torch.float32, out=logs[: len(chosen)])
        nats[part] = -p.gather(1, chosen)[:, 0]
        if unit is not None:
            p.exp_()  # from here on probabilities, then their difference from what was to be said
            p.scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=p.dtype))
            if slope is not None:
                p.mul_(slope)
            torch.mm(p.to(hidden.dtype), head.weight, out=unit[part])
    return nats, () if unit is None else (unit,)


def read_tokens(head: Head, hidden: Any, targets: Any) -> tuple[Any, Any]:
    """Return −ln p of each target token (float32, nats) and whether it was the likeliest one, without gradients."""
    import torch

    size = max(1, min(_CHUNK.get(hidden.device.type, 1024), len(targets)))
    nats = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    right = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
    logits = torch.empty(size, len(head.weight), dtype=hidden.dtype, device=hidden.device)
    for start in range(0, len(targets), size):
        part = slice(start, start + size)
        chosen = targets[part]
        here, _ = _capped(head, _logits(head, hidden[part], logits[: len(chosen)]))
        nats[part] = torch.nn.functional.cross_entropy(here.float(), chosen, reduction="none")
        # The first of the largest, as argmax says too, but that is five times slower in bfloat16.
        right[part] = here.max(-1).indices == chosen
    return nats, right


def _logits(head: Head, hidden: Any, out: Any) -> Any:
    import torch

    if head.bias is None:
        return torch.mm(hidden, head.weight.T, out=out)
    return torch.addmm(head.bias, hidden, head.weight.T, out=out)


def _capped(head: Head, logits: Any) -> tuple[Any, Any]:
    """Return the logits and, where they are capped, the slope of the cap."""
    if head.cap is None:
        return logits, None
    bent = (logits.float() / head.cap).tanh_()
    return bent * head.cap, 1 - bent * bent


def _backward(head: Head, kept: tuple[Any, ...], gradient: Any, needed: tuple[bool, ...]) -> tuple[Any, None]:
    (unit,) = kept
    return unit * gradient[:, None].to(unit.dtype), None
