"""`tailora plan` measures and trains nothing; what it says stands beside what training then used."""

import json
from collections.abc import Callable
from pathlib import Path

from tailora.pipeline import plan, train
from tailora.present.training import plan_cells, training_lines
from tailora.recipe import Recipe, describe_recipe
from tailora.run import Run
from tests.processes import start_tailora

MakeRecipe = Callable[..., Recipe]


def test_a_plan_leaves_nothing_but_prepared_data_and_counts_as_training_does(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    asked = make_recipe()
    planned = plan(Run.open(asked, tmp_path))
    assert {path.name for path in (tmp_path / "toy").iterdir() if path.is_dir()} == {"prepare"}
    assert planned.train_seconds > planned.train.seconds > 0 < planned.evaluate_seconds
    cells = {stage: cells for stage, *cells in plan_cells(planned)}
    assert list(cells) == ["prepare", "train", "evaluate", "report"]

    train(Run.open(asked, tmp_path))
    facts = json.loads((tmp_path / "toy" / "train" / "stage.json").read_text())
    assert facts["plan"]["steps"] == facts["fitted"]["steps"] == planned.train.steps
    assert facts["plan"]["tokens_an_epoch"] == facts["tokens"]["train"]["tokens"] == planned.train.tokens_an_epoch
    assert {name: facts["weights"][name] for name in ("trainable", "all")} == planned.weights
    assert any(line.startswith("estimated ") for line in training_lines(tmp_path / "toy"))
    assert plan(Run.open(asked, tmp_path)).train_seconds == 0  # of what is done, nothing is left to do


def test_the_command_refuses_what_does_not_fit_with_numbers_and_keys(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(describe_recipe(make_recipe()))
    said = {}
    for name, words in {"fits": (), "does not": ("train.memory_mb=20",)}.items():
        line = ("plan", str(tmp_path / "toy.toml"), "--runs", str(tmp_path), *words)
        process = start_tailora(*line, output=tmp_path / name)
        process.join(60)
        said[process.exitcode] = (tmp_path / name).read_text()
    assert "steps" in said[0] and "GiB" in said[0]
    assert "error: training would need" in said[2] and "0.02 GiB may be held" in said[2]
    assert "Traceback" not in said[2]
