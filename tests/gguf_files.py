"""Toy models as GGUF files, written from transformers' models as llama.cpp's converter does, and asked by llama.cpp."""

import json
import os
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tailora.model.locate import bundled_models

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "phi3": gguf.MODEL_ARCH.PHI3,
}
_VOCABULARY = 4096  # of the bundled tokenizer
_MOST_LAYERS = 8


def toy(config: type, **settings: Any) -> PreTrainedModel:
    """Return a model with random weights of another size than any default, so that a lost key shows."""
    torch.manual_seed(1)
    common = {
        "vocab_size": _VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 3e-5,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": 0.3,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_config(config(**(common | settings)), attn_implementation="eager").eval()
    for name, weight in model.named_parameters():
        if "norm" in name:  # ones and zeros would hide an offset that is lost
            torch.nn.init.normal_(weight.data, weight.data.mean().item(), 0.3)
    for weight in model.parameters():
        weight.data = weight.data.half().float()  # what an F16 file can hold
    return model


def write_gguf(
    model: PreTrainedModel,
    path: Path,
    *,
    pre: str = "gpt-2",
    pieces: Path | None = None,
    quantization: Any = None,
    **extra: Any,
) -> Path:
    """Write `model` as a GGUF file: matrices in F16 or blocks, vectors in F32.

    Its tokenizer is the bundled byte-level one, or that of `pieces`, a tokenizer.json made from SentencePiece.
    """
    config = model.config
    arch = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    _write_shape(writer, config)
    if pieces is None:
        _write_tokenizer(writer, pre)
    else:
        _write_pieces(writer, pieces)
    for key, value in extra.items():
        writer.add_key_value(key.replace("__", "."), value, _type(value))
    names = gguf.get_tensor_name_map(arch, 2 * _MOST_LAYERS)
    tied = config.tie_word_embeddings
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        values = weight.float().numpy()
        if arch == gguf.MODEL_ARCH.LLAMA and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        if config.model_type.startswith("gemma") and "norm" in name:
            values = values + 1
        stem, _, kind = name.rpartition(".")
        _add(writer, f"{names.get_name(stem)}.{kind}", np.ascontiguousarray(values), quantization)
    for name, values in _rope_tensors(config).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, values: np.ndarray, quantization: Any) -> None:
    if values.ndim == 1:
        writer.add_tensor(name, values.astype(np.float32))
    elif quantization is None:
        writer.add_tensor(name, values.astype(np.float16))
    else:
        writer.add_tensor(name, gguf.quantize(values, quantization), raw_dtype=quantization)


def _write_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(width)
    if config.model_type not in ("llama", "mistral", "qwen2", "phi3"):
        writer.add_key_length(width)
        writer.add_value_length(width)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
        if rope["rope_type"] == "yarn":
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if config.model_type.startswith(("gemma", "phi3")) and config.sliding_window:
        writer.add_sliding_window(config.sliding_window)
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, name, None):
            getattr(writer, f"add_{name}")(getattr(config, name))


def _rope_tensors(config: Any) -> dict[str, np.ndarray]:
    """Return the factors of Llama 3 by transformers' own function: how far it slows each frequency."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = config.rope_parameters
    if rope.get("rope_type") != "llama3":
        return {}
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1 / rope["rope_theta"] ** (torch.arange(0, config.head_dim, 2) / config.head_dim)
    return {"rope_freqs.weight": (plain / scaled).float().numpy()}


def _write_tokenizer(writer: gguf.GGUFWriter, pre: str) -> None:
    held = json.loads((bundled_models()["tailora-tiny"] / "tokenizer.json").read_text("utf-8"))
    vocabulary = {**held["model"]["vocab"], **{token["content"]: token["id"] for token in held["added_tokens"]}}
    special = {token["id"] for token in held["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in held["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))]
    )
    writer.add_token_merges(merges)
    tokenizer = AutoTokenizer.from_pretrained(bundled_models()["tailora-tiny"])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)


def _write_pieces(writer: gguf.GGUFWriter, path: Path) -> None:
    held = json.loads(path.read_text("utf-8"))
    tokens = sorted(held["model"]["vocab"], key=held["model"]["vocab"].__getitem__)
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in held["model"]["merges"]]
    scores = {"".join(merge): -float(rank) for rank, merge in reversed(list(enumerate(merges)))}
    kinds = {"<unk>": gguf.TokenType.UNKNOWN, "<s>": gguf.TokenType.CONTROL, "</s>": gguf.TokenType.CONTROL}
    kinds |= {f"<0x{byte:02X}>": gguf.TokenType.BYTE for byte in range(256)}
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([scores.get(token, -1e6) for token in tokens])
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_bos_token_id(tokens.index("<s>"))
    writer.add_eos_token_id(tokens.index("</s>"))
    writer.add_unk_token_id(tokens.index("<unk>"))


def _type(value: Any) -> gguf.GGUFValueType:
    return gguf.GGUFValueType.get_type(value)


class LlamaCpp:
    """llama.cpp's own server over a GGUF file, on a port of this machine."""

    def __init__(self, path: Path, context: int) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup = context, 1, False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
        self._server = xllamacpp.Server(params)
        self._address = self._server.listening_address

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self._address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def tokens(self, text: str, *, begin: bool = False, special: bool = False) -> list[int]:
        """Return the tokens of a text, after the begin token with `begin`; special tokens count with `special`."""
        body = {"content": text, "add_special": begin, "parse_special": special}
        return list(self._ask("/tokenize", body)["tokens"])

    def templated(self, turns: list[dict[str, str]]) -> str:
        """Return the turns as the file's own chat template renders them, up to where the answer begins."""
        return str(self._ask("/apply-template", {"messages": turns})["prompt"])

    def next_logprobs(self, tokens: Sequence[int], most: int) -> dict[int, float]:
        """Return log p of the `most` likeliest next tokens after `tokens`."""
        body = {"prompt": list(tokens), "n_predict": 1, "n_probs": most, "temperature": 0, "cache_prompt": True}
        answer = self._ask("/completion", body)
        return {entry["id"]: entry["logprob"] for entry in answer["completion_probabilities"][0]["top_logprobs"]}


@contextmanager
def llama_cpp(path: Path, context: int = 256) -> Iterator[LlamaCpp]:
    server = LlamaCpp(path, context)
    try:
        yield server
    finally:
        del server
