"""Recipe → how much time and memory a run of it will take, from short trials with the real model. Trains nothing."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailora import machine
from tailora.model.forecast import Forecast
from tailora.model.trial import count_tokens
from tailora.pipeline.prepare import prepare
from tailora.pipeline.train import Ready, set_up
from tailora.recipe import Recipe
from tailora.run import RUNS, Run, Stage
from tailora.text.budget import Fitting
from tailora.text.read import read_general

_FEW, _MORE = 4, 20  # tokens of the two answers whose times give that of a token


@dataclass(frozen=True)
class Plan:
    """What is foretold of each stage; seconds are what is left to do, 0 where a stage is done."""

    rows: dict[str, int]
    """Of each split."""
    weights: dict[str, int]
    train: Forecast
    train_seconds: float
    """Those of `train`, and of loading and the trial."""
    evaluate_seconds: float
    """At most, but for running programs: base answers of full length, tuned ones as long as the references."""
    evaluate_bytes: int


def plan(recipe: Recipe, root: Path = RUNS) -> Plan:
    """Measure what training and evaluating `recipe` will take; prepares the data first where that has not been done.

    Raises:
        RunError: when training needs more memory than may be held; says which keys would make it fit.
    """
    from tailora.model.fit import foretell

    run = Run.open(recipe, root, stages=("prepare", "train"))
    splits = prepare(recipe, root)
    started, stage = time.monotonic(), Stage(run.folder, writes=False)
    ready = set_up(run, splits, stage)
    loading = time.monotonic() - started
    # The rate is of no matter for time and memory, so "auto" is not tested here.
    settings = recipe.train.model_copy(update={"lr": 1e-4})
    forecast = foretell(ready.model, ready.samples["train"], ready.samples["val"], ready.task.loss, settings, stage)
    evaluating = 0.0 if run.is_done("evaluate") else loading + _evaluating(recipe, ready, splits.test, forecast)
    training = 0.0 if run.is_done("train") else loading + forecast.trial_seconds + forecast.seconds
    return Plan(
        rows={"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
        weights=stage.facts["weights"],
        train=forecast,
        train_seconds=training,
        evaluate_seconds=evaluating,
        evaluate_bytes=machine.held_memory_bytes(),
    )


def _evaluating(recipe: Recipe, ready: Ready, test: Any, forecast: Forecast) -> float:
    """Return the seconds that reading the test rows takes, and what else the task does with base and tuned."""
    longest = ready.task.longest(ready.model, recipe.model)
    fitting = ready.task.fit(list(test[: recipe.evaluate.rows]), longest, "test")
    asked, pace = count_tokens(fitting.samples), forecast.validation_pace
    if recipe.task == "classify":  # base, tuned and the linear probe, which is fitted to the training texts, unmeasured
        return (3 * asked + forecast.tokens_an_epoch) * pace
    passages = read_general(recipe.evaluate.general_passages)
    texts = [ready.task.prompts.encode_text(passage["text"], longest) for passage in passages]
    return 2 * (asked + sum(map(count_tokens, texts))) * pace + _answering(recipe, ready, longest, fitting)


def _answering(recipe: Recipe, ready: Ready, longest: int, fitting: Fitting) -> float:
    """Time a batch of answers of two lengths, and reckon with that for all batches of base and of tuned."""
    from tailora.engine import Engine
    from tailora.model.decode import Limits

    rows, samples = fitting.rows, fitting.samples
    settings, engine = recipe.evaluate, Engine(ready.model.eval(), ready.task.prompts)
    order = sorted(range(len(rows)), key=lambda row: samples[row].answer_start)
    batches = [order[start : start + settings.batch_size] for start in range(0, len(order), settings.batch_size)]
    middle = [rows[row]["prompt"] for row in batches[len(batches) // 2]]
    times = []
    for tokens in (_FEW, _FEW, _MORE):  # the first warms up
        started = time.monotonic()
        engine.answer(middle, Limits(tokens, longest, settings.batch_size))
        times.append(time.monotonic() - started)
    per_token = max(0.0, times[2] - times[1]) / (_MORE - _FEW)
    reading = max(0.0, times[1] - _FEW * per_token)
    most = settings.max_new_tokens
    tuned = sum(min(most, max(samples[row].last().targets for row in batch)) for batch in batches)
    return math.fsum((2 * len(batches) * reading, per_token * (len(batches) * most + tuned)))
