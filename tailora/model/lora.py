"""Adapters: put LoRA on a frozen model, compute with it, and save it as a standard PEFT directory."""

import functools
from pathlib import Path
from typing import Any

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.autograd import differentiable
from tailora.model.load import quiet_transformers


def add_lora(model: Any, settings: recipe.Lora, seed: int) -> Any:
    """Return `model` with fresh float32 adapters on `settings.targets`, everything else frozen.

    The first weights depend on `seed` only. B starts at zero, so the model still answers as the base does.

    Raises:
        ModelError: when no module has one of the target names.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.targets,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        with quiet_transformers():
            return get_peft_model(model, config)
    except ValueError as error:
        names = sorted(
            {n.rpartition(".")[2] for n, m in model.named_modules() if getattr(m, "weight", None) is not None}
        )
        raise ModelError(f"lora.targets = {settings.targets!r}: {error} Modules here: {', '.join(names)}.") from None


def trainable(model: Any) -> dict[str, Any]:
    """Return the weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter as `adapter_config.json` and `adapter_model.safetensors`, readable by all."""
    with quiet_transformers():
        model.save_pretrained(folder, save_embedding_layers=False)
    for file in folder.iterdir():
        file.chmod(0o644)


def fuse_lora(model: Any) -> tuple[int, int]:
    """Let the LoRA layers of `model` compute through `lora_linear`; returns how many can in training, and of how many.

    Parameters, saving, loading and merging stay PEFT's. A layer that is more than plain LoRA (dropout, several active
    adapters, DoRA, a quantized base) goes on computing as PEFT does.
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.forward = functools.partial(_forward, layer)
    return sum(_plain_adapter(layer, training=True) is not None for layer in layers), len(layers)


def unfuse_lora(model: Any) -> None:
    """Take `fuse_lora` back."""
    for module in model.modules():
        if isinstance(module.__dict__.get("forward"), functools.partial):
            del module.forward


def _forward(layer: Any, x: Any, *others: Any, **named: Any) -> Any:
    adapter = _plain_adapter(layer, layer.training)
    if adapter is None or others or named:
        return type(layer).forward(layer, x, *others, **named)
    base = layer.base_layer
    weight = base.weight.T if layer.fan_in_fan_out else base.weight
    a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    return lora_linear(x, weight, base.bias, a, b, layer.scaling[adapter])


def _plain_adapter(layer: Any, training: bool) -> str | None:
    """Return the name of the adapter of a layer that now computes x·Wᵀ + s·x·Aᵀ·Bᵀ and nothing else, or None."""
    from peft.tuners.lora import Linear
    from torch.nn import Identity

    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if type(layer) is not Linear or layer.disable_adapters or layer.merged or len(active) != 1:
        return None
    (name,) = active
    drops = training and not isinstance(layer.lora_dropout[name], Identity)
    plain = name not in layer.lora_variant and not layer.lora_bias[name] and layer.base_layer.weight.is_floating_point()
    return name if plain and not drops else None


def lora_linear(x: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float) -> Any:
    """Return x·Wᵀ + bias + scale·(x·Aᵀ)·Bᵀ, computed in the type of `x`; W and bias get no gradient.

    Shapes: x [..., in], weight [out, in], bias [out] or None, a [rank, in], b [out, rank]. Only x and x·Aᵀ are kept for
    the way back, and no full-width product is made twice: PEFT's own layer casts x to the adapter's type and adds two
    temporaries of the size of the output.
    """
    return differentiable(_lora_forward, _lora_backward)(scale, x, weight, bias, a, b)


def _lora_forward(scale: float, x: Any, weight: Any, bias: Any, a: Any, b: Any) -> tuple[Any, tuple[Any, ...]]:
    flat = x.reshape(-1, x.shape[-1])
    inner = flat @ a.to(x.dtype).T
    y = flat @ weight.T if bias is None else bias.addmm(flat, weight.T)
    y.addmm_(inner, b.to(x.dtype).T, alpha=scale)
    return y.view(*x.shape[:-1], -1), (flat, inner, weight, a, b)


def _lora_backward(scale: float, kept: tuple[Any, ...], gradient: Any, needed: tuple[bool, ...]) -> tuple[Any, ...]:
    flat, inner, weight, a, b = kept
    g = gradient.reshape(-1, gradient.shape[-1])
    g_inner = (g @ b.to(g.dtype)).mul_(scale)
    x_gradient = None
    if needed[0]:
        x_gradient = (g @ weight).addmm_(g_inner, a.to(g.dtype)).view(*gradient.shape[:-1], -1)
    a_gradient = (g_inner.T @ flat).to(a.dtype)
    b_gradient = (g.T @ inner).mul_(scale).to(b.dtype)
    return x_gradient, None, None, a_gradient, b_gradient
