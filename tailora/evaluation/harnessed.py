"""Base and tuned on tasks of lm-evaluation-harness → predictions, scores, paired comparison and a verdict."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailora import files, machine
from tailora.errors import RecipeError
from tailora.evaluation.compare import compare, scores
from tailora.evaluation.journal import Journal, journal
from tailora.evaluation.variants import BASE, TUNED, Variants, load_variants
from tailora.files import Row, RowFile, fingerprint
from tailora.run import Run, Stage, tell
from tailora.tasks.base import with_primary
from tailora.tasks.harness import Harness
from tailora.tasks.harness_requests import Asked
from tailora.text.chat import Sample

if TYPE_CHECKING:
    from tailora.model.decode import Limits
    from tailora.tasks.generate import Reading


def compare_on_harness(run: Run, adapter: Path, harness: Harness, stage: Stage) -> Row:
    """Let the harness ask the base of `run` and the same with `adapter` the prepared rows; fills the folder of `stage`.

    Returns the comparison of base and tuned.

    Raises:
        RecipeError: when `evaluate.primary` is no metric of these tasks.
    """
    settings = run.recipe.evaluate
    _check_primary(settings.primary, harness)
    stage.made_from["lm_eval"] = machine.version("lm_eval")
    all_rows = RowFile.open(run.folder / "prepare" / "test.jsonl")
    rows = list(all_rows[: settings.rows])
    variants = load_variants(run, adapter, stage, own_metrics=False)
    with journal(stage) as pages:
        tuned, cut = _ask(harness, rows, variants, TUNED, pages)
        with variants.model.disable_adapter():
            base, _ = _ask(harness, rows, variants, BASE, pages)
    scored = {BASE: harness.score(rows, base), TUNED: harness.score(rows, tuned)}
    metrics = with_primary(harness.metrics(scored[BASE], scored[TUNED], base, tuned), settings.primary)
    predictions = {}
    for name, found in ((BASE, base), (TUNED, tuned)):
        predictions[name] = predicted = harness.predictions(rows, found, scored[name])
        files.write_jsonl(stage.folder / name / "predictions.jsonl", predicted)
        own = {"lm_eval": _finite(found["results"])}  # its own aggregates, also of what cannot be paired
        files.write_json(stage.folder / name / "scores.json", scores(metrics, predicted) | own)
    return compare(metrics, predictions[BASE], predictions[TUNED]) | {
        "forgetting": [],
        "sandbox": "limits",
        "harness": {"source": str(harness), "version": machine.version("lm_eval"), **vars(cut)},
        "not_asked": len(all_rows) - len(rows),
    }


def _check_primary(primary: str | None, harness: Harness) -> None:
    if primary is not None and not primary.startswith(tuple(f"{name} " for name in harness.shown())):
        raise RecipeError(
            f'evaluate.primary: "{primary}" is no metric of {harness}; name task and metric, such as '
            f'"{harness.shown()[0]} acc".'
        )


def _ask(harness: Harness, rows: Sequence[Row], variants: Variants, variant: str, pages: Journal) -> tuple[Any, Any]:
    """Let the harness ask the model as it is now; what `pages` know is not asked again."""
    from tailora.model.decode import Limits

    tell("evaluate", f"the harness asks {variant}")
    settings = variants.recipe.evaluate
    limits = Limits(settings.max_new_tokens, variants.longest, settings.batch_size)
    asked = Asked(partial(_weigh, variants, variant, pages), partial(_answer, variants, variant, pages))
    return harness.ask(rows, variants.model, variants.task.prompts.tokenizer, limits, asked)


def _weigh(variants: Variants, variant: str, pages: Journal, samples: list[Sample]) -> list["Reading"]:
    asked = fingerprint(*(f"{sample.tokens} {sample.learned}" for sample in samples))
    return variants.readings(f"{variant} {asked}", samples, pages)


def _answer(
    variants: Variants, variant: str, pages: Journal, prompts: list[list[int]], limits: "Limits", stops: list[str]
) -> list[str]:
    asked = fingerprint(*map(str, prompts), str(limits), str(stops))
    return [answer.text for answer in variants.answers(f"{variant} {asked}", prompts, limits, pages, stops)]


def _finite(results: Any) -> Any:
    return {
        task: {name: value for name, value in found.items() if isinstance(value, float | int) and math.isfinite(value)}
        for task, found in results.items()
    }
