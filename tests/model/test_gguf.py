"""A GGUF file gives the model that was written into it, token by token as llama.cpp reads it, or is refused."""

import importlib.util
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

import tailora.model.gguf
from tailora import files
from tailora.errors import ModelError
from tailora.model.border import ORIGIN
from tailora.model.gguf import convert
from tailora.model.locate import converted_models, locate_base, origin_of
from tests.gguf_files import llama_cpp, toy, write_gguf

has_llama_cpp = pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs xllamacpp")

PIECES = Path(__file__).parents[3] / "shared/models/tokenizers/tinyllama-chat/tokenizer.json"

# A window shorter than the text, bases that are no default, scaled rotary embeddings.
FAMILIES: dict[str, Any] = {
    "llama": (LlamaConfig, {"rope_theta": 50_000.0, "tie_word_embeddings": False}),
    "llama tied": (LlamaConfig, {"rope_theta": 50_000.0, "tie_word_embeddings": True}),
    "llama 3": (
        LlamaConfig,
        {
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
            }
        },
    ),
    "llama linear": (LlamaConfig, {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "mistral": (MistralConfig, {"rope_theta": 1e6, "sliding_window": None}),
    "qwen2": (Qwen2Config, {"rope_theta": 1e6, "tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, {"rope_theta": 1e6, "head_dim": 32, "tie_word_embeddings": False}),
    "gemma2": (
        Gemma2Config,
        {
            "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8, "attn_logit_softcapping": 20.0,
            "final_logit_softcapping": 10.0,
        },
    ),
    "gemma3": (
        Gemma3TextConfig,
        {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8, "num_hidden_layers": 7},
    ),
    "phi3": (Phi3Config, {"rope_theta": 3e4, "sliding_window": None, "tie_word_embeddings": False}),
}  # fmt: skip

TEXTS = [
    "plain words", "  two spaces  before and after ", "line\nbreaks\n\n\nthree", "\ttabs\t\tand\t", 
    "1234567 12.5e-3 007",
    "in the year\n2026", "a  1 b   22", "def f(x):\n    return x**2\n", "don't can't we've I'LL", "Größe naïve café é",
    "日本語のテキスト", "한국어 텍스트", "हिन्दी पाठ", "العربية", "🙂👩‍👩‍👧 emoji", "a\u00a0b\u200bc", 
    "\r\nwindows\r\n", "…—“quotes”",
    "http://example.org/a?b=c&d=1#e", "[]{}()<>|\\/~`!@#$%^&*", " ", "x" * 50,
]  # fmt: skip


def written(name: str, folder: Path, **extra: Any) -> tuple[Any, Path]:
    config, settings = FAMILIES[name]
    model = toy(config, **settings)
    return model, write_gguf(model, folder / "toy.gguf", **extra)


def converted(path: Path) -> Path:
    folder = path.with_suffix(".folder")
    folder.mkdir()
    convert(path, folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_converted_model_has_the_logits_of_its_source(name: str, tmp_path: Path) -> None:
    model, path = written(name, tmp_path)
    again = AutoModelForCausalLM.from_pretrained(converted(path), dtype=torch.float32, attn_implementation="eager")
    tokens = torch.randint(0, 4096, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(again(tokens).logits, model(tokens).logits, atol=1e-3, rtol=1e-3)
    assert not hasattr(again.config, "quantization_config")
    assert type(again) is type(model) or name == "mistral"


@has_llama_cpp
@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_reads_the_same_model_from_that_file(name: str, tmp_path: Path) -> None:
    model, path = written(name, tmp_path)
    tokens = torch.randint(1, 4096, (40,), generator=torch.Generator().manual_seed(0)).tolist()
    with torch.inference_mode():
        ours = model(torch.tensor([tokens])).logits[0, -1].log_softmax(-1)
    with llama_cpp(path) as server:
        theirs = server.next_logprobs(tokens, 20)
    assert max(abs(ours[token].item() - logprob) for token, logprob in theirs.items()) < 0.1


@has_llama_cpp
@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "qwen2", "llama-bpe"])
def test_every_text_has_the_tokens_that_llama_cpp_gives_it(pre: str, tmp_path: Path) -> None:
    _, path = written("llama", tmp_path, pre=pre)
    tokenizer = AutoTokenizer.from_pretrained(converted(path))
    with llama_cpp(path) as server:
        for text in TEXTS:
            assert tokenizer(text, add_special_tokens=False).input_ids == server.tokens(text), (pre, text)


@has_llama_cpp
@pytest.mark.skipif(not PIECES.exists(), reason="needs the shared tokenizers")
@pytest.mark.parametrize(("name", "prefix"), [("phi3", True), ("llama", False)])
def test_every_text_has_the_tokens_of_llama_cpp_with_sentencepiece_too(name: str, prefix: bool, tmp_path: Path) -> None:
    config, settings = FAMILIES[name]
    model = toy(config, vocab_size=32_000, **settings)
    path = write_gguf(model, tmp_path / "toy.gguf", pieces=PIECES, tokenizer__ggml__add_space_prefix=prefix)
    tokenizer = AutoTokenizer.from_pretrained(converted(path))
    with llama_cpp(path) as server:
        for text in TEXTS:
            assert tokenizer(text, add_special_tokens=False).input_ids == server.tokens(text), text
        assert tokenizer("text").input_ids == server.tokens("text", begin=True)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_blocks_are_dequantized_as_the_gguf_library_does_and_it_is_said(kind: str, tmp_path: Path) -> None:
    quantization = gguf.GGMLQuantizationType[kind]
    model, path = written("qwen2", tmp_path, quantization=quantization)
    folder = converted(path)
    weights = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    name = "model.layers.1.mlp.up_proj.weight"
    blocks = gguf.quantize(model.state_dict()[name].numpy(), quantization)
    expected = torch.from_numpy(gguf.dequantize(blocks, quantization)).bfloat16().float()
    torch.testing.assert_close(weights[name], expected, atol=0, rtol=0)
    assert files.read_json(folder / ORIGIN)["dequantized_from"] == kind


def configuration(path: Path) -> Any:
    """Return what a conversion of the file would write as its configuration."""
    file = tailora.model.gguf._open(path)
    tailora.model.gguf._refuse_the_unknown(file)
    return AutoConfig.for_model(**tailora.model.gguf._config(file)).to_dict()


def test_all_that_a_file_says_of_its_model_is_used_or_refused(tmp_path: Path) -> None:
    _, path = written("qwen3", tmp_path)
    said = [key for key in gguf.GGUFReader(path).fields if key.startswith("qwen3.")]
    before, silent = configuration(path), []
    for key in said:
        edit = gguf.GGUFReader(path, "r+")
        held = edit.fields[key].parts[edit.fields[key].data[0]]
        old = held[0]
        held[0] = old * 2
        edit.data.flush()
        try:
            if configuration(path) == before:
                silent.append(key)
        except ModelError:
            pass
        held[0] = old
        edit.data.flush()
    assert len(said) > 10 and silent == ["qwen3.vocab_size"]  # the list of tokens says it


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"llama__expert_count": 8}, "llama.expert_count = 8"),
        ({"llama__attention__scale": 0.5}, "llama.attention.scale = 0.5"),
        ({"llama__rope__scaling__type": "dynamic", "llama__rope__scaling__factor": 2.0}, "'dynamic'"),
        ({"split__count": 2}, "one of 2 parts"),
        ({"general__type": "adapter"}, "'adapter'"),
        ({"pre": "viking"}, "'viking'"),
        ({"pre": "default"}, "'default'"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(extra: dict[str, Any], words: str, tmp_path: Path) -> None:
    _, path = written("llama", tmp_path, **extra)
    with pytest.raises(ModelError, match=r"toy\.gguf") as caught:
        converted(path)
    assert words in str(caught.value)


def test_a_tensor_without_a_place_and_one_that_is_missing_are_named(tmp_path: Path) -> None:
    model = toy(LlamaConfig)
    model.config.num_hidden_layers = 2  # the file says two layers and holds three
    with pytest.raises(ModelError, match=r"blk\.2\."):
        converted(write_gguf(model, tmp_path / "more.gguf"))
    model.config.num_hidden_layers = 4
    with pytest.raises(ModelError, match=r"9 are missing \(model\.layers\.3\."):
        converted(write_gguf(model, tmp_path / "fewer.gguf"))


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_one_paragraph(share: float, tmp_path: Path) -> None:
    _, path = written("llama", tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(5, int(len(whole) * share))])
    with pytest.raises(ModelError, match=r"toy\.gguf.*cannot be read"):
        converted(path)


def test_a_file_is_converted_once_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORA_CACHE", str(tmp_path / "cache"))
    _, path = written("llama", tmp_path)
    first = locate_base(str(path))
    copy = tmp_path / "sha256-0123"  # Ollama's files have no ending
    copy.write_bytes(path.read_bytes())
    assert locate_base(str(copy)) == first
    assert converted_models() == {"toy.gguf": Path(first)}
    origin = origin_of(str(path))
    assert origin is not None and origin["sha256"] == files.sha256(path)


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORA_CACHE", str(tmp_path / "cache"))
    _, path = written("llama", tmp_path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError):
        locate_base(str(path))
    assert [file.name for file in (tmp_path / "cache").rglob("*") if not file.name.endswith(".lock")] == ["gguf"]


def test_the_first_token_is_the_begin_token_where_the_file_says_so(tmp_path: Path) -> None:
    _, path = written("llama", tmp_path)
    edit = gguf.GGUFReader(path, "r+")
    field = edit.fields["tokenizer.ggml.add_bos_token"]
    field.parts[field.data[0]][0] = np.bool_(True)
    edit.data.flush()
    tokenizer = AutoTokenizer.from_pretrained(converted(path))
    assert tokenizer("text").input_ids[0] == tokenizer.bos_token_id
