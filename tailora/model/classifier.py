"""Sequence classifiers: a pretrained backbone with a head for labels. Knows tokens and classes, no text.

Rows are padded on the right, and a mask hides the padding. Encoders read their first token and decoders their last one
that is no padding, each as transformers has it for its architecture; `choose_path` proves on the model at hand that a
row's result does not depend on the rows beside it.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from tailora import machine, recipe
from tailora.errors import ModelError
from tailora.model.fence import fenced, quiet_transformers
from tailora.model.load import (
    Loading,
    Mismatch,
    Transformer,
    check_hub,
    count_embeddings,
    explained,
    longest_input,
    mixed_precision,
    refuse_broken,
    refuse_incomplete,
    short_rows,
    without_adapter,
)
from tailora.model.locate import locate_base
from tailora.model.lora import fuse_lora, trainable, unfuse_lora, unfused
from tailora.model.losses import Path, differ, distance, most_apart, not_fast, pad_right, path_of
from tailora.text.chat import Sample


class Head(NamedTuple):
    """The modules of a head, and those of them that the checkpoint did not bring."""

    modules: list[str]
    untrained: list[str]


def load_classifier(settings: recipe.Model, names: Sequence[str], pad_token: int | None, seed: int) -> PreTrainedModel:
    """Load the base model with a head for the classes `names`, in float32 and evaluation mode.

    What the checkpoint does not bring, the head above all, gets first weights that depend on `seed` only. The head's
    modules stand in the model's `tailora_head`.

    Raises:
        ModelError: when the base cannot be loaded, or its architecture has no head for labels.
    """
    torch.manual_seed(seed)
    with explained(settings.base), quiet_transformers(), _silence("transformers"):
        check_hub(settings.base)
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            locate_base(settings.base),
            num_labels=len(names),
            id2label=dict(enumerate(names)),
            label2id={name: number for number, name in enumerate(names)},
            problem_type="single_label_classification",
            dtype=torch.float32,
            trust_remote_code=settings.trust_remote_code,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    lacking = {*loading["missing_keys"], *(entry[0] for entry in loading["mismatched_keys"])}
    with fenced(f"{settings.base} cannot be used as a classifier", "Choose another base model"):
        refuse_incomplete(settings.base, *_lost(model, loading))
        refuse_broken(settings.base, model)
        head = _find_head(model, lacking)
        _set_padding(model, pad_token)
    for name in head.modules:
        for module in model.get_submodule(name).modules():
            module.register_forward_pre_hook(_in_own_type)
    model.tailora_head = head.modules
    model.tailora_untrained = head.untrained
    return model.to(machine.device()).eval()


def _lost(model: PreTrainedModel, loading: Loading) -> tuple[set[str], list[Mismatch]]:
    """Return the weights that a checkpoint lacks though no head is made of them, and those that have another shape.

    What tokens go through on their way to the last hidden states must be there, and each layer is there as a whole.
    """
    missing, prefix = set(loading["missing_keys"]), f"{_prefix(model)}."
    parts = {name.rpartition(".")[0] for name in missing}
    weights = dict(model.named_parameters())
    half = {part for part in parts for name in weights if name.rpartition(".")[0] == part and name not in missing}
    half -= {entry[0].rpartition(".")[0] for entry in loading["mismatched_keys"]}
    inside = {name for name in missing if name.startswith(prefix)}
    # What lies beside that way, such as a pooler, is trained with the head.
    beside = set() if model.config.is_encoder_decoder else _unused(model, inside & weights.keys())
    lost = (inside - beside) | {name for name in missing if name.rpartition(".")[0] in half}
    return lost, [entry for entry in loading["mismatched_keys"] if entry[0].startswith(prefix)]


def _unused(model: PreTrainedModel, names: set[str]) -> set[str]:
    """Return which weights of the backbone its last hidden states do not depend on."""
    if not names:
        return set()
    states = model.base_model(input_ids=torch.tensor([short_rows(model)[0].tokens])).last_hidden_state
    weights = dict(model.named_parameters())
    used = torch.autograd.grad(states.sum(), [weights[name] for name in names], allow_unused=True)
    return {name for name, gradient in zip(names, used, strict=True) if gradient is None}


def _prefix(model: PreTrainedModel) -> str:
    """Return the name of the backbone within `model`; raise ModelError where it has none."""
    if model.base_model is model:
        raise ModelError(f"the head of a {type(model).__name__} cannot be told from its backbone.")
    return str(next(name for name, part in model.named_modules() if part is model.base_model))


def _find_head(model: PreTrainedModel, lacking: set[str]) -> Head:
    """Return the modules above the backbone, and those of the backbone that the checkpoint lacks, such as a pooler."""
    backbone, weights = model.base_model, dict(model.named_parameters())
    above = [
        name for name, part in model.named_children() if part is not backbone and any(True for _ in part.parameters())
    ]
    inside = [name for name in sorted(lacking & weights.keys()) if name.startswith(f"{_prefix(model)}.")]
    modules = [*above, *dict.fromkeys(name.rpartition(".")[0] for name in inside)]
    untrained = [name for name in modules if any(key.startswith(f"{name}.") for key in lacking)]
    return Head(modules, untrained)


def _set_padding(model: PreTrainedModel, pad_token: int | None) -> None:
    """Let `model` know the token that pads, which decoders look for to find the end of a row."""
    known = count_embeddings(model)
    declared = model.config.get_text_config().pad_token_id
    choices = [token for token in (pad_token, declared) if token is not None and 0 <= token < known]
    for config in (model.config, model.config.get_text_config()):
        config.pad_token_id = choices[0] if choices else 0
        config.use_cache = False


def _in_own_type(module: torch.nn.Module, inputs: tuple[object, ...]) -> tuple[object, ...]:
    """Cast what comes into a module of the head to the type of its weights: the backbone may be in bfloat16."""
    weight = next(module.parameters(recurse=False), None)
    if weight is None:
        return inputs
    return tuple(x.to(weight.dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)


def longest_row(model: Transformer, tokenizer: PreTrainedTokenizerBase, settings: recipe.Model) -> int:
    """Return the most tokens that a row may have: those of `model.max_length` that model and tokenizer allow."""
    limit = min(longest_input(model.config, settings), int(tokenizer.model_max_length))
    for part in model.modules():  # RoBERTa counts positions from behind its padding token, so some are never used
        places, first = getattr(part, "num_embeddings", None), getattr(part, "padding_idx", None)
        wide = places == getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if places and wide and first is not None and part is not model.get_input_embeddings():
            limit = min(limit, places - first - 1)
    return limit


def class_logits(model: Transformer, samples: Sequence[Sample]) -> Tensor:
    """Return the logits of each sample's classes in float32: [rows, classes]."""
    tokens, mask = _padded(model, samples)
    with contextlib.nullcontext() if path_of(model).name == "fast" else mixed_precision(model):
        logits: Tensor = model(input_ids=tokens, attention_mask=mask).logits
        return logits.float()


def mean_states(model: Transformer, samples: Sequence[Sample]) -> Tensor:
    """Return the mean of the backbone's last hidden states over each sample's tokens, in float32: [rows, width].

    Of an encoder with a decoder they are those of the encoder.
    """
    base = without_adapter(model)
    tokens, mask = _padded(model, samples)
    with mixed_precision(model):
        body = base.get_encoder() if base.config.is_encoder_decoder else base.base_model
        hidden: Tensor = body(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    weights = mask[..., None].float()
    return (hidden * weights).sum(1) / weights.sum(1)


def _padded(model: Transformer, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    pad = model.config.get_text_config().pad_token_id
    tokens = pad_right([sample.tokens for sample in samples], pad, model.device)
    return tokens, pad_right([[1] * len(sample.tokens) for sample in samples], 0, model.device)


def choose_classifier_path(model: Transformer, wish: Literal["auto", "fast", "plain"]) -> Path:
    """Choose how `model` computes from now on, in place; call it when adapters and types are settled.

    The fast path computes each LoRA layer as one node and the backbone in the type of its weights; rows are padded on
    both.

    Raises:
        ModelError: when the fast path is asked for by name and does not apply, or padding changes what a row gives.
    """
    unfuse_lora(model)
    model.tailora_path = Path("plain", "", pads=True)
    expected = _probe(model, alone=True)
    if distance(_probe(model), expected) > most_apart(model):
        kind = type(without_adapter(model)).__name__
        raise ModelError(
            f"a {kind} gives a row another result beside longer ones, so its rows cannot be padded; choose another "
            "base model."
        )
    if wish == "plain":
        model.tailora_path = Path("plain", 'train.kernels = "plain"', pads=True)
        return model.tailora_path  # type: ignore[no-any-return]
    fuse_lora(model)
    model.tailora_path = Path("fast", unfused(model), pads=True)
    why = _obstacle(model, expected)
    if why:
        unfuse_lora(model)
        model.tailora_path = Path("plain", why, pads=True)
        if wish == "fast":
            raise not_fast(why)
    return model.tailora_path  # type: ignore[no-any-return]


def _obstacle(model: Transformer, expected: list[Tensor]) -> str:
    try:
        return differ(model, distance(_probe(model), expected))
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return str(error).split("\n")[0]


def _probe(model: Transformer, alone: bool = False) -> list[Tensor]:
    """Return logits and gradients of a few short rows, together or each alone."""
    training, weights = model.training, list(trainable(model).values())
    samples = short_rows(model)
    model.eval()
    with torch.set_grad_enabled(bool(weights)):
        parts = [[sample] for sample in samples] if alone else [samples]
        logits = torch.cat([class_logits(model, part) for part in parts])
        gradients = torch.autograd.grad(logits.square().sum(), weights, allow_unused=True) if weights else ()
    model.train(training)
    return [logits.detach(), *(gradient for gradient in gradients if gradient is not None)]


@contextlib.contextmanager
def _silence(name: str) -> Iterator[None]:
    """Keep a library from warning of what is meant: that the head is new."""
    logger = logging.getLogger(name)
    before, logger.level = logger.level, logging.ERROR
    try:
        yield
    finally:
        logger.setLevel(before)
