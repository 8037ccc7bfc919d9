"""A whole run in one call."""

from pathlib import Path

from tailora.pipeline import evaluate, report
from tailora.recipe import Recipe
from tailora.run import Run


def every_stage(recipe: Recipe, root: Path) -> Path:
    """Prepare, train, evaluate and report in this process; returns the page of the report."""
    run = Run.open(recipe, root)
    with run.lock():
        evaluate(run)
        return report(run)
