"""Examples → adapter."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tailora import files, machine
from tailora.errors import RunError
from tailora.files import Row
from tailora.pipeline.prepare import prepare
from tailora.recipe import Recipe
from tailora.run import RUNS, Run
from tailora.text.prompts import Sample


def train(recipe: Recipe, root: Path = RUNS) -> Run:
    """Fine-tune the base model of `recipe` with LoRA; the adapter lands in `<run>/train/adapter/`.

    Returns at once when that is done.

    Raises:
        ModelError: when the base model cannot be loaded.
        RunError: when no row fits the model, or a loss is not finite.
    """
    from tailora.model.load import locate_base

    run = Run.open(recipe, root)
    if run.is_done("train"):
        return run
    locate_base(recipe.model.base)
    splits = prepare(recipe, root)

    from tailora.model import load
    from tailora.model.fit import fit
    from tailora.model.lora import add_lora, save_adapter, trainable
    from tailora.tasks.generate import Generate

    tokenizer = load.load_tokenizer(recipe.model)
    task = Generate(recipe.evaluate, tokenizer)
    model = load.load_base(recipe.model)
    base = load.base_fingerprint(model)
    longest = load.longest_input(model, recipe.model)
    encoded = [task.encode(row) for row in splits.train]
    train_samples, train_budget = within(encoded, longest, "train")
    val_samples, val_budget = within([task.encode(row) for row in splits.val], longest, "val")
    load.choose_attention(model, max(len(sample.tokens) for sample in train_samples))
    model = add_lora(model, recipe.lora, recipe.train.seed)
    load.freeze_dtype(model, recipe.model)
    weights = {
        "trainable": sum(w.numel() for w in trainable(model).values()),
        "all": sum(w.numel() for w in model.parameters()),
    }
    with run.stage("train") as stage:
        fitted = fit(model, train_samples, val_samples, task.loss, recipe.train, stage)
        stage.facts |= {
            "device": machine.device(),
            "fingerprints": {"base": base, "prompts": task.prompts.fingerprint()},
            "weights": weights,
            "tokens": {"train": train_budget, "val": val_budget, "max_length": longest},
            "fitted": asdict(fitted),
        }
        lengths = ({"prompt": sample.answer_start, "answer": sample.targets} for sample in encoded)
        files.write_jsonl(stage.folder / "lengths.jsonl", lengths)
        save_adapter(model, stage.folder / "adapter")
        tokenizer.save_pretrained(stage.folder / "adapter")
        files.write_json(stage.folder / "adapter" / "tailora.json", stage.facts["fingerprints"])
        files.write_text(stage.folder / "adapter" / "README.md", _model_card(recipe, stage.facts))
    return run


def within(samples: list[Sample], longest: int, name: str) -> tuple[list[Sample], Row]:
    """Return the samples of at most `longest` tokens, and the counts of what was kept, learned and left out.

    Raises:
        RunError: when none fits; says how long the shortest is.
    """
    kept = [sample for sample in samples if len(sample.tokens) <= longest]
    if not kept:
        shortest = min(len(sample.tokens) for sample in samples)
        raise RunError(
            f"0 of {len(samples)} {name} rows fit into max_length = {longest} tokens; the shortest has {shortest}. "
            "Raise model.max_length, or choose a base model with a longer context."
        )
    return kept, {
        "rows": len(kept),
        "too_long": len(samples) - len(kept),
        "longest": max(len(sample.tokens) for sample in samples),
        "tokens": sum(len(sample.tokens) for sample in kept),
        "targets": sum(sample.targets for sample in kept),
    }


def _model_card(recipe: Recipe, facts: dict[str, Any]) -> str:
    fitted, budget = facts["fitted"], facts["tokens"]["train"]
    return f"""---
base_model: {recipe.model.base}
library_name: peft
tags: [lora, tailora]
---

# {recipe.name}

A LoRA adapter (rank {recipe.lora.rank}, alpha {recipe.lora.alpha:g}) for `{recipe.model.base}`, trained with tailora
on `{recipe.data.source}`: {budget["rows"]:,} rows and {budget["targets"]:,} answer tokens an epoch,
{recipe.train.epochs} epochs, peak learning rate {recipe.train.lr:g}. The weights of epoch
{fitted["best_epoch"]} were kept: validation loss {fitted["best_val_loss"]:.4f} nats per token,
{fitted["first_val_loss"]:.4f} before training.

`tailora.json` holds fingerprints of the base weights and of template and tokenizer, which belong to this adapter.
How it compares with its base stands in the run's report.
"""


def check_fingerprints(run: Run, base: str, prompts: str) -> None:
    """Raise RunError when an adapter meets another base or another template than it was trained with."""
    made = run.facts("train")["fingerprints"]
    for what, now in {"base": base, "prompts": prompts}.items():
        if made[what] != now:
            raise RunError(
                f"{run.folder}: the adapter was trained with another {'base model' if what == 'base' else 'template'} "
                f"({made[what]}, now {now}). Train again with --fresh, or restore the base it was trained on."
            )
