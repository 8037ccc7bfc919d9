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
        pairs.append(("held in", f"{recipe.model.quantize}, while training and while answering"))
    pairs.append(("method", method_title(recipe.lora)))
    pairs.append(("trained weights", f"{weights['trainable']:,} ({weights['trainable'] / weights['all']:.2%} of all)"))
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


def training_lines(run: Path) -> list[str]:
    """Return what was trained and how it went, a line each."""
    facts = files.read_json(run / "train" / "stage.json")
    fitted, weights = facts["fitted"], facts["weights"]
    epochs = fitted["epochs"]
    kept = (
        f"epoch {fitted['best_epoch']} of {epochs}" if fitted["best_epoch"] else "before training: no epoch was better"
    )
    if epochs < facts["recipe"]["train.epochs"]:
        kept += f"; stopped early, {facts['recipe']['train.epochs']} epochs were allowed"
    lines = [
        f"{weights['trainable']:,} of {weights['all']:,} weights trained ({weights['trainable'] / weights['all']:.1%}) "
        f"in {fitted['steps']:,} steps and {fitted['seconds']:,.0f} s, "
        f"{fitted['tokens'] / fitted['seconds']:,.0f} tokens/s",
        f"validation loss {fitted['first_val_loss']:.3f} → {fitted['best_val_loss']:.3f} nats per "
        f"{'row' if facts['recipe']['task'] == 'classify' else 'token'} (kept: {kept})",
    ]
    planned = facts["plan"]
    lines.append(
        f"planned {time_text(planned['seconds'])} and {gib(planned['peak_bytes'])}, "
        f"used {time_text(fitted['seconds'])} and {gib(fitted['peak_bytes'])}"
    )
    if fitted["skipped"]:
        lines.append(f"{fitted['skipped']:,} steps were skipped: their loss or gradient was not finite")
    return lines


def plan_cells(plan: Plan) -> list[tuple[str, str, str, str]]:
    """Return a line of cells for each stage of a plan, under `PLAN_HEADER`."""
    train, weights, rows = plan.train, plan.weights, plan.rows
    room = "" if train.limit_bytes is None else f" of {gib(train.limit_bytes)}"
    kept = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    learning = (
        f"{weights['trainable']:,} of {weights['all']:,} weights ({weights['trainable'] / weights['all']:.2%}), "
        f"{train.tokens_an_epoch:,} tokens an epoch, {train.steps:,} steps, {train.tokens_per_second:,.0f} tokens/s, "
        f"validation {time_text(train.validation_seconds)}, trial {time_text(train.trial_seconds)}"
    )
    answering = "at most, and the programs of answers: base answers in full length, tuned as long as the references"
    return [
        ("prepare", "done", "", f"rows: {kept}"),
        ("train", _left(plan.train_seconds), f"{gib(train.peak_bytes)}{room}", learning),
        ("evaluate", _left(plan.evaluate_seconds), gib(plan.evaluate_bytes), answering),
        ("report", "not measured", "", "some seconds"),
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


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return what is foretold, a line for memory and one for time."""
    limit = forecast.limit_bytes
    room = "how much there is, the system does not say" if limit is None else f"{gib(limit)} may be held"
    return [
        f"plan: {forecast.steps:,} steps in about {time_text(forecast.seconds)} ({forecast.tokens_per_second:,.0f} "
        f"tokens/s; validation is {time_text(forecast.validation_seconds)} of it)",
        f"plan: peak memory at most {gib(forecast.peak_bytes)}, measured on the largest pass; {room}",
    ]
