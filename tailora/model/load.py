"""Base models, tokenizers and adapters from disk or hub, with the checks that loading alone does not make."""

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import torch
from torch import Tensor
from torch.nn import Module
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from tailora import machine, recipe
from tailora.errors import ModelError
from tailora.model.border import ADAPTER_WEIGHTS, check_base, check_weights, read_origin
from tailora.model.fence import fenced, is_out_of_memory, quiet_transformers
from tailora.model.lengths import last_length
from tailora.model.locate import locate_base
from tailora.model.quantized import keep_gradients, loading_settings
from tailora.text.chat import Sample

if TYPE_CHECKING:
    from peft import PeftModel

Transformer: TypeAlias = "PreTrainedModel | PeftModel"
"""A base model, or what PEFT makes of it with an adapter: that hands on what it does not have itself."""

Mismatch = tuple[str, torch.Size, torch.Size]
"""The name of a weight, its shape in the file, and the one that the configuration asks for."""


class Loading(TypedDict):
    """What transformers says of the weights that it has loaded."""

    missing_keys: set[str]
    mismatched_keys: set[Mismatch]


_LARGE = 2**25  # numbers of a weight whose two types lie side by side in memory while it is cast
_SHORT = 256  # tokens; up to here plain attention is faster on a processor


def load_tokenizer(settings: recipe.Model) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the base model; without a pad token the end token pads, since padding is masked."""
    with explained(f"the tokenizer of {settings.base}"), quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(
            locate_base(settings.base), trust_remote_code=settings.trust_remote_code
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(settings: recipe.Model) -> PreTrainedModel:
    """Load the base model on this machine's device, ready for an adapter, in evaluation mode.

    Weights are float32, but those that `model.quantize` holds in 4 bits.
    """
    with explained(settings.base), quiet_transformers():
        check_hub(settings.base)
        model, loading = AutoModelForCausalLM.from_pretrained(
            locate_base(settings.base),
            dtype=torch.float32,
            trust_remote_code=settings.trust_remote_code,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
            **loading_settings(settings, frozen_dtype(settings)),
        )
    refuse_incomplete(settings.base, loading["missing_keys"], loading["mismatched_keys"])
    refuse_broken(settings.base, model)
    keep_gradients(model)
    _leave_file(model)
    # Decoding is ours to choose: of a model's own settings only its end tokens stay.
    model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
    return model.to(machine.device()).eval()


def check_hub(base: str) -> None:
    """Check which weights a model of a hub is made of before they are read; those in a folder have been checked."""
    located = locate_base(base)
    quietly = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}

    def find(name: str) -> Path | None:
        found = cached_file(located, name, **quietly)
        return Path(found) if found else None

    if not Path(located).is_dir():
        check_weights(find)


def refuse_incomplete(what: str, missing: Iterable[str], mismatched: Iterable[Mismatch]) -> None:
    """Raise ModelError when the files of `what` lack weights, which transformers replaces by random numbers."""
    lost, other = sorted(missing), sorted(mismatched)
    if lost or other:
        faults = [f"{len(lost):,} are missing (the first is {lost[0]})"] if lost else []
        for name, stored, wanted in other[:1]:
            shapes = f"{list(stored)} in the file, {list(wanted)} by config.json"
            faults.append(f"{len(other):,} have another shape (the first is {name}: {shapes})")
        raise ModelError(
            f"{what}: its weights are not whole: {' and '.join(faults)}. transformers would put random numbers in "
            "their place. Fetch the model again, or choose another base model."
        )


def refuse_broken(what: str, model: Module) -> None:
    """Raise ModelError when weights of `model` hold values that are not finite."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.is_floating_point()}
    broken = [name for name, weight in weights.items() if not _is_finite(weight)]
    if broken:
        raise ModelError(
            f"{what} holds values that are not finite in {len(broken):,} of its {len(weights):,} weights, the first is "
            f"{broken[0]}: it is broken. Fetch the model again, or choose another base model."
        )


def _is_finite(weight: Tensor) -> bool:
    if not weight.numel():
        return True
    return all(bool(end.isfinite()) for end in torch.aminmax(weight.detach()))  # no copy; NaN is both least and most


def _leave_file(model: Module) -> None:
    """Copy the vectors among the weights: norms kept in float32 lie in the mapped file, which would stay whole."""
    for weight in model.parameters():
        if weight.dim() < 2:
            weight.data = weight.data.clone()


def load_adapter(model: PreTrainedModel, folder: Path) -> Transformer:
    """Put what was trained in `folder` on its base `model`; returns a model in evaluation mode.

    An adapter gives a PEFT model. A model that was trained whole gives `model` with those weights. Either answers as
    the base within `model.disable_adapter()`.

    Raises:
        ModelError: when the files are damaged, or were made for a base with other weights.
    """
    from peft import PeftModel  # takes seconds more, which a base without an adapter never needs

    _require_its_base(model, folder)
    with explained(str(folder)), quiet_transformers():
        if not (folder / "adapter_config.json").is_file():
            check_base(folder)
            return _load_whole(model, folder)
        if not (folder / ADAPTER_WEIGHTS).is_file():  # PEFT would look for other formats, and on a hub
            raise ModelError(f"{folder} has no {ADAPTER_WEIGHTS}, and only that format is read; copy it back.")
        return PeftModel.from_pretrained(model, folder).eval()


def _require_its_base(model: PreTrainedModel, folder: Path) -> None:
    """Raise ModelError when `tailora.json` beside the adapter names another base: to PEFT any of its shape is right."""
    made = read_origin(folder).get("base")
    now = base_fingerprint(model) if made else None
    if made != now:
        raise ModelError(
            f"{folder} was trained on a base model with other weights than the one it is put on ({made}, now {now}). "
            "Load the base that stands in its README.md."
        )


def _load_whole(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    base = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    tuned, loading = type(model).from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True
    )
    refuse_incomplete(str(folder), loading["missing_keys"], loading["mismatched_keys"])
    refuse_broken(str(folder), tuned)
    model.load_state_dict(tuned.state_dict())
    model.requires_grad_(False)
    model.disable_adapter = functools.partial(weights_of_base, model, base)
    return model.eval()


@contextlib.contextmanager
def weights_of_base(model: Module, base: dict[str, Tensor]) -> Iterator[None]:
    """Within the block, `model` has the weights of its `base` that are given by name, in the type that its own have."""
    weights = {name: weight for name, weight in model.named_parameters(remove_duplicate=False) if name in base}
    tuned = {name: weight.data for name, weight in weights.items()}
    for name, weight in weights.items():
        weight.data = base[name].to(weight.dtype)
    try:
        yield
    finally:
        for name, weight in weights.items():
            weight.data = tuned[name]


def without_adapter(model: Transformer) -> PreTrainedModel:
    """Return the transformers model below PEFT's, or `model` itself where there is no adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def text_backbone(base: PreTrainedModel) -> PreTrainedModel:
    """Return what turns tokens into hidden states below the head of `base`, also where `base` sees or hears as well."""
    composed = base.config.get_text_config() is not base.config
    return base.get_decoder() if composed else base.base_model


def count_embeddings(model: Transformer) -> int:
    """Return how many tokens `model` has an embedding for, whether that has an adapter or not."""
    return int(model.get_input_embeddings().weight.shape[0])


def short_rows(model: Transformer) -> list[Sample]:
    """Return a few short rows with the same tokens, where a leak shows; each ends as rows of the model do."""
    config = without_adapter(model).config.get_text_config()
    size, end = count_embeddings(model), getattr(config, "eos_token_id", None)
    ends = [token for token in (end if isinstance(end, list) else [end]) if token is not None and 0 <= token < size]
    shunned = {getattr(config, "pad_token_id", None), *ends}
    tokens = [token for token in ((7919 * place + 13) % size for place in range(24)) if token not in shunned]
    rows = [tokens[: length - len(ends[:1])] + ends[:1] for length in (12, 5, 9)]
    return [Sample(row, [(1, len(row))]) for row in rows]


def read_row(model: Transformer, row: Sequence[int]) -> Tensor:
    """Return the logits that `model` gives a row by itself, as it computes now, without gradients and kept states."""
    tokens = torch.tensor([row], device=model.device)
    known = inspect.signature(without_adapter(model).forward).parameters
    with torch.no_grad():
        logits: Tensor = model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            **({"use_cache": False} if "use_cache" in known else {}),
        ).logits
    return logits[0]


def freeze_dtype(model: Module, settings: recipe.Model) -> None:
    """Cast the frozen weights to `model.dtype`, in place; call it after adapters are attached.

    PEFT creates adapters on the grid of the base's type, so the base must still be float32 when they are made.
    """
    frozen = [weight for weight in model.parameters() if not weight.requires_grad and weight.is_floating_point()]
    for weight in sorted(frozen, key=lambda weight: weight.numel()):  # the largest when the others have shrunk
        if weight.numel() > _LARGE:  # it is held twice for a while
            machine.give_back_freed_memory()
        weight.data = weight.data.to(frozen_dtype(settings))
    machine.give_back_freed_memory()


def frozen_dtype(settings: recipe.Model) -> torch.dtype:
    """Return the type of the frozen weights: `model.dtype`, or what this machine computes fastest in."""
    native = machine.has_bfloat16() if settings.dtype == "auto" else settings.dtype == "bfloat16"
    return torch.bfloat16 if native else torch.float32


def choose_attention(model: Transformer, longest: int) -> None:
    """Choose the attention kernel for training on sequences of at most `longest` tokens, in place.

    On a processor, PyTorch's fused kernel spends more on short sequences than it saves: 1.2 times slower than plain
    matrix products at 120 tokens. Those need memory in the square of the length, so long sequences stay fused.
    """
    if model.device.type == "cpu" and longest <= _SHORT:
        model.set_attn_implementation("eager")


def mixed_precision(model: Transformer) -> torch.autocast:
    """Return the context for a forward pass: bfloat16 matrix products where the frozen weights are bfloat16."""
    reduced = any(weight.dtype == torch.bfloat16 for weight in model.parameters())
    return torch.autocast(model.device.type, torch.bfloat16, enabled=reduced)


def load_config(settings: recipe.Model) -> PreTrainedConfig:
    """Load the configuration of the base model alone."""
    with explained(f"the configuration of {settings.base}"), quiet_transformers():
        return AutoConfig.from_pretrained(locate_base(settings.base), trust_remote_code=settings.trust_remote_code)


def longest_input(config: PreTrainedConfig, settings: recipe.Model) -> int:
    """Return the most tokens an example may have: `model.max_length`, or less where the model ends earlier."""
    limit = last_length(config.get_text_config())
    return settings.max_length if limit is None else min(settings.max_length, limit)


def base_fingerprint(model: Transformer) -> str:
    """Return a hash of the names, shapes and values of all weights, but for layers that a base did not bring.

    Values are rounded to bfloat16 first, so that one model loaded in two types has one fingerprint.
    """
    digest = hashlib.sha256()
    for name, tensor in _own_weights(model):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        for part in tensor.detach().flatten().split(_LARGE):
            digest.update(part.to("cpu", torch.bfloat16).view(torch.int16).numpy().data)
    return digest.hexdigest()[:32]


def _own_weights(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of the base below any adapter, by their own names in order."""
    new = tuple(f"{part}." for part in getattr(without_adapter(model), "tailora_untrained", ()))
    for name, tensor in sorted(model.state_dict().items()):
        plain = name.replace("base_model.model.", "").replace(".base_layer", "")
        if "lora_" not in name and not plain.startswith(new):
            yield plain, tensor


def refuse_unknown_ids(model: Transformer, rows: Iterable[Sequence[int]]) -> None:
    """Raise ModelError when rows of token ids hold one that the model has no embedding for; call it before a pass."""
    known = model.get_input_embeddings().weight.shape[0]
    largest = max((max(row) for row in rows if row), default=0)
    if largest >= known:
        raise ModelError(
            f"the tokenizer writes token {largest}, but the model has embeddings for {known} only: they do not belong "
            "together. Use the tokenizer that came with the model."
        )


def padding_id(model: Transformer, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return an id to pad with, which the model has an embedding for; what it is does not matter, as it is masked."""
    pad: int | None = tokenizer.pad_token_id
    return pad if pad is not None and pad < model.get_input_embeddings().weight.shape[0] else 0


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever is raised over missing, damaged or strange files of `what`, or their size, into one paragraph."""
    try:
        with fenced(f"{what} cannot be loaded", "Look at its files, or name another in their place"):
            yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
        raise ModelError(
            f"{what} cannot be loaded: this machine has not the memory for it. Choose a smaller one, or stop what else "
            "runs here."
        ) from error
