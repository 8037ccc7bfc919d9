"""Differentiable functions made of two plain ones, for where the chain rule alone is slow or keeps too much."""

import functools
from collections.abc import Callable
from typing import Any

import torch

Kept = tuple[torch.Tensor, ...]
# What comes before the tensors, `settings`, is of the two functions alone, so their types are loose here.
Forward = Callable[..., tuple[torch.Tensor, Kept]]
Backward = Callable[..., tuple[torch.Tensor | None, ...]]


def differentiable(forward: Forward, backward: Backward) -> Callable[..., torch.Tensor]:
    """Return the function `(settings, *tensors) → output` whose derivative is `backward`.

    `forward(settings, *tensors)` returns the output and the tensors that the way back needs. `backward(settings, kept,
    gradient, needed)` returns a gradient for each of the tensors, or None where `needed` is false.
    """
    return functools.partial(_Node.apply, forward, backward)


class _Node(torch.autograd.Function):
    # `ctx` takes whatever attributes it is given.
    @staticmethod
    def forward(
        ctx: Any, forward: Forward, backward: Backward, settings: object, *tensors: torch.Tensor | None
    ) -> torch.Tensor:
        output, kept = forward(settings, *tensors)
        ctx.settings, ctx.way_back = settings, backward
        ctx.save_for_backward(*kept)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients = ctx.way_back(ctx.settings, ctx.saved_tensors, gradient, ctx.needs_input_grad[3:])
        return None, None, None, *gradients
