"""What others wrote about a base or an adapter, checked where it comes in: the shape of each file, and which weights.

Keys that are not named here are let through, since models and libraries have keys of their own; what a library makes of
those stands behind a fence.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tailora import files
from tailora.errors import ModelError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
INDEX = "model.safetensors.index.json"
ORIGIN = "origin.json"
"""Says in a converted folder what it was made from."""

_MOST_SHOWN = 60  # characters of a value
_READ = ("*.json", "*.jinja", "*.model", "*.safetensors")  # what libraries open in the folder of a model

_Size = Annotated[int, Field(ge=1, lt=2**31)]
_Count = Annotated[int, Field(ge=1, le=2**12)]
_Rank = Annotated[int, Field(ge=1, lt=2**16)]
_Share = Annotated[float, Field(ge=0, lt=1)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Labels = dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], str]

_SIZE = "a whole number of at least 1"
_LABELS = 'labels by number, such as {"0": "no", "1": "yes"}'
_COUNT = "a whole number from 1 to 4096"
_NAMES = "a list of names of layers, one name pattern, or null"
_FLAG = "true or false"
_TOKEN = "the text of a token, a token with its settings, or null"


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Sizes(_Shape):
    vocab_size: _Size | None = Field(None, description=_SIZE)
    hidden_size: _Size | list[_Size] | None = Field(None, description=_SIZE)
    intermediate_size: _Size | list[Any] | None = Field(None, description=_SIZE)
    num_hidden_layers: _Count | list[Any] | dict[str, Any] | None = Field(None, description=_COUNT)
    num_attention_heads: _Count | list[Any] | None = Field(None, description=_COUNT)
    num_key_value_heads: _Count | list[Any] | None = Field(None, description=_COUNT)
    max_position_embeddings: _Finite | list[Any] | None = Field(None, description=_SIZE)
    eos_token_id: int | list[int] | None = Field(None, description="the number of a token, a list of them, or null")
    bos_token_id: int | None = Field(None, description="the number of a token, or null")
    pad_token_id: int | None = Field(None, description="the number of a token, or null")
    tie_word_embeddings: bool | None = Field(None, description=_FLAG)
    rope_parameters: dict[str, Any] | None = Field(None, description="the settings of rotary positions, or null")
    rope_scaling: dict[str, Any] | None = Field(None, description="the settings of rotary positions, or null")
    layer_types: list[str] | None = Field(None, description="a list of the kind of each layer, or null")
    quantization_config: dict[str, Any] | None = Field(None, description="the settings of a quantization, or null")


class BaseConfig(_Sizes):
    """`config.json` of a model."""

    model_type: str = Field(min_length=1, description='the name of an architecture, such as "llama"')
    architectures: list[str] | None = Field(None, description="a list of names of classes, or null")
    id2label: _Labels | None = Field(None, description=_LABELS)
    text_config: dict[str, Any] | None = Field(None, description="the configuration of the model's text part, or null")


class TokenizerConfig(_Shape):
    """`tokenizer_config.json` of a model."""

    tokenizer_class: str | None = Field(None, description="the name of a class, or null")
    chat_template: str | list[dict[str, str]] | dict[str, str] | None = Field(
        None, description="a template, a list of templates with their names, or null"
    )
    model_max_length: _Finite | None = Field(None, description=_SIZE)
    added_tokens_decoder: dict[str, dict[str, Any]] | None = Field(None, description="tokens by number, or null")
    bos_token: str | dict[str, Any] | None = Field(None, description=_TOKEN)
    eos_token: str | dict[str, Any] | None = Field(None, description=_TOKEN)
    pad_token: str | dict[str, Any] | None = Field(None, description=_TOKEN)
    unk_token: str | dict[str, Any] | None = Field(None, description=_TOKEN)


class AdapterConfig(_Shape):
    """`adapter_config.json` as PEFT writes it."""

    peft_type: str | None = Field(None, description='the kind of adapter, such as "LORA"')
    task_type: str | None = Field(None, description='"CAUSAL_LM", "SEQ_CLS", or null')
    base_model_name_or_path: str | None = Field(None, description="the name or folder of the base model, or null")
    target_modules: str | list[str] | None = Field(None, description=_NAMES)
    exclude_modules: str | list[str] | None = Field(None, description=_NAMES)
    modules_to_save: list[str] | None = Field(None, description="a list of names of layers, or null")
    layers_to_transform: int | list[int] | None = Field(None, description="a list of numbers of layers, or null")
    layers_pattern: str | list[str] | None = Field(None, description=_NAMES)
    rank_pattern: dict[str, _Rank] | None = Field(None, description=f"by name of a layer {_SIZE}")
    alpha_pattern: dict[str, _Finite] | None = Field(None, description="by name of a layer a number")
    layer_replication: list[list[int]] | None = Field(None, description="a list of pairs of numbers, or null")
    trainable_token_indices: list[int] | dict[str, list[int]] | None = Field(
        None, description="a list of numbers of tokens, by name of a layer where there are several, or null"
    )
    target_parameters: list[str] | None = Field(None, description="a list of names of weights, or null")
    alora_invocation_tokens: list[int] | None = Field(None, description="a list of numbers of tokens, or null")
    bias: Literal["none", "all", "lora_only"] | None = Field(None, description='"none", "all" or "lora_only"')


class LoraConfig(AdapterConfig):
    """The same for the kinds of adapter that have a rank."""

    r: _Rank = Field(8, description="a whole number from 1 to 65535")
    lora_alpha: _Finite = Field(8, description="a number")
    lora_dropout: _Share = Field(0.0, description="a number from 0 to 1")
    use_rslora: bool = Field(False, description=_FLAG)
    use_dora: bool = Field(False, description=_FLAG)
    fan_in_fan_out: bool = Field(False, description=_FLAG)
    init_lora_weights: bool | str | None = Field(True, description="true, false, or the name of a method")


class Labelled(_Shape):
    """A `config.json` beside an adapter, of which the labels alone are read."""

    id2label: _Labels | None = Field(None, description=_LABELS)


class Conversion(_Shape):
    """`origin.json`, which we write into the folder of a model that was converted or unpacked."""

    file: str | None = Field(None, description="the name of the file that was converted, or null")
    sha256: str | None = Field(None, description="the SHA-256 of that file, or null")
    dequantized_from: str | None = Field(None, description="the name of its quantization, or null")
    name: str | None = Field(None, description="the name of the model, or null")
    licence: str | None = Field(None, description="the name of its licence, or null")


class Origin(_Shape):
    """`tailora.json`, which we write beside an adapter."""

    base: str | None = Field(
        None,
        pattern="^[0-9a-f]{32}$",
        description="the 32 digits that training wrote there (a shorter fingerprint is of a version that did not look "
        "at all weights: train again, or take the key out to go on without this check)",
    )
    prompts: str | None = Field(None, description="the fingerprint of template and tokenizer that training wrote there")
    labels: list[str] | None = Field(None, description="a list of the labels in the order of the head")


_RANKED = ("LORA", "ADALORA")

# Objects of JSON are dict[str, Any] here: a shape above says of the keys that it names what they hold, and of no other.


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of the adapter in `folder`.

    Raises:
        ModelError: when there is none, or it is of a kind that cannot be compared with its base.
    """
    if not files.is_file(folder / "adapter_config.json"):
        raise ModelError(
            f"{folder} is no adapter: it has no adapter_config.json. Give the folder that PEFT's `save_pretrained` "
            "wrote, such as runs/demo/train/adapter."
        )
    config = read_adapter_config(folder)
    if not (folder / ADAPTER_WEIGHTS).is_file():
        others = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise ModelError(
            f"{folder} has no {ADAPTER_WEIGHTS}, and only that format is read, since others can run code; it has: "
            f"{others}."
        )
    task = config.get("task_type") or "CAUSAL_LM"
    if task not in ("CAUSAL_LM", "SEQ_CLS"):
        raise ModelError(
            f"{folder} is an adapter for the task {task}; models that answer have CAUSAL_LM, classifiers SEQ_CLS."
        )
    if "num_virtual_tokens" in config:
        raise ModelError(
            f"{folder} is prompt tuning ({config.get('peft_type')}), not a change of weights; it cannot be compared."
        )
    return config


def read_labels(folder: Path) -> list[str] | None:
    """Return the names of the labels of a classifier's adapter in their order, where a file beside it lists them."""
    return read_origin(folder).get("labels") or named_labels(read_labelled(folder).get("id2label"))


def named_labels(names: Mapping[str, str] | Mapping[int, str] | None) -> list[str] | None:
    """Return the names in an `id2label` in their order; None where they are only numbered, as transformers does."""
    if not names:
        return None
    ordered = [str(name) for _, name in sorted(names.items(), key=lambda pair: int(pair[0]))]
    return None if all(name == f"LABEL_{number}" for number, name in enumerate(ordered)) else ordered


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of someone else's.

    Raises:
        ModelError: when there is none; a pipe or device is not waited for.
    """
    if not path.is_file():
        raise ModelError(f"{path} {'is no regular file' if path.exists() else 'is missing'}; fetch it again.")
    try:
        found = json.loads(path.read_bytes())
        json.dumps(found, ensure_ascii=False).encode()  # JSON may say half a character, which no tokenizer takes
    except (ValueError, RecursionError, OSError) as error:  # no JSON, no UTF-8, nested too deep, not readable
        raise ModelError(f"{path} is no JSON that can be read: {error}. Fetch it again.") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds {_shown(found)}; it must hold an object with keys: fetch it again.")
    return found


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of the adapter in `folder`; raise ModelError for each value of a wrong type or size."""
    path = folder / "adapter_config.json"
    found = read_object(path)
    for key, value in found.items():
        if key.endswith("_config") and not isinstance(value, dict | None):
            raise ModelError(f"{path}: {key} is {_shown(value)}; write an object with its settings, or null.")
    ranked = str(found.get("peft_type", "LORA")).upper() in _RANKED
    return _checked(path, found, LoraConfig if ranked else AdapterConfig)


def read_origin(folder: Path) -> dict[str, Any]:
    """Return what we wrote beside the adapter in `folder`: fingerprints and labels; empty for one made elsewhere."""
    path = folder / "tailora.json"
    return _checked(path, read_object(path), Origin) if path.exists() else {}


def read_conversion(path: Path) -> dict[str, Any] | None:
    """Return what a converted base was made from, every key of `Conversion`; None where `path` is no record of ours."""
    found = read_object(path) if path.is_file() else {}
    if "dequantized_from" not in found:
        return None
    return {key: _checked(path, found, Conversion).get(key) for key in Conversion.model_fields}


def read_labelled(folder: Path) -> dict[str, Any]:
    """Return the `config.json` that lies beside some adapters, its labels checked; empty where there is none."""
    path = folder / "config.json"
    return _checked(path, read_object(path), Labelled) if path.exists() else {}


def check_base(folder: Path) -> None:
    """Check the files in the folder of a base model before any library reads them.

    Raises:
        ModelError: for each value of a wrong type or size; for a file that is none; for weights that are listed outside
            the folder, or in a format that can run code; and for a folder that is an adapter as well.
    """
    for path in sorted(found for pattern in _READ for found in folder.glob(pattern)):
        if not path.is_file():
            raise ModelError(f"{path} is no regular file, so it is not read; fetch the model again.")
    check_weights(folder.joinpath)
    config = _checked(folder / "config.json", read_object(folder / "config.json"), BaseConfig)
    _checked(folder / "config.json", config.get("text_config") or {}, _Sizes, "text_config.")
    others = dict.fromkeys(("generation_config.json", "special_tokens_map.json", "added_tokens.json"), _Shape)
    for name, shape in {"tokenizer_config.json": TokenizerConfig, **others}.items():
        if (folder / name).is_file():
            _checked(folder / name, read_object(folder / name), shape)


def check_weights(find: Callable[[str], Path | None]) -> None:
    """Check which weights a library will read of a model, whose files are found by name.

    Raises:
        ModelError: when some lie outside of its folder, or in a format that can run code; or it is an adapter as well.
    """
    adapter, index = find("adapter_config.json"), find(INDEX)
    if adapter and adapter.is_file():
        raise ModelError(
            f"{adapter.parent} holds an adapter (adapter_config.json), which would be put on the model without a word. "
            "Move that file away, or name the adapter's base."
        )
    if index and index.is_file():
        _check_index(index)


def _check_index(path: Path) -> None:
    """Raise ModelError when an index names weights that are no safetensors file within its folder."""
    listed = read_object(path).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise ModelError(f'{path}: weight_map is {_shown(listed)}; write {{"name of a weight": "file", …}}.')
    for weight, name in listed.items():
        if not isinstance(name, str) or not name.endswith(".safetensors"):
            raise ModelError(
                f"{path}: {weight[:_MOST_SHOWN]} lies in {_shown(name)}, which is no .safetensors file: other formats "
                "can run code and are not read. Save the model again with safe_serialization."
            )
        place = PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts:
            raise ModelError(f"{path}: {weight[:_MOST_SHOWN]} lies in {_shown(name)}, outside of the model's folder.")


def _checked(path: Path, found: dict[str, Any], shape: type[BaseModel], within: str = "") -> dict[str, Any]:
    """Return `found` when it has the shape; else raise ModelError with a line for each key: what it is, what to write.

    `within` says where in the file `found` stands.
    """
    try:
        shape.model_validate(found)
    except ValidationError as error:
        wrong = dict.fromkeys(str(problem["loc"][0]) for problem in error.errors(include_url=False))
        said = {key: f"is {_shown(found[key])}" if key in found else "is missing" for key in wrong}
        raise ModelError(
            [f"{path}: {within}{key} {said[key]}; write {shape.model_fields[key].description}." for key in wrong]
        ) from None
    return found


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
