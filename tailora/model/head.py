"""The output head and its loss on chosen positions: the logits of a whole batch never exist."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tailora.model.autograd import Kept, differentiable

# Positions whose logits exist at a time: on a processor those of most vocabularies then stay in its last cache.
_CHUNK = {"cpu": 128, "cuda": 4096}
_MOST_LOGITS = 2**28  # that exist at a time, a GiB in float32: the chunks of a vocabulary above 65,536 are smaller


class Head(NamedTuple):
    """What turns hidden states into logits: cap·tanh((h·Wᵀ + bias) / cap), without the tanh where `cap` is None."""

    weight: Tensor
    bias: Tensor | None
    cap: float | None


@contextlib.contextmanager
def reading_in_one_piece(base: PreTrainedModel) -> Iterator[None]:
    """Within the block, the output head of `base` is handed hidden states that lie in one piece.

    The last state of each row is a slice with gaps, which torch.matmul does not fold into one product: it takes one for
    each row, and for those of bfloat16 on a processor oneDNN copies the whole weight once a row.
    """
    layer = base.get_output_embeddings()
    if layer is None:
        yield
        return
    hook = layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def token_losses(head: Head, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return −ln p of each target token (float32, nats) given its hidden state [targets, width]; the head is frozen.

    The gradient is computed on the way there, chunk by chunk, so each logit is computed once and forgotten.
    """
    return differentiable(_forward, _backward)(head, hidden, targets)


def _forward(head: Head, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Kept]:
    chunk = _Chunk(head, hidden)
    nats = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    unit = torch.empty_like(hidden) if hidden.requires_grad else None
    for part in chunk.parts(len(targets)):
        chosen = targets[part, None]
        p = chunk.log_softmax(chunk.logits(hidden[part]))
        nats[part] = -p.gather(1, chosen)[:, 0]
        if unit is not None:
            p.exp_()  # from here on probabilities, then their difference from what was to be said
            p.scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=p.dtype))
            torch.mm(chunk.slope(p), head.weight, out=unit[part])
    return nats, () if unit is None else (unit,)


def read_tokens(head: Head, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return −ln p of each target token (float32, nats) and whether it was the likeliest one, without gradients."""
    chunk = _Chunk(head, hidden)
    nats = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    right = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
    for part in chunk.parts(len(targets)):
        chosen, logits = targets[part], chunk.logits(hidden[part])
        # The first of the largest, as argmax says too, but that is five times slower in bfloat16.
        right[part] = logits.max(-1).indices == chosen
        nats[part] = -chunk.log_softmax(logits).gather(1, chosen[:, None])[:, 0]
    return nats, right


class _Chunk:
    """The logits of some positions, in memory that is used again for the next ones.

    Nothing as large as they are is made on the way: such memory is fresh from the system every time, faulted in page
    by page, and what lies between leaves holes that the next does not fit into.
    """

    def __init__(self, head: Head, hidden: Tensor) -> None:
        vocabulary = len(head.weight)
        most = min(_CHUNK.get(hidden.device.type, 1024), _MOST_LOGITS // vocabulary, len(hidden))
        self._head, self._size = head, max(1, most)
        self._logits = torch.empty(self._size, vocabulary, dtype=hidden.dtype, device=hidden.device)
        self._exact = self._logits
        if hidden.dtype != torch.float32:
            self._exact = torch.empty_like(self._logits, dtype=torch.float32)
        self._bent = torch.empty_like(self._exact) if head.cap and hidden.requires_grad else None

    def parts(self, count: int) -> Iterator[slice]:
        """Yield what is done at a time of `count` positions."""
        return (slice(start, start + self._size) for start in range(0, count, self._size))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits [positions, vocabulary], in float32 where they are capped."""
        weight, bias, cap = self._head
        logits = self._logits[: len(hidden)]
        if bias is None:
            torch.mm(hidden, weight.T, out=logits)
        else:
            torch.addmm(bias, hidden, weight.T, out=logits)
        if cap is None:
            return logits
        bent = self._into_exact(logits).div_(cap).tanh_()
        if self._bent is not None:
            self._bent[: len(bent)] = bent
        return bent.mul_(cap)

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Return ln p in float32, in the place of what `logits` has returned."""
        if logits.device.type == "cpu":  # elsewhere the kernel converts on its way
            logits = self._into_exact(logits)
        return torch.log_softmax(logits, -1, dtype=torch.float32, out=self._exact[: len(logits)])

    def slope(self, gradient: Tensor) -> Tensor:
        """Return the gradient of what the head has multiplied, in its type, from that of the logits, which is lost."""
        if self._bent is not None:
            bent = self._bent[: len(gradient)]
            gradient.mul_(torch.mul(bent, bent, out=bent).neg_().add_(1))
        return gradient if self._exact is self._logits else self._logits[: len(gradient)].copy_(gradient)

    def _into_exact(self, logits: Tensor) -> Tensor:
        exact = self._exact[: len(logits)]
        return exact if exact.data_ptr() == logits.data_ptr() else exact.copy_(logits)


def _backward(head: Head, kept: Kept, gradient: Tensor, needed: tuple[bool, ...]) -> tuple[Tensor, None]:
    (unit,) = kept
    return unit * gradient[:, None].to(unit.dtype), None
