"""Tasks: how text becomes loss, answers and scores. The one extension point."""

from pathlib import Path

from tailora import files
from tailora.recipe import Recipe
from tailora.tasks.base import Task


def task_for(recipe: Recipe, run: Path) -> Task:
    """Return the task of a recipe, with the tokenizer of its base model; `run` is the folder of its prepared run."""
    from tailora.model.load import load_tokenizer
    from tailora.tasks.classify import Classify
    from tailora.tasks.generate import Generate

    tokenizer = load_tokenizer(recipe.model)
    if recipe.task == "classify":
        labels = files.read_json(run / "prepare" / "labels.json")
        return Classify(recipe, tokenizer, labels["names"], labels["rows"]["train"])
    return Generate(recipe.evaluate, tokenizer)
