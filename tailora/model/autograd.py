"""Differentiable functions made of two plain ones, for where the chain rule alone is slow or keeps too much."""

import functools
from collections.abc import Callable
from typing import Any


@functools.cache
def differentiable(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function `(settings, *tensors) → output` whose derivative is `backward`.

    `forward(settings, *tensors)` returns the output and the tensors that the way back needs. `backward(settings, kept,
    gradient, needed)` returns a gradient for each of the tensors, or None where `needed` is false.
    """
    import torch

    class Node(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, settings: Any, *tensors: Any) -> Any:
            output, kept = forward(settings, *tensors)
            ctx.settings = settings
            ctx.save_for_backward(*kept)
            return output

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
        def backward(ctx: Any, gradient: Any) -> Any:
            return None, *backward(ctx.settings, ctx.saved_tensors, gradient, ctx.needs_input_grad[1:])

    return Node.apply  # type: ignore[no-any-return]
