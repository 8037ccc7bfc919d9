"""Base and tuned on the same test rows → predictions, scores, paired comparison and a verdict."""

from tailora.data.user_prompts import read_prompts
from tailora.errors import RecipeError
from tailora.evaluation.answering import compare_variants, read_comparison
from tailora.files import Row
from tailora.pipeline.prepare import prepare
from tailora.pipeline.train import train
from tailora.run import Run


def evaluate(run: Run) -> Row:
    """Compare base and tuned on the test split of `run`; returns the content of `<run>/evaluate/comparison.json`.

    Returns at once when that is done, and goes on where it was interrupted; trains first when the run has no adapter.

    Raises:
        RecipeError: when a classifier is given prompts.
        RunError: when the adapter was trained on another base, or the prompts of `evaluate.prompts` have changed.
        Stopped: after SIGINT or SIGTERM, when what was computed so far is saved.
    """
    recipe = run.recipe
    if recipe.task == "classify" and recipe.evaluate.prompts:
        raise RecipeError("evaluate.prompts: a classifier answers no prompts; leave them out.")
    read_prompts(recipe.evaluate.prompts)  # what cannot be asked is said before anything is trained
    train(run)
    if not run.is_done("evaluate"):
        with run.lock():
            prepare(run)
            compare_variants(run, run.folder / "train" / "adapter")
    return read_comparison(run)
