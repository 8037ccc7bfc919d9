"""A GGUF file (llama.cpp, Ollama, LM Studio) → a dense model folder that transformers reads.

transformers knows the names of weights and vocabularies in GGUF files, but what it does not map it leaves out without a
word: scaled rotary embeddings, head sizes, soft caps, pre-tokenizers. So each key and each tensor of a file is used
here, or known to say nothing about what the model computes, or the file is refused.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from tailora import files
from tailora.errors import ModelError
from tailora.model.border import ORIGIN
from tailora.model.fence import fenced, quiet_transformers
from tailora.run import progress

_INSTEAD = "Use the model's folder in the format of transformers."

# GGUF's name of an architecture → transformers' model type and class. Mistral, SmolLM2 and others are "llama" there.
_FAMILIES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    "phi3": ("phi3", "Phi3ForCausalLM"),
}
_CONFIG = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "vocab_size": "vocab_size",
}
# Read by the functions below, or of no consequence for what the model computes.
_READ = {
    "rope.dimension_count", "rope.freq_base", "rope.freq_base_swa", "rope.scaling.type", "rope.scaling.factor",
    "rope.scaling.original_context_length", "rope.scaling.attn_factor", "rope.scaling.finetuned",
    "attention.value_length", "attention.sliding_window_pattern", "tensor_data_layout",
}  # fmt: skip
_LONGEST_LIST = 512  # longer ones are vocabularies; lists of a value for each layer are shorter
_ROPE_TENSORS = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}

# Pre-tokenizers of byte-level vocabularies that split digits one by one and then as GPT-2 does (llama.cpp's list).
_SINGLE_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell"}
# Those that take a word that is in the vocabulary whole, whatever its merges; all but Mistral's begin with BOS.
_WHOLE_WORDS = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "tekken"}
_AS_GPT2 = {"gpt-2", "mpt", "olmo", "jais", "phi-2"}

T = TypeVar("T")
Numbers = NDArray[np.generic]


class _File(NamedTuple):
    """What a GGUF file says of itself; its tensors are read when they are needed."""

    path: Path
    values: dict[str, Any]
    """Its metadata by key: texts, numbers, flags or lists of them; of a long list the length alone. What they
    become is JSON, such as `config.json`."""
    tensors: dict[str, gguf.ReaderTensor]

    @property
    def architecture(self) -> str:
        """GGUF's name of the architecture."""
        return str(self.values["general.architecture"])

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of `<architecture>.<key>`."""
        return self.values.get(f"{self.architecture}.{key}", default)

    def tensor(self, name: str) -> Numbers:
        """Return the values of a tensor, as float32 where it is held in blocks."""
        held = self.tensors[name]
        is_plain = held.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
        values: Numbers = held.data if is_plain else gguf.dequantize(held.data, held.tensor_type)
        return values


def convert(path: Path, folder: Path) -> None:
    """Write the model in the GGUF file `path` into the existing `folder`: configuration, tokenizer, dense weights.

    Weights held in blocks become bfloat16, others keep their type. `origin.json` says what was dequantized.

    Raises:
        ModelError: when the file is damaged, or says something of the model that is not understood here.
    """
    whole = f"Check that it was downloaded whole. Or: {_INSTEAD}"
    with fenced(f"{path}: this GGUF file cannot be read", whole), quiet_transformers():
        file = _open(path)
        _refuse_the_unknown(file)
        settings = _config(file)
        config = AutoConfig.for_model(**settings)
        tokenizer = _tokenizer(file, config)
        _write_weights(file, config, folder)
        config.save_pretrained(folder)
        GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=_end_tokens(file)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        files.write_json(folder / ORIGIN, _origin(file))


def _open(path: Path) -> _File:
    reader = gguf.GGUFReader(path)
    values = {}
    for key, field in reader.fields.items():
        is_long = field.types[0] == gguf.GGUFValueType.ARRAY and len(field.data) > _LONGEST_LIST
        values[key] = len(field.data) if is_long else _short(field.contents())
    return _File(path, values, {tensor.name: tensor for tensor in reader.tensors})


def _short(value: T) -> T | float:
    """Return a number that was stored in float32 as it was written: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _refuse_the_unknown(file: _File) -> None:
    """Raise ModelError naming all that the file says of the model and that is not understood here."""
    if file.architecture not in _FAMILIES:
        raise ModelError(
            f"{file.path}: GGUF files of the architecture {file.architecture!r} are not read; those of "
            f"{', '.join(_FAMILIES)} are (Llama, Mistral, SmolLM, Qwen, Gemma, Phi). {_INSTEAD}"
        )
    parts = file.values.get("split.count", 1)
    if parts > 1:
        raise ModelError(
            f"{file.path} is one of {parts} parts of a model; join them with llama.cpp's `llama-gguf-split --merge`."
        )
    kind = file.values.get("general.type", "model")
    if kind != "model":
        raise ModelError(f"{file.path} holds no language model, but a part of one (general.type is {kind!r}).")
    prefix = f"{file.architecture}."
    said = {key.removeprefix(prefix): value for key, value in file.values.items() if key.startswith(prefix)}
    unknown = [
        f"{prefix}{key} = {value!r}"
        for key, value in said.items()
        if key not in _CONFIG and key not in _READ and value not in (0, 0.0, False)
    ]
    unknown += [f"{prefix}{key} = {said[key]!r}" for key in _CONFIG if isinstance(said.get(key), list)]
    if said.get("attention.value_length", said.get("attention.key_length")) != said.get("attention.key_length"):
        unknown.append("keys and values of different length")
    if unknown:
        raise ModelError(
            f"{file.path}: its description of the model holds what is not understood here, and would be left out: "
            f"{'; '.join(unknown[:8])}. {_INSTEAD}"
        )


def _config(file: _File) -> dict[str, Any]:
    """Return the configuration of transformers for the model in `file`."""
    model_type, class_name = _FAMILIES[file.architecture]
    config = {ours: file.get(theirs) for theirs, ours in _CONFIG.items() if file.get(theirs) is not None}
    heads, width = config["num_attention_heads"], config["hidden_size"]
    config.setdefault("num_key_value_heads", heads)
    head_dim = config.setdefault("head_dim", file.get("rope.dimension_count", width // heads))
    if model_type == "phi3":
        head_dim = config["head_dim"] = width // heads
    if file.architecture not in ("gemma2", "gemma3", "phi3"):
        config.pop("sliding_window", None)  # llama.cpp attends without a window there
    config |= {
        "model_type": model_type,
        "architectures": [class_name],
        "vocab_size": file.values["tokenizer.ggml.tokens"],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "rope_parameters": _rope(file, head_dim),
        "bos_token_id": file.values.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.values.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.values.get("tokenizer.ggml.padding_token_id"),
    }
    if file.architecture.startswith("gemma"):
        config |= _gemma(file, config)
    if model_type == "phi3":
        original = file.get("rope.scaling.original_context_length")
        config |= {"original_max_position_embeddings": original} if original else {}
    return config


def _gemma(file: _File, config: dict[str, Any]) -> dict[str, Any]:
    """Return what Gemma's files leave to the reader: the scale of queries, and which layers see a window alone."""
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    is_27b = layers == (46 if file.architecture == "gemma2" else 62)
    scale = config["hidden_size"] // heads if is_27b else config["head_dim"]  # as in llama.cpp
    pattern = file.get("attention.sliding_window_pattern", 2 if file.architecture == "gemma2" else 6)
    windowed = pattern if isinstance(pattern, list) else [(layer + 1) % pattern != 0 for layer in range(layers)]
    kinds = ["sliding_attention" if is_windowed else "full_attention" for is_windowed in windowed]
    return {"query_pre_attn_scalar": scale, "layer_types": kinds}


def _rope(file: _File, head_dim: int) -> dict[str, Any]:
    """Return the rotary embedding: its base, and how it is scaled, which may stand in values or in tensors."""
    base = file.get("rope.freq_base", 10_000.0)
    rotated = file.get("rope.dimension_count", head_dim)
    kind = file.get("rope.scaling.type", "none")
    factor = file.get("rope.scaling.factor", 1.0)
    original = file.get("rope.scaling.original_context_length")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": base}
    if rotated != head_dim:
        if file.architecture != "phi3":
            raise ModelError(f"{file.path}: {rotated} of {head_dim} dimensions are rotated, which is not supported.")
        rope["partial_rotary_factor"] = rotated / head_dim
    if "rope_freqs.weight" in file.tensors:
        rope |= _llama3(file, base, rotated)
    elif "rope_factors_long.weight" in file.tensors:
        long, short = (file.tensor(f"rope_factors_{name}.weight").tolist() for name in ("long", "short"))
        rope |= {"rope_type": "longrope", "long_factor": long, "short_factor": short}
        rope |= {"original_max_position_embeddings": original, "attention_factor": file.get("rope.scaling.attn_factor")}
    elif kind == "linear" and factor != 1:
        rope |= {"rope_type": "linear", "factor": factor}
    elif kind == "yarn":
        rope |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    elif kind not in ("none", "linear"):
        raise ModelError(f"{file.path}: its rotary embedding is scaled by {kind!r}, which is not understood here.")
    if file.architecture != "gemma3":
        return rope
    local = {"rope_type": "default", "rope_theta": file.get("rope.freq_base_swa", 10_000.0)}
    return {"full_attention": rope, "sliding_attention": local}


def _llama3(file: _File, base: float, rotated: int) -> dict[str, Any]:
    """Return the scaling of Llama 3 whose factors stand in `rope_freqs`; raise ModelError where none gives them.

    The file holds factors by which frequencies are divided; transformers computes them from four numbers, of which
    Llama 3.1 to 3.3 differ in the first alone.
    """
    stored = file.tensor("rope_freqs.weight")
    factor, low, high, original = float(stored.max()), 1.0, 4.0, 8192
    wavelengths = 2 * np.pi * base ** (np.arange(0, rotated, 2) / rotated)
    smooth = (original / wavelengths - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    expected = np.where(wavelengths > original / low, factor, np.where(wavelengths < original / high, 1.0, between))
    if stored.shape != expected.shape or not np.allclose(stored, expected, rtol=1e-3):
        raise ModelError(
            f"{file.path}: the factors of its rotary embedding (rope_freqs) are not those of Llama 3, and would be "
            f"left out. {_INSTEAD}"
        )
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def _tokenizer(file: _File, config: PreTrainedConfig) -> PreTrainedTokenizerFast:
    """Return the tokenizer of `file`, split and begun as the file says."""
    architecture, parts, settings = get_gguf_tokenizer(str(file.path))
    kind, split = parts.get("tokenizer_type"), parts.get("pre_tokenizer_type", "default")
    known = {*GGUF_PRE_TOKENIZER_SPLITS, *_SINGLE_DIGITS, *_AS_GPT2}
    if kind == "gpt2" and split not in known:
        raise ModelError(
            f"{file.path}: its tokenizer splits texts as {split!r} does, which is not known here, so many tokens would "
            f"be wrong. Convert the model again with a current llama.cpp. Or: {_INSTEAD}"
        )
    backend, _ = convert_gguf_tokenizer(architecture, parts)
    if kind == "gpt2" and split in _WHOLE_WORDS:
        backend.model.ignore_merges = True
        settings.setdefault("add_bos_token", split != "tekken")
    if kind == "gpt2" and split in _SINGLE_DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
        )
    if kind == "llama" and not architecture.startswith("gemma"):
        _begin_with_a_space(backend, adds=parts.get("add_prefix_space", True))
    adds_begin = bool(settings.get("add_bos_token")) and settings.get("bos_token") is not None
    begin = settings["bos_token"] if adds_begin else None
    if begin:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin} $B:1", special_tokens=[(begin, config.bos_token_id)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=config.max_position_embeddings,
        padding_side="left",
        **{name: settings[name] for name in ("bos_token", "eos_token", "unk_token", "pad_token") if settings.get(name)},
        **{name: settings[name] for name in ("chat_template", "add_bos_token") if name in settings},
    )


def _begin_with_a_space(backend: Tokenizer, *, adds: bool) -> None:
    """Let a SentencePiece tokenizer put a space before every text, or not, as the file says; transformers always does.

    It is put there also where the text begins with one, as in SentencePiece and llama.cpp.
    """
    escape = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), escape]) if adds else escape
    backend.pre_tokenizer = None
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if adds else steps)


def _end_tokens(file: _File) -> list[int]:
    """Return the tokens that end an answer: that of a text, and that of a turn where the file names one."""
    keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    return list(dict.fromkeys(file.values[key] for key in keys if key in file.values))


def _write_weights(file: _File, config: PreTrainedConfig, folder: Path) -> None:
    """Write all weights as safetensors; raise ModelError when file and model do not hold the same ones."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    tied = set(model.all_tied_weights_keys) if config.tie_word_embeddings else set()
    processor = TENSOR_PROCESSORS.get(file.architecture, TensorProcessor)(config=config.to_dict())
    names = get_gguf_hf_weights_map(model, processor)
    homeless = [name for name in file.tensors if name not in names and name not in _ROPE_TENSORS]
    weights: dict[str, torch.Tensor] = {}
    with progress("converting", len(file.tensors)) as advance:
        for name in file.tensors:
            if name in names:
                values = processor.process(weights=file.tensor(name), name=name).weights
                weights[names[name]] = _as_stored(values, file.tensors[name].tensor_type)
            advance()
    lacking = [name for name in shapes if name not in weights and name not in tied]
    misfits = [name for name, weight in weights.items() if tuple(weight.shape) != shapes[name]]
    if homeless or lacking or misfits:
        raise ModelError(
            f"{file.path}: its tensors are not those of {config.architectures[0]}: {len(homeless):,} have no place "
            f"({', '.join(homeless[:3])}), {len(lacking):,} are missing ({', '.join(lacking[:3])}), {len(misfits):,} "
            f"have another shape ({', '.join(misfits[:3])}). {_INSTEAD}"
        )
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors leaves it readable by its owner alone
    config.dtype = (
        "bfloat16" if _dequantized_from(file) else str(weights[_largest(weights)].dtype).removeprefix("torch.")
    )


def _largest(weights: dict[str, torch.Tensor]) -> str:
    return max(weights, key=lambda name: weights[name].numel())


def _as_stored(values: Numbers, kind: gguf.GGMLQuantizationType) -> torch.Tensor:
    """Return `values` in the type that the file holds them in; bfloat16 where those were blocks."""
    kinds = {gguf.GGMLQuantizationType.F32: torch.float32, gguf.GGMLQuantizationType.F16: torch.float16}
    return torch.from_numpy(np.array(values, order="C")).to(kinds.get(kind, torch.bfloat16))


def _dequantized_from(file: _File) -> str | None:
    """Return the name of the file's quantization, such as "Q4_K_M"; None where no weight is held in blocks."""
    plain = {gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16}
    blocks = [tensor.tensor_type.name for tensor in file.tensors.values() if tensor.tensor_type not in plain]
    if not blocks:
        return None
    known = {int(kind): kind.name for kind in gguf.LlamaFileType}
    named = known.get(file.values.get("general.file_type", -1), "")
    return re.sub("^MOSTLY_", "", named) or max(set(blocks), key=blocks.count)


def _origin(file: _File) -> dict[str, Any]:
    return {
        "file": file.path.name,
        "sha256": files.sha256(file.path),
        "dequantized_from": _dequantized_from(file),
        "name": file.values.get("general.name"),
        "licence": file.values.get("general.license"),
    }
