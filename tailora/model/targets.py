"""Which layers of a model get an adapter, by their names."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from peft.tuners.lora import ParamWrapper
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tailora import recipe
from tailora.errors import ModelError
from tailora.model.load import Transformer, read_row, short_rows, text_backbone

# Their kernels read the weights of these layers and never call them, so an adapter there would never be trained. PEFT
# refuses the first, and with it its own "all-linear", and takes the second.
_NEVER_CALLED = {
    name: {"out_proj", "dt_proj"} for name in ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


class Stack(NamedTuple):
    """The layers that a backbone runs one after another: the name of their list in the whole model, and the list."""

    name: str
    layers: torch.nn.ModuleList


def target_settings(model: PreTrainedModel, settings: recipe.Lora) -> dict[str, object]:
    """Return which layers of `model` get an adapter, as the keywords of a PEFT configuration.

    Only layers that a text reaches do, whatever else in the model has their names.

    Raises:
        ModelError: when no layer has one of the names asked for, none that has it is reached by a text, or there are
            fewer layers than `last_layers`.
    """
    names = linear_layers(model) if settings.targets == "all-linear" else list(settings.targets)
    layers = targeted(model, names)
    if not layers:
        known = sorted(
            {n.rpartition(".")[2] for n, m in model.named_modules() if getattr(m, "weight", None) is not None}
        )
        raise ModelError(f"lora.targets = {settings.targets!r}: no such module. Modules here: {', '.join(known)}.")
    if out := unreached(model) & layers.keys():
        layers = {name: layer for name, layer in layers.items() if name not in out}
        if not layers:
            raise ModelError(
                f"lora.targets = {settings.targets!r}: no text reaches {min(out)}, nor any other layer with these "
                'names, so an adapter there would learn nothing. Use "all-linear", which takes the layers of the text.'
            )
        others = {name for name, _ in model.named_modules()} - layers.keys()
        names = sorted({_shortest(name, others) for name in layers})
    found: dict[str, object] = {
        "target_modules": names,
        "fan_in_fan_out": any(isinstance(layer, Conv1D) for layer in layers.values()),
    }
    if settings.last_layers is not None:
        found |= _top_settings(model, settings.last_layers)
    return found


def astray(model: PreTrainedModel, targets: Literal["all-linear"] | Sequence[str]) -> int:
    """Return how many layers that are named in `lora.targets` lie where no text comes by, and so get no adapter."""
    return 0 if targets == "all-linear" else len(unreached(model) & targeted(model, targets).keys())


def unreached(model: PreTrainedModel) -> set[str]:
    """Name the modules of `model` that nothing calls while it reads a text: towers for images and sound, above all.

    Entries of a list of which others were called count as reached: which experts are asked depends on the text.
    """
    (row, *_), called = short_rows(model), set()
    hooks = [module.register_forward_hook(lambda module, *_: called.add(module)) for module in model.modules()]
    training = model.training
    model.eval()
    try:
        read_row(model, row.tokens)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    beside = set(_beside(model, called))
    return {name for name, module in model.named_modules() if module in beside}


def _beside(module: torch.nn.Module, called: set[torch.nn.Module]) -> Iterator[torch.nn.Module]:
    for child in module.children():
        if not called.isdisjoint(child.modules()):
            yield from _beside(child, called)
        elif not isinstance(module, torch.nn.ModuleList):
            yield from child.modules()


def targeted(model: torch.nn.Module, names: Iterable[str]) -> dict[str, torch.nn.Module]:
    """Return the modules of `model` that PEFT means by `names`, by their own names."""
    ends = tuple(f".{name}" for name in names)
    return {name: module for name, module in model.named_modules() if f".{name}".endswith(ends)}


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Name every linear layer of the backbone, so without any head, and without routers of experts.

    Names are as short as they can be without naming another module. PEFT's own "all-linear" takes heads it does not
    know by name, and fails where it refuses one of the layers it found.
    """
    backbone, head = set(text_backbone(model).modules()), model.get_output_embeddings()
    never = _NEVER_CALLED.get(model.config.get_text_config().model_type, set())
    chosen = {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module in backbone
        and module is not head
        and name.rpartition(".")[2] not in never
        and not _is_router(module, model.config.get_text_config())
    }
    others = {name for name, _ in model.named_modules()} - chosen
    return sorted({_shortest(name, others) for name in chosen})


def stacked_experts(model: Transformer) -> int:
    """Return how many weights of the backbone lie in stacks of experts and have no adapter: they are no linear layers.

    PEFT adapts a stack where its layers have one of the target names all the same.
    """
    if not _experts(model.config.get_text_config()):
        return 0
    adapted = {id(module.get_param()) for module in model.modules() if isinstance(module, ParamWrapper)}
    weights = text_backbone(model).parameters()
    return sum(weight.numel() for weight in weights if weight.dim() == 3 and id(weight) not in adapted)


def _is_router(module: torch.nn.Module, config: PreTrainedConfig) -> bool:
    """Say whether a layer chooses among experts: it has an output for each of them."""
    return getattr(module, "out_features", None) in _experts(config)


def _experts(config: PreTrainedConfig) -> set[int]:
    """Return the number of experts of each layer by the configuration; empty for a model without any."""
    return {getattr(config, name, None) or 0 for name in _EXPERTS} - {0, 1}


def _shortest(name: str, others: set[str]) -> str:
    """Return the shortest end of `name` that is no end of any of the `others`."""
    parts = name.split(".")
    ends = (".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
    return next(end for end in ends if not any(other == end or other.endswith(f".{end}") for other in others))


def layer_stack(model: PreTrainedModel) -> Stack | None:
    """Find the layers of the backbone of `model`, or None where there is no one list of them."""
    count, backbone = getattr(model.config.get_text_config(), "num_hidden_layers", None), text_backbone(model)
    inside = set(backbone.modules())
    stacks = [
        Stack(name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count and module in inside
    ]
    return min(stacks, key=lambda stack: stack.name.count("."), default=None)


def _top_settings(model: PreTrainedModel, count: int) -> dict[str, object]:
    stack = layer_stack(model)
    if stack is None:
        raise ModelError("lora.last_layers: this model has no one list of layers; leave the key out.")
    total = len(stack.layers)
    if count > total:
        raise ModelError(f"lora.last_layers = {count}: the model has {total} layers; give at most {total}.")
    return {
        "layers_to_transform": list(range(total - count, total)),
        "layers_pattern": stack.name.rpartition(".")[2],
    }
