"""Every method goes through the same recipe, to the same comparison."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailora.pipeline import evaluate
from tailora.recipe import Recipe
from tailora.run import Run
from tests.rows import read

MakeRecipe = Callable[..., Recipe]


@pytest.mark.parametrize(
    "changes",
    [
        {"lora.method": "dora"},
        {"lora.method": "adalora", "train.epochs": 4, "train.lr": 3e-2},
        {"lora.method": "full", "train.lr": 1e-3},
        {"lora.init": "pissa", "lora.lora_plus_ratio": 2.0},
        {"lora.method": "rslora", "lora.init": "olora"},
        {"lora.last_layers": 1, "train.lr": "auto"},
    ],
    ids=lambda changes: " ".join(f"{key}={value}" for key, value in changes.items()),
)
def test_a_method_trains_and_is_compared_with_the_untouched_base(
    changes: dict[str, Any], make_recipe: MakeRecipe, finished: Path, tmp_path: Path
) -> None:
    comparison = evaluate(Run.open(make_recipe(**changes), tmp_path))
    facts = read(tmp_path / "toy" / "train" / "stage.json")
    assert facts["fitted"]["best_val_loss"] < facts["fitted"]["first_val_loss"]
    base = [row["nats"] for row in read(tmp_path / "toy" / "evaluate" / "base" / "predictions.jsonl")]
    assert base == pytest.approx([row["nats"] for row in read(finished / "evaluate" / "base" / "predictions.jsonl")])
    (entry,) = [m for m in comparison["metrics"] if (m["metric"], m["slice"]) == ("bits per byte", "all")]
    assert entry["tuned"] < entry["base"]
    if changes.get("lora.method") == "adalora":
        assert len(set(facts["ranks"].values())) > 1
    if changes.get("lora.method") == "full":
        assert facts["weights"]["trainable"] == facts["weights"]["all"]
    if "lora.last_layers" in changes:
        assert (
            facts["prefix"]["bytes"] > 0
            and facts["lr"] == read(tmp_path / "toy" / "train" / "rates.json")["test"]["chosen"]
        )
        assert any("not tuned" in note for note in facts["notes"])
