"""What travels with the package: the base model, the general text, and questions that the first learns from."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from tailora.data.read import bundled_data
from tailora.model.locate import bundled_models
from tailora.pipeline import evaluate
from tailora.recipe import parse_recipe
from tailora.run import Run

TINY = bundled_models()["tailora-tiny"]
GENERAL = bundled_data()["python_qa"].parents[1] / "general"
LANGUAGES = ("english", "code", "german")


def test_the_base_is_a_small_llama_that_plain_transformers_loads() -> None:
    model = AutoModelForCausalLM.from_pretrained(TINY)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    assert model.config.model_type == "llama"
    assert 4_000 <= len(tokenizer) <= 8_192
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.eos_token_id not in (None, tokenizer.pad_token_id)
    assert sum(file.stat().st_size for file in TINY.iterdir()) <= 32_000_000


def test_its_weights_are_bfloat16_safetensors_and_nothing_else() -> None:
    assert not [file.name for file in TINY.iterdir() if file.suffix in (".bin", ".pt", ".pkl")]
    with safe_open(TINY / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118 — no dict


@pytest.mark.parametrize(
    "text", ["def f(x: int) -> str:\n\treturn 'é' * x  # 3.14\n", "ein Satz über Äpfel 🍎", " \n\n  "]
)
def test_its_tokenizer_loses_nothing(text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_it_has_learned_python() -> None:
    """A model that knows nothing needs log2(4096) = 12 bits a token; ours needs less than half on a plain function."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(TINY), AutoTokenizer.from_pretrained(TINY)
    code = "def count_words(text):\n    counts = {}\n    for word in text.split():\n        counts[word] = counts.get(word, 0) + 1\n    return counts\n"  # noqa: E501 — one text
    tokens = tokenizer(code, return_tensors="pt").input_ids
    with torch.no_grad():
        loss = model(input_ids=tokens, labels=tokens).loss
    assert float(loss) / torch.log(torch.tensor(2.0)) < 6


def test_the_general_text_is_about_sixty_kilobytes_of_three_kinds() -> None:
    size = 0
    for language in LANGUAGES:
        rows = [json.loads(line) for line in (GENERAL / f"{language}.jsonl").read_text("utf-8").splitlines()]
        assert len(rows) >= 5
        assert {row["kind"] for row in rows} == {language}
        size += sum(len(row["text"].encode()) for row in rows)
    assert 54_000 <= size <= 66_000


def test_a_short_training_on_the_bundled_questions_beats_the_base(tmp_path: Path) -> None:
    lines = bundled_data()["python_qa"].read_text("utf-8").splitlines()
    families = sorted({json.loads(line)["family"] for line in lines})[:8]
    source = tmp_path / "some.jsonl"
    source.write_text("\n".join(line for line in lines if json.loads(line)["family"] in families))
    recipe = parse_recipe(
        {
            "name": "short",
            "data": {"source": str(source), "test": 0.15},
            "lora": {"rank": 16},
            "train": {"epochs": 2, "lr": 5e-3, "batch_size": 16, "micro_batch_tokens": 1024},
            "evaluate": {"max_new_tokens": 32, "rows": 32},
        }
    )
    comparison = evaluate(Run.open(recipe, tmp_path / "runs"))
    (bits,) = [m for m in comparison["metrics"] if (m["metric"], m["slice"]) == ("bits per byte", "all")]
    assert bits["verdict"] == "better"
    assert bits["tuned"] < bits["base"] / 2
