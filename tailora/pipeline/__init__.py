"""The story: one file per verb. `run` tells it from beginning to end."""

from pathlib import Path

from tailora.pipeline.evaluate import evaluate
from tailora.pipeline.plan import plan
from tailora.pipeline.prepare import prepare
from tailora.pipeline.report import report
from tailora.pipeline.train import train
from tailora.recipe import Recipe
from tailora.run import RUNS, Run

__all__ = ["evaluate", "plan", "prepare", "report", "run", "train"]


def run(recipe: Recipe, root: Path = RUNS) -> Path:
    """Prepare, train, evaluate and report; finished stages are not done again. Returns the path of the report."""
    with Run.open(recipe, root).lock():
        prepare(recipe, root)
        train(recipe, root)
        evaluate(recipe, root)
        return report(recipe, root)
