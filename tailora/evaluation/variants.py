"""Base and tuned as one loaded model, its adapter on and off, asked batch by batch into a journal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailora import machine
from tailora.data.read import locate_source
from tailora.errors import RunError
from tailora.evaluation.journal import Journal
from tailora.model.border import read_origin
from tailora.provenance import require_same
from tailora.recipe import Evaluate, Recipe
from tailora.run import Run, Stage, day_of
from tailora.text.batching import results_by_number
from tailora.text.chat import Sample

if TYPE_CHECKING:
    from tailora.engine import Answer
    from tailora.model.decode import Limits
    from tailora.tasks.generate import Reading

BASE, TUNED = "base", "tuned"


@dataclass(frozen=True)
class Variants:
    """A causal model with its adapter, which is tuned as it is and base within `model.disable_adapter()`."""

    model: Any
    task: Any
    recipe: Recipe
    longest: int
    """Most tokens of a row, prompt and answer together."""

    def readings(self, part: str, samples: Sequence[Sample], pages: Journal) -> "list[Reading]":
        """Return what the model makes of each sample: its loss in nats, and the tokens that it found likeliest."""
        from tailora.model.load import refuse_unknown_ids
        from tailora.model.losses import reading_batches
        from tailora.tasks.generate import Reading

        refuse_unknown_ids(self.model, (sample.tokens for sample in samples))

        def read(batch: list[Sample]) -> list[Reading]:
            found: list[Reading] = self.task.row_readings(self.model, batch)
            _require_finite(part, found)
            return found

        batches = reading_batches(self.model, samples, self.recipe.train.micro_batch_tokens)
        found = results_by_number(samples, batches, pages.known(part), read)
        return [Reading(*reading) for reading in pages.collect(part, found, len(samples), "weighing")]

    def answers(
        self, part: str, prompts: Sequence[list[int]], limits: "Limits", pages: Journal, stops: Sequence[str] = ()
    ) -> "list[Answer]":
        """Return `limits.samples` answers to each prompt in tokens, one after the other."""
        from tailora.engine import Answer, Engine

        batches = Engine(self.model, self.task.prompts).in_batches(prompts, limits, pages.known(part), stops)
        return [Answer(*answer) for answer in pages.collect(part, batches, len(prompts) * limits.samples, "answering")]


def _require_finite(part: str, readings: "list[Reading]") -> None:
    if not all(math.isfinite(reading.nats) for reading in readings):
        raise RunError(
            f"{part}: the model gives a text a likelihood that is no number, so its weights are broken or overflow in "
            'this type. Try model.dtype = "float32"; if that does not help, choose another base model or train again.'
        )


def load_variants(run: Run, adapter: Path, stage: Stage, *, own_metrics: bool = True) -> Variants:
    """Load the base of `run` with `adapter`, and note in `stage` what its results depend on.

    Without `own_metrics` the metrics that the recipe names are of another task, and are not looked for.

    Raises:
        RunError: when an adapter of ours was trained on another base, or with another template.
    """
    from tailora.model import adapters, load
    from tailora.tasks.generate import Generate

    machine.keep_freed_memory()
    machine.keep_few_kernels()
    recipe = run.recipe
    settings = recipe.evaluate if own_metrics else without_own_metrics(recipe.evaluate)
    task = Generate(settings, load.load_tokenizer(recipe.model), day_of(run.folder))
    base = task.load(recipe.model)
    prints = {"base": load.base_fingerprint(base), "prompts": task.prompts.fingerprint()}
    _check_origin(run, adapter, prints)
    longest = task.longest(base, recipe.model)
    model = adapters.put_on(base, adapter, recipe.model.base)
    load.freeze_dtype(model, recipe.model)
    path = task.choose_path(model, recipe.train)
    stage.made_from |= prints | {"path": path.name}
    stage.facts |= {"path": path._asdict()}
    return Variants(model, task, recipe, longest)


def without_own_metrics(settings: Evaluate) -> Evaluate:
    """Return the settings for rows that the metrics named in them are not made for."""
    return settings.model_copy(update={"metrics": [], "primary": None})


def _check_origin(run: Run, adapter: Path, prints: dict[str, str]) -> None:
    """Raise RunError when an adapter of ours meets another base or another template than it was trained with."""
    made = read_origin(adapter)
    names = {"base": "the base model", "prompts": "the template"}
    require_same(
        {names[key]: made[key] for key in prints if key in made},
        {names[key]: value for key, value in prints.items() if key in made},
        f"{run.folder}: the adapter is trained",
        "Train again with --fresh, or restore the base it was trained on.",
    )


def hashes_of_own(recipe: Recipe) -> dict[str, str | None]:
    """Return hashes of what the user has written beside the recipe: a file of prompts, modules of metrics; or None."""
    from tailora.tasks.own import hash_of_modules

    asked = recipe.evaluate.prompts
    prompts = locate_source(asked, "evaluate.prompts").sha256() if isinstance(asked, str) else None
    return {"prompts": prompts, "metrics": hash_of_modules(recipe.evaluate.metrics)}
