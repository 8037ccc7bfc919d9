"""The base models, the plan and the training of a run → lines and tables."""

from pathlib import Path
from typing import TYPE_CHECKING

from tailora import files
from tailora.files import Row
from tailora.model.forecast import Forecast, Plan, gib, time_text
from tailora.recipe import Recipe, method_title

if TYPE_CHECKING:
    from tailora.model.inventory import Listed

PLAN_HEADER = ("stage", "time", "memory", "what")
MODELS_HEADER = ("model.base", "parameters", "on disk", "licence", "here")


def model_table(recipe: Recipe, trained: Row) -> list[tuple[str, str]]:
    """Return what the base is and what was trained on it, as pairs of a name and a text."""
    origin, weights = trained.get("origin") or {}, trained["weights"]
    is_full = recipe.lora.method == "full"
    base = weights["all"] - (0 if is_full else weights["trainable"])
    pairs = [("base", recipe.model.base), ("parameters", f"{base:,}")]
    if origin.get("dequantized_from"):
        made = f"dequantized from {origin['dequantized_from']} ({origin['file']}): quality lies between the two"
        pairs.append(("weights", made))
    if origin.get("licence"):
        pairs.append(("licence", origin["licence"]))
    if recipe.model.quantize:
        pairs.append(("quantized", f"{recipe.model.quantize}, in training and in generation"))
    pairs.append(("method", method_title(recipe.lora)))
    pairs.append(("trainable parameters", trainable_text(weights)))
    return pairs


def usage(recipe: Recipe) -> str:
    """Return the lines of Python that load what was trained, without tailora."""
    kind = "AutoModelForSequenceClassification" if recipe.task == "classify" else "AutoModelForCausalLM"
    folder = f"runs/{recipe.name}/train/adapter"
    if recipe.lora.method == "full":
        return f'from transformers import {kind}\n\nmodel = {kind}.from_pretrained("{folder}")'
    lines = [
        f"from transformers import {kind}, AutoTokenizer",
        "from peft import PeftModel",
        "",
        f'base = {kind}.from_pretrained("<folder or hub id of {recipe.model.base}>")  # `tailora models` lists folders',
        f'model = PeftModel.from_pretrained(base, "{folder}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")',
    ]
    if recipe.task == "classify":
        lines.insert(3, "# num_labels as in the adapter's README.md")
    return "\n".join(lines)


def trainable_text(weights: Row) -> str:
    """Return the trainable parameters out of all."""
    return f"{weights['trainable']:,} / {weights['all']:,} ({weights['trainable'] / weights['all']:.1%})"


def training_lines(run: Path) -> list[str]:
    """Return how training went and what was trained, a line each; the first is the result."""
    facts = files.read_json(run / "train" / "stage.json")
    fitted = facts["fitted"]
    lines = [
        f"validation loss {fitted['first_val_loss']:.3f} → {fitted['best_val_loss']:.3f} "
        f"{loss_unit(facts['recipe']['task'])} ({_best_checkpoint(facts)})",
        f"trainable parameters: {trainable_text(facts['weights'])}; {fitted['steps']:,} steps in "
        f"{time_text(fitted['seconds'])}, {fitted['tokens'] / fitted['seconds']:,.0f} tokens/s",
        f"estimated {time_text(facts['plan']['seconds'])} and {gib(facts['plan']['peak_bytes'])}; "
        f"actual {time_text(fitted['seconds'])} and {gib(fitted['peak_bytes'])}",
    ]
    if fitted["skipped"]:
        lines.append(f"{fitted['skipped']:,} steps skipped: their loss or gradient was not finite")
    return lines


def loss_unit(task: str) -> str:
    """Return what a loss is per: classifiers have one for each row, generators one for each token."""
    return "nats per row" if task == "classify" else "nats per token"


def _best_checkpoint(facts: Row) -> str:
    fitted, allowed = facts["fitted"], facts["recipe"]["train.epochs"]
    best = f"epoch {fitted['best_epoch']} of {fitted['epochs']}" if fitted["best_epoch"] else "the untrained adapter"
    early = f"; stopped early, at most {allowed} epochs" if fitted["epochs"] < allowed else ""
    return f"best checkpoint: {best}{early}"


def plan_cells(plan: Plan) -> list[tuple[str, str, str, str]]:
    """Return a line of cells for each stage of a plan, under `PLAN_HEADER`."""
    train, weights, rows = plan.train, plan.weights, plan.rows
    room = "" if train.limit_bytes is None else f" of {gib(train.limit_bytes)}"
    kept = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    learning = (
        f"trainable parameters {trainable_text(weights)}, {train.tokens_an_epoch:,} tokens per epoch, "
        f"{train.steps:,} steps, {train.tokens_per_second:,.0f} tokens/s, "
        f"validation {time_text(train.validation_seconds)}, trial {time_text(train.trial_seconds)}"
    )
    answering = "upper bound without running programs: base answers at full length, tuned ones as long as references"
    return [
        ("prepare", "done", "", f"rows: {kept}"),
        ("train", _left(plan.train_seconds), f"{gib(train.peak_bytes)}{room}", learning),
        ("evaluate", _left(plan.evaluate_seconds), gib(plan.evaluate_bytes), answering),
        ("report", "a few seconds", "", ""),
    ]


def _left(seconds: float) -> str:
    return f"about {time_text(seconds)}" if seconds else "done"


def model_cells(model: "Listed") -> tuple[str, str, str, str, str]:
    """Return the cells of a base model under `MODELS_HEADER`."""
    parameters = "?" if model.parameters is None else f"{model.parameters / 1e6:,.1f} M"
    here = f"yes, {model.kind}"
    if model.download_bytes is not None:
        here = f"no, {model.download_bytes / 1e6:,.0f} MB to get"
    return model.name, parameters, f"{model.bytes / 1e6:,.0f} MB", model.licence, here


def forecast_line(forecast: Forecast) -> str:
    """Return the estimate of a training's time and memory."""
    limit = forecast.limit_bytes
    available = "available memory unknown" if limit is None else f"{gib(limit)} available"
    pace = f"{forecast.tokens_per_second:,.0f} tokens/s, validation {time_text(forecast.validation_seconds)}"
    return (
        f"estimate: {forecast.steps:,} steps in {time_text(forecast.seconds)} ({pace}), "
        f"peak memory ≤ {gib(forecast.peak_bytes)} (measured on the largest micro-batch; {available})"
    )
