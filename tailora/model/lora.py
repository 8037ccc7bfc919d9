"""Adapters: put LoRA on a frozen model, compute with it, and save it as a standard PEFT directory.

Whatever the method, what is saved is plain LoRA (or rsLoRA, or DoRA) for the untouched base: `saved_adapter` says how.
"""

import copy
import functools
import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, PeftType, get_peft_model, get_peft_model_state_dict
from peft.tuners.adalora import AdaLoraLayer, SVDLinear
from peft.tuners.lora import Linear, LoraLayer
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Identity, Module, Parameter
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.autograd import Kept, differentiable
from tailora.model.fence import fenced, quiet_transformers
from tailora.model.load import Transformer
from tailora.model.targets import target_settings, targeted

# AdaLoRA begins with half as many ranks again as it ends with (Zhang et al. 2023, section 4.1).
_SPARE_RANKS = 1.5
_TINY = 1e-5  # PEFT adds it to the rank that it divides by


def add_lora(model: PreTrainedModel, settings: recipe.Lora, seed: int) -> Transformer:
    """Return `model` with fresh float32 adapters by `settings`, everything else frozen.

    The first weights depend on `seed` and the base only. The model still answers as the base does: B starts at zero, or
    what the adapter begins with has been taken out of the base weights. With the method "full" nothing is added, and
    all weights are trained. The head of a classifier (`load_classifier`) is trained whole and saved with the adapter.

    Raises:
        ModelError: when no module has one of the target names, or a rank does not fit.
    """
    if settings.method == "full":
        return model.requires_grad_(True)
    config = _config(model, settings)
    if settings.init != "zero":
        _make_room(targeted(model, config.target_modules), model, settings)
    torch.manual_seed(seed)
    remedy = 'Name other layers in lora.targets, or use "all-linear"'
    with fenced(f"lora.targets = {settings.targets!r}", remedy), quiet_transformers():
        model = get_peft_model(model, config)
    for layer in _adalora_layers(model).values():
        layer.ranknum.requires_grad_(False)  # a number to divide by, which PEFT would train on a 4-bit base
    model.tailora_lora = settings
    if settings.init != "zero":
        model.tailora_first = {name: tensor.clone() for name, tensor in _tensors(model).items() if "lora_" in name}
        _require_ranks(model, settings)
    return model


def _config(model: PreTrainedModel, settings: recipe.Lora) -> LoraConfig:
    head = getattr(model, "tailora_head", None)
    shared = {
        "lora_dropout": settings.dropout,
        "task_type": "SEQ_CLS" if head else "CAUSAL_LM",
        "modules_to_save": head,
        **target_settings(model, settings),
    }
    if settings.method == "adalora":
        first = math.ceil(_SPARE_RANKS * settings.rank)
        # PEFT scales by alpha / first rank. Its steps are set when they are known, by `Ranks`.
        alpha = settings.alpha * first / settings.rank
        return AdaLoraConfig(init_r=first, target_r=settings.rank, lora_alpha=alpha, total_step=1, **shared)
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.method == "rslora",
        use_dora=settings.method == "dora",
        init_lora_weights=True if settings.init == "zero" else settings.init,
        **shared,
    )


def _make_room(layers: dict[str, Module], model: Module, settings: recipe.Lora) -> None:
    """Let what an adapter begins with be taken out of each of `layers` alone: a weight they share becomes their own.

    Raises:
        ModelError: when one of the layers is of a kind that PEFT does not take apart, or takes apart wrongly.
    """
    owners = Counter(weight.data_ptr() for _, weight in model.named_parameters(remove_duplicate=False))
    for name, layer in layers.items():
        if not isinstance(layer, torch.nn.Linear if settings.init == "olora" else torch.nn.Linear | Conv1D):
            raise ModelError(
                f'lora.init = "{settings.init}" cannot begin from {name}, a layer of the kind {type(layer).__name__}. '
                'Use lora.init = "zero", which begins anywhere, or leave that layer out of lora.targets.'
            )
        if owners[layer.weight.data_ptr()] > 1:
            layer.weight = torch.nn.Parameter(layer.weight.detach().clone())


def _require_ranks(model: PeftModel, settings: recipe.Lora) -> None:
    """Raise ModelError when a base weight has fewer singular values than the adapter wants to begin with."""
    least = min(min(tensor.shape) for tensor in model.tailora_first.values())
    if least < settings.rank:
        raise ModelError(
            f'lora.init = "{settings.init}": lora.rank = {settings.rank} is more than the {least} that the smallest '
            "adapted weight has. Lower the rank, or leave that layer out of lora.targets."
        )


def trainable(model: Module) -> dict[str, Parameter]:
    """Return the weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def count_weights(model: Module) -> dict[str, int]:
    """Return how many weights are "trainable" and how many there are in "all"; two that share a byte count as two."""
    return {
        "trainable": sum(weight.numel() for weight in trainable(model).values()),
        "all": sum(weight.numel() * (2 if weight.dtype == torch.uint8 else 1) for weight in model.parameters()),
    }


def rate_groups(model: Module) -> list[tuple[float, dict[str, Parameter]]]:
    """Return the trained weights in groups, each with the factor on its learning rate.

    One group at 1; with `lora.lora_plus_ratio` a second with every B (Hayou et al. 2024, "LoRA+", section 4).
    """
    weights = trainable(model)
    plus = getattr(getattr(model, "tailora_lora", None), "lora_plus_ratio", None)
    if plus is None:
        return [(1.0, weights)]
    faster = {id(weight) for layer in _layers(model) for weight in layer.lora_B.parameters()}
    slow = {name: weight for name, weight in weights.items() if id(weight) not in faster}
    fast = {name: weight for name, weight in weights.items() if id(weight) in faster}
    return [(1.0, slow), (plus, fast)]


def save_adapter(model: Transformer, folder: Path) -> None:
    """Write the adapter as `adapter_config.json` and `adapter_model.safetensors`, readable by all.

    A model that was trained whole is written as a transformers folder instead.
    """
    with quiet_transformers():
        if not hasattr(model, "peft_config"):
            model.save_pretrained(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            config, tensors = saved_adapter(model)
            config.save_pretrained(folder)
            whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
            save_file(whole, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    for file in folder.iterdir():
        file.chmod(0o644)


class SavedAdapter(NamedTuple):
    """What stands in an adapter's folder: a PEFT LoraConfig, and tensors by the names that PEFT gives them."""

    config: LoraConfig
    tensors: dict[str, Tensor]


def saved_adapter(model: PeftModel) -> SavedAdapter:
    """Return the adapter of `model` as LoRA for its untouched base: configuration and tensors under PEFT's names.

    After "pissa" and "olora" the base has lost s·B₀·A₀, so the update is s·(B·A − B₀·A₀) = s·[B −B₀]·[A; A₀], of twice
    the rank (Meng et al. 2024, "PiSSA", appendix C). An update of AdaLoRA is B·diag(E)·A, of the ranks whose E
    is not zero.
    """
    own = model.peft_config["default"]
    if own.peft_type == PeftType.ADALORA:
        config, tensors = _adalora_as_lora(model, own)
    elif hasattr(model, "tailora_first"):
        config, tensors = _difference_as_lora(model, own)
    else:
        config, tensors = copy.copy(own), _tensors(model)
    config.inference_mode = True
    config.target_modules = sorted(own.target_modules)  # PEFT holds a set, whose order differs between processes
    config.base_model_name_or_path = model.get_base_model().name_or_path
    return SavedAdapter(config, tensors)


def _tensors(model: PeftModel) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return tensors


def _difference_as_lora(model: PeftModel, own: LoraConfig) -> SavedAdapter:
    config = copy.copy(own)
    config.r, config.init_lora_weights = 2 * own.r, True
    config.lora_alpha = own.lora_alpha * (math.sqrt(2) if own.use_rslora else 2)  # so that the scale stays
    update = {name: tensor for name, tensor in _tensors(model).items() if "lora_" in name}
    tensors = {
        name: torch.cat([now, first]) if name.endswith("lora_A.weight") else torch.cat([now, -first], dim=1)
        for (name, now), first in zip(update.items(), model.tailora_first.values(), strict=True)
    }
    return SavedAdapter(config, tensors | _head_tensors(model))


def _head_tensors(model: PeftModel) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in _tensors(model).items() if "lora_" not in name}


def _adalora_as_lora(model: PeftModel, own: AdaLoraConfig) -> SavedAdapter:
    config = LoraConfig(
        r=own.target_r, lora_alpha=own.lora_alpha, lora_dropout=own.lora_dropout, target_modules=own.target_modules,
        layers_to_transform=own.layers_to_transform, layers_pattern=own.layers_pattern,
        fan_in_fan_out=own.fan_in_fan_out, task_type=own.task_type, modules_to_save=own.modules_to_save,
    )  # fmt: skip
    tensors = {}
    for name, layer in _adalora_layers(model).items():
        a, b, e = (part["default"] for part in (layer.lora_A, layer.lora_B, layer.lora_E))
        kept = e[:, 0] != 0
        if not kept.any():
            kept[0] = True  # LoRA has no rank 0; this one adds zero, since its E is zero
        tensors[f"base_model.model.{name}.lora_A.weight"] = (a * e)[kept]
        tensors[f"base_model.model.{name}.lora_B.weight"] = b[:, kept]
        config.rank_pattern[name] = int(kept.sum())
        config.alpha_pattern[name] = config.rank_pattern[name] * layer.scaling["default"] / (layer.r["default"] + _TINY)
    return SavedAdapter(config, tensors | _head_tensors(model))


def adalora_ranks(model: Transformer) -> dict[str, int]:
    """Return the rank that each layer has now, for AdaLoRA; empty for every other method."""
    return {name: int((layer.lora_E["default"] != 0).sum()) for name, layer in _adalora_layers(model).items()}


def _adalora_layers(model: Transformer) -> dict[str, AdaLoraLayer]:
    """Return the layers of an AdaLoRA adapter by the names they have in the base model."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    return {name: module for name, module in base.named_modules() if isinstance(module, AdaLoraLayer)}


def _layers(model: Module) -> list[LoraLayer]:
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def fuse_lora(model: Module) -> tuple[int, int]:
    """Let the LoRA layers of `model` compute through `lora_linear`; returns how many can in training, and of how many.

    Parameters, saving, loading and merging stay PEFT's. A layer that is more than plain LoRA (dropout, several active
    adapters, DoRA, a quantized base) goes on computing as PEFT does.
    """
    layers = _layers(model)
    for layer in layers:
        layer.forward = functools.partial(_forward, layer)
    return sum(_plain_adapter(layer, training=True) is not None for layer in layers), len(layers)


def unfused(model: Module) -> str:
    """Say how many LoRA layers of `model` compute as in PEFT while training, and why; nothing where none does."""
    layers = _layers(model)
    reasons = [why for layer in layers if (why := _more_than_plain(layer))]
    if not reasons:
        return ""
    return f"{len(reasons)} of {len(layers)} LoRA layers compute as in PEFT ({', '.join(sorted(set(reasons)))})"


def _more_than_plain(layer: LoraLayer) -> str:
    """Say what keeps a layer from being fused in training, or return an empty string."""
    if _plain_adapter(layer, training=True) is not None:
        return ""
    weight = getattr(layer.get_base_layer(), "weight", None)
    if weight is not None and not weight.is_floating_point():
        return "a base in 4 bits"
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if any(layer.use_dora.get(name) for name in active):
        return "DoRA"
    if any(getattr(layer.lora_dropout[name], "p", 0) for name in active):
        return "dropout"
    return f"adapters on {type(layer.get_base_layer()).__name__}"


def unfuse_lora(model: Module) -> None:
    """Take `fuse_lora` back."""
    for module in model.modules():
        if isinstance(module.__dict__.get("forward"), functools.partial):
            del module.forward


def _forward(layer: LoraLayer, x: Tensor, *others: object, **named: object) -> Tensor:
    adapter = _plain_adapter(layer, layer.training)
    if adapter is None or others or named:
        as_in_peft: Tensor = type(layer).forward(layer, x, *others, **named)
        return as_in_peft
    base = layer.base_layer
    weight = base.weight.T if layer.fan_in_fan_out else base.weight
    return lora_linear(x, weight, base.bias, *_factors(layer, adapter))


def _factors(layer: LoraLayer, adapter: str) -> tuple[Tensor, Tensor, float]:
    """Return A, B and the scale of a plain adapter's update s·B·A; AdaLoRA's A carries its diagonal E."""
    a, b, scale = layer.lora_A[adapter], layer.lora_B[adapter], layer.scaling[adapter]
    if hasattr(layer, "lora_E"):
        return a * layer.lora_E[adapter], b, scale / (layer.r[adapter] + _TINY)
    return a.weight, b.weight, scale


def _plain_adapter(layer: LoraLayer, training: bool) -> str | None:
    """Return the name of the adapter of a layer that now computes x·Wᵀ + s·x·Aᵀ·Bᵀ and nothing else, or None."""
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if type(layer) not in (Linear, SVDLinear) or layer.disable_adapters or layer.merged or len(active) != 1:
        return None
    (name,) = active
    drops = training and not isinstance(layer.lora_dropout[name], Identity)
    plain = (
        name not in layer.lora_variant and not layer.lora_bias.get(name) and layer.base_layer.weight.is_floating_point()
    )
    return name if plain and not drops else None


def lora_linear(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Return x·Wᵀ + bias + scale·(x·Aᵀ)·Bᵀ, computed in the type of `x`; W and bias get no gradient.

    Shapes: x [..., in], weight [out, in], bias [out] or None, a [rank, in], b [out, rank]. Only x and x·Aᵀ are kept for
    the way back, and no full-width product is made twice: PEFT's own layer casts x to the adapter's type and adds two
    temporaries of the size of the output.
    """
    return differentiable(_lora_forward, _lora_backward)(scale, x, weight, bias, a, b)


def _lora_forward(
    scale: float, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
) -> tuple[Tensor, Kept]:
    flat = x.reshape(-1, x.shape[-1])
    inner = flat @ a.to(x.dtype).T
    y = flat @ weight.T if bias is None else bias.addmm(flat, weight.T)
    y.addmm_(inner, b.to(x.dtype).T, alpha=scale)
    return y.view(*x.shape[:-1], -1), (flat, inner, weight, a, b)


def _lora_backward(scale: float, kept: Kept, gradient: Tensor, needed: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    flat, inner, weight, a, b = kept
    g = gradient.reshape(-1, gradient.shape[-1])
    g_inner = (g @ b.to(g.dtype)).mul_(scale)
    x_gradient = None
    if needed[0]:
        x_gradient = (g @ weight).addmm_(g_inner, a.to(g.dtype)).view(*gradient.shape[:-1], -1)
    a_gradient = (g_inner.T @ flat).to(a.dtype)
    b_gradient = (g.T @ inner).mul_(scale).to(b.dtype)
    return x_gradient, None, None, a_gradient, b_gradient
