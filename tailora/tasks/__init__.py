"""Tasks: how text becomes loss, answers and scores. The one extension point."""

import datetime
from pathlib import Path

from tailora import files
from tailora.files import Row
from tailora.recipe import Recipe
from tailora.run import day_of
from tailora.tasks.base import Task


def task_for(recipe: Recipe, run: Path) -> Task:
    """Return the task of a recipe, with the tokenizer of its base model; `run` is the folder of its prepared run."""
    return make_task(recipe, read_labels(recipe, run), day_of(run))


def read_labels(recipe: Recipe, run: Path) -> Row | None:
    """Return the classes of a prepared run and their rows; None for a task without classes."""
    return files.read_json(run / "prepare" / "labels.json") if recipe.task == "classify" else None


def make_task(recipe: Recipe, labels: Row | None, day: datetime.date | None = None) -> Task:
    """Return the task of a recipe, whose classes `read_labels` has returned; chat templates show `day`."""
    from tailora.model.load import load_tokenizer
    from tailora.tasks.classify import Classify
    from tailora.tasks.generate import Generate

    tokenizer = load_tokenizer(recipe.model)
    if labels is not None:
        return Classify(recipe, tokenizer, labels["names"], labels["rows"]["train"])
    return Generate(recipe.evaluate, tokenizer, day)
