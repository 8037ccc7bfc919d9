"""The model card that lies beside an adapter."""

import json
from typing import Any

from tailora import files
from tailora.errors import plain
from tailora.recipe import Recipe, method_title

_LIBRARY = {
    "adapter": "library_name: peft\ntags: [lora, tailora]",
    "full": "library_name: transformers\ntags: [tailora]",
}


def model_card(recipe: Recipe, facts: dict[str, Any]) -> str:
    """Return the README.md of an adapter: what it is, from what it was made, and how it is loaded."""
    fitted, budget = facts["fitted"], facts["tokens"]["train"]
    classifies = recipe.task == "classify"
    learned = f"{budget['rows']:,} rows" + ("" if classifies else f" and {budget['targets']:,} answer tokens")
    return f"""---
base_model: {json.dumps(recipe.model.base, ensure_ascii=False)}
{_LIBRARY["full" if recipe.lora.method == "full" else "adapter"]}
---

# {recipe.name}

{_what(recipe)} for {_inline(recipe.model.base)}, trained with tailora
on {_inline(recipe.data.shown())}: {learned} an epoch,
{fitted["epochs"]} epochs, peak learning rate {facts["lr"]:g}. The weights of epoch
{fitted["best_epoch"]} were kept:
validation loss {fitted["best_val_loss"]:.4f} nats per {"row" if classifies else "token"},
{fitted["first_val_loss"]:.4f} before training.
{_of_base(facts["origin"])}{_label_card(facts["labels"]) if classifies else ""}
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


def _inline(text: str) -> str:
    """Return a name as code in Markdown, on one line and without what would end it."""
    return f"`{' '.join(plain(text).split()).replace('`', chr(39))}`"


def _what(recipe: Recipe) -> str:
    """Name what was trained."""
    if recipe.lora.method == "full":
        return "All weights, trained further without an adapter,"
    return f"A {method_title(recipe.lora)} adapter"


def _of_base(origin: files.Row | None) -> str:
    """Say what a base was made from, where that is known."""
    if origin is None or not origin["dequantized_from"]:
        return ""
    file = f"`{origin['file']}`, SHA-256 {origin['sha256']}"
    return f"\nThe base was dequantized from {origin['dequantized_from']} ({file}).\n"
