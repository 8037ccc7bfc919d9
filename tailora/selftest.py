"""Does it work on this machine? Every verb, for both tasks, on a toy model and a few dozen rows, offline."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tailora import files
from tailora.errors import RunError
from tailora.files import Row
from tailora.pipeline.evaluate import evaluate
from tailora.pipeline.prepare import prepare
from tailora.pipeline.report import report
from tailora.pipeline.train import train
from tailora.present.comparison import verdict_line
from tailora.present.format import format_value
from tailora.recipe import Recipe, parse_recipe
from tailora.run import Run

_WORDS = {
    "animals": ["otter", "heron", "badger", "lizard", "falcon", "beetle"],
    "weather": ["thunder", "drizzle", "frost", "breeze", "hail", "fog"],
    "tools": ["hammer", "chisel", "spanner", "pliers", "ladder", "anvil"],
    "food": ["bread", "lentils", "cheese", "carrot", "honey", "walnut"],
}
_ROWS = 96


def selftest(folder: Path) -> Iterator[tuple[str, str]]:
    """Run both tasks from rows to report below `folder`; yields a name and what came out, a pair for each step.

    Raises:
        RunError: when a step leaves nothing behind, or a model does not learn what a toy can learn.
    """
    base = _save_toy(folder / "toy")
    for task, rows in (("generate", _questions()), ("classify", _sentences())):
        source = folder / f"{task}.jsonl"
        files.write_jsonl(source, rows)
        yield from _run(_recipe(task, source, base), folder / "runs")


def _run(recipe: Recipe, root: Path) -> Iterator[tuple[str, str]]:
    started = time.monotonic()
    run = Run.open(recipe, root)
    prepare(run)
    train(run)
    comparison = evaluate(run)
    page = report(run)
    for made in (page, run.folder / "train" / "adapter" / "adapter_model.safetensors"):
        if not made.is_file() or not made.stat().st_size:
            raise RunError(f"the self-test of {recipe.task} left no {made.name}; tailora does not work here.")
    first = verdict_line(comparison)
    if comparison["verdict"] != "better":
        raise RunError(f"the self-test of {recipe.task} learned nothing: {first}; tailora does not work here.")
    yield recipe.task, first
    for entry in comparison["metrics"]:
        if entry["by"] == "all":
            base, tuned = (format_value(entry, entry[side]) for side in ("base", "tuned"))
            yield recipe.task, f"{entry['metric']}: base {base}, tuned {tuned}"
    yield recipe.task, f"prepare, train, evaluate and report took {time.monotonic() - started:.0f} s"


def _recipe(task: str, source: Path, base: Path) -> Recipe:
    return parse_recipe(
        {
            "name": f"selftest-{task}",
            "task": task,
            "data": {"source": str(source), "val": 0.2, "test": 0.35},
            "model": {"base": str(base), "dtype": "float32"},
            "lora": {"rank": 4},
            "train": {"epochs": 12, "lr": 1e-2, "batch_size": 8},
            "evaluate": {"max_new_tokens": 8},
        },
        "selftest",
    )


def _questions() -> list[Row]:
    return [{"question": f"Which number follows {i}?", "answer": f"The number {i + 1} follows."} for i in range(_ROWS)]


def _sentences() -> list[Row]:
    numbers, rows = random.Random(0), []
    for i in range(_ROWS):
        label = list(_WORDS)[i % len(_WORDS)]
        one, other, third = numbers.sample(_WORDS[label], 3)
        rows.append({"text": f"{one}, {other} and {third}, number {i}", "label": label})
    return rows


def _save_toy(folder: Path) -> Path:
    """Write a two-layer model with random weights and the bundled tokenizer as a transformers folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tailora import recipe
    from tailora.model.fence import quiet_transformers
    from tailora.model.load import load_tokenizer

    tokenizer = load_tokenizer(recipe.Model())
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    torch.manual_seed(0)
    config = LlamaConfig(
        **sizes,
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with quiet_transformers():
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
