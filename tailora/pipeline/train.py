"""Examples → adapter."""

from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from tailora import files, machine
from tailora.errors import ModelError, RunError
from tailora.pipeline.prepare import prepare
from tailora.pipeline.words import budget_lines
from tailora.recipe import Recipe
from tailora.recipe import Train as TrainSettings
from tailora.run import RUNS, Run, Stage, tell
from tailora.text.prompts import Sample
from tailora.text.split import Splits
from tailora.track import check_trackers, trackers

# The splits that decide what training makes of a recipe.
_LEARNED = ("train", "val")


def train(recipe: Recipe, root: Path = RUNS) -> Run:
    """Fine-tune the base model of `recipe` with LoRA; the adapter lands in `<run>/train/adapter/`.

    Returns at once when that is done, and goes on from the newest checkpoint when it was interrupted.

    Raises:
        ModelError: when the base model cannot be loaded.
        RunError: when no row fits the model, losses are not finite, the interrupted training was made from other
            values, or another process works on the run.
        Stopped: after SIGINT or SIGTERM, when what was learned so far is saved.
    """
    from tailora.model.load import locate_base

    run = Run.open(recipe, root)
    if run.is_done("train"):
        return run
    with run.lock():
        locate_base(recipe.model.base)
        check_trackers(recipe.train.trackers)
        splits = prepare(recipe, root)
        with run.stage("train", resume=True) as stage:
            _train(run, splits, stage)
        files.remove_folder(run.folder / "train" / "checkpoints")  # only now: killed before, they are still needed
    return run


def _train(run: Run, splits: Splits, stage: Stage) -> None:
    from tailora.model import checkpoint, load
    from tailora.model.fit import fit
    from tailora.model.lora import adalora_ranks, add_lora, count_weights
    from tailora.model.losses import recompute_activations
    from tailora.model.targets import stacked_experts
    from tailora.tasks import task_for

    recipe = run.recipe
    stage.made_from |= {f"{name} rows": files.sha256(run.folder / "prepare" / f"{name}.jsonl") for name in _LEARNED}
    checkpoint.newest(stage)  # one that cannot be continued is refused before the model is loaded
    machine.keep_freed_memory()
    task = task_for(recipe, run.folder)
    tokenizer = task.prompts.tokenizer
    model = task.load(recipe.model)
    base = load.base_fingerprint(model)
    longest = task.longest(model, recipe.model)
    fitting = {name: task.fit(getattr(splits, name), longest, name) for name in _LEARNED}
    train_samples, val_samples = (part.samples for part in fitting.values())
    _refuse_strange_tokens(train_samples, model)
    budgets = {name: asdict(part.budget) for name, part in fitting.items()}
    for line in budget_lines(budgets, task.prompts.remarks(), recipe.task):
        tell("train", line)
    model = add_lora(model, recipe.lora, recipe.train.seed)
    if recipe.lora.method != "full" and (experts := stacked_experts(model)):
        stage.say(f"{experts:,} weights of experts lie in stacks, which are no linear layers: they get no adapter")
    load.freeze_dtype(model, recipe.model)
    path = task.choose_path(model, recipe.train)
    if path.why:
        stage.say(f"losses on the {path.name} path: {path.why}")
    if path.pads:
        load.choose_attention(model, max(len(sample.tokens) for sample in train_samples))
    if recipe.train.recompute:
        recompute_activations(model)
    if recipe.lora.top_layers and recipe.task == "generate":
        _keep_prefix(model, [*train_samples, *val_samples], stage)
    stage.facts |= {
        "device": machine.device(),
        "fingerprints": {"base": base, "prompts": task.prompts.fingerprint()},
        "weights": count_weights(model),
        "path": path._asdict(),
        "tokens": budgets,
        "remarks": task.prompts.remarks(),
    }
    if recipe.task == "classify":
        stage.facts |= {"labels": task.prompts.names, "head": model.tailora_head, "untrained": model.tailora_untrained}
    stage.made_from |= stage.facts["fingerprints"]
    _save_adapter(model, tokenizer, stage)  # what cannot be saved fails now, not in the end
    ids = [row["id"] for row in fitting["train"].rows]
    with trackers(recipe.train.trackers, recipe.name, stage.folder, recipe.keys()) as stage.listeners:
        settings = _with_rate(model, train_samples, task.loss, recipe.train, stage)
        fitted = fit(model, train_samples, val_samples, task.loss, settings, stage, ids)
    stage.facts |= {"fitted": asdict(fitted), "lr": settings.lr}
    if ranks := adalora_ranks(model):
        stage.facts["ranks"] = ranks
        tell(
            "train",
            f"ranks: {min(ranks.values())} to {max(ranks.values())} by layer, {mean(ranks.values()):.1f} on average",
        )
    files.write_jsonl(stage.folder / "lengths.jsonl", map(_length, train_samples))
    _save_adapter(model, tokenizer, stage)
    files.write_text(stage.folder / "adapter" / "README.md", _model_card(recipe, stage.facts))


def _length(sample: Sample) -> files.Row:
    answer = sample.targets if sample.label is None else 0  # a label is no token
    return {"prompt": len(sample.tokens) - answer, "answer": answer}


def _save_adapter(model: Any, tokenizer: Any, stage: Stage) -> None:
    from safetensors import SafetensorError

    from tailora.model.lora import save_adapter

    folder = stage.folder / "adapter"
    try:
        save_adapter(model, folder)
    except SafetensorError as error:
        raise RunError(f"{folder}: the adapter cannot be saved: {error}. What was saved before is whole.") from error
    tokenizer.save_pretrained(folder)
    labels = {"labels": stage.facts["labels"]} if "labels" in stage.facts else {}
    files.write_json(folder / "tailora.json", stage.facts["fingerprints"] | labels)


def _keep_prefix(model: Any, samples: list[Sample], stage: Stage) -> None:
    from tailora.model.prefix import keep_prefix

    kept = keep_prefix(model, samples, stage.folder)
    stage.facts["prefix"] = kept._asdict()
    stage.say(kept.line())


def _with_rate(model: Any, samples: list[Sample], loss: Any, settings: TrainSettings, stage: Stage) -> TrainSettings:
    """Return `settings` with a number as rate; one that is chosen by a test is chosen once, also when interrupted."""
    from tailora.model.rates import RangeTest, find_rate

    if settings.lr != "auto":
        return settings
    record = stage.folder / "rates.json"
    found = files.read_json(record) if record.exists() else {}
    if found.get("made_from") == stage.made_from:
        test = RangeTest(**found["test"])
    else:
        test = find_rate(model, samples, loss, settings)
        files.write_json(record, {"made_from": stage.made_from, "test": test._asdict()})
    stage.say(test.line())
    return settings.model_copy(update={"lr": test.chosen})


def _refuse_strange_tokens(samples: list[Sample], model: Any) -> None:
    """Raise ModelError when the tokenizer writes tokens that the model has no embedding for."""
    known = model.get_input_embeddings().weight.shape[0]
    largest = max(max(sample.tokens) for sample in samples)
    if largest >= known:
        raise ModelError(
            f"the tokenizer writes token {largest}, but the model has embeddings for {known} only: they do not belong "
            "together. Use the tokenizer that came with the model."
        )


def _model_card(recipe: Recipe, facts: dict[str, Any]) -> str:
    fitted, budget = facts["fitted"], facts["tokens"]["train"]
    classifies = recipe.task == "classify"
    learned = f"{budget['rows']:,} rows" + ("" if classifies else f" and {budget['targets']:,} answer tokens")
    return f"""---
base_model: {recipe.model.base}
library_name: peft
tags: [lora, tailora]
---

# {recipe.name}

{_what(recipe)} for `{recipe.model.base}`, trained with tailora
on `{recipe.data.shown()}`: {learned} an epoch,
{fitted["epochs"]} epochs, peak learning rate {facts["lr"]:g}. The weights of epoch
{fitted["best_epoch"]} were kept:
validation loss {fitted["best_val_loss"]:.4f} nats per {"row" if classifies else "token"},
{fitted["first_val_loss"]:.4f} before training.
{_label_card(facts["labels"]) if classifies else ""}
`tailora.json` holds fingerprints of the base weights and of template and tokenizer, which belong to this adapter.
How it compares with its base stands in the run's report.
"""


def _label_card(labels: list[str]) -> str:
    """Say how the classifier is loaded without tailora."""
    return f"""
The trained head is saved with the adapter. Its labels, in order, are `labels` in `tailora.json`:

    base = AutoModelForSequenceClassification.from_pretrained("<base>", num_labels={len(labels)})
    base.config.pad_token_id = tokenizer.pad_token_id
    model = PeftModel.from_pretrained(base, "<this folder>")
"""


def _what(recipe: Recipe) -> str:
    """Name what was trained."""
    lora, names = recipe.lora, {"lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "adalora": "AdaLoRA"}
    if lora.method == "full":
        return "All weights, trained further without an adapter,"
    begun = "" if lora.init == "zero" else f", begun as {lora.init} and saved at twice the rank"
    return f"A {names[lora.method]} adapter (rank {lora.rank}, alpha {lora.alpha:g}{begun})"
