"""Recipe → how much time and memory a run of it will take, from short trials with the real model. Trains nothing."""

import math
import time
from typing import Any

from tailora import machine
from tailora.data.read import read_general
from tailora.model.forecast import Forecast, Plan, count_tokens, grown
from tailora.pipeline.prepare import prepare
from tailora.pipeline.train import Ready, set_up
from tailora.recipe import Recipe
from tailora.run import Run, Stage
from tailora.text.chat import Sample
from tailora.text.length_budget import Fitting

_FEW, _MORE = 4, 20  # tokens of the two answers whose times give that of a token


def plan(run: Run) -> Plan:
    """Measure what training and evaluating `run` will take; prepares the data first where that has not been done.

    Raises:
        RunError: when training needs more memory than may be held; says which keys would make it fit.
    """
    from tailora.model.fit import foretell
    from tailora.model.trial import kernel_bytes

    recipe, splits = run.recipe, prepare(run)
    started, stage = time.monotonic(), Stage(run.folder, writes=False)
    ready = set_up(run, splits, stage)
    loading, loading_bytes = time.monotonic() - started, machine.held_memory_bytes()
    # The rate is of no matter for time and memory, so "auto" is not tested here.
    settings = recipe.train.model_copy(update={"lr": 1e-4})
    forecast = foretell(ready.model, ready.samples["train"], ready.samples["val"], ready.task.loss, settings, stage)
    machine.give_back_freed_memory()
    machine.forget_peak()
    resting = machine.resident_bytes()
    evaluating = 0.0 if run.is_done("evaluate") else loading + _evaluating(recipe, ready, splits.test, forecast)
    held = machine.held_memory_bytes() + _later_bytes(recipe, ready, splits.test)
    if machine.device() == "cpu":
        adapter = 2 * 4 * stage.facts["weights"]["trainable"]  # in its file and in memory, which is loaded on top
        held = max(loading_bytes + adapter, grown(held, resting) + kernel_bytes(ready.model) // 2)  # no way back
    training = 0.0 if run.is_done("train") else loading + forecast.trial_seconds + forecast.seconds
    return Plan(
        rows={"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
        weights=stage.facts["weights"],
        train=forecast,
        train_seconds=training,
        evaluate_seconds=evaluating,
        evaluate_bytes=held,
    )


def _evaluating(recipe: Recipe, ready: Ready, test: Any, forecast: Forecast) -> float:
    """Return the seconds that reading the test rows takes, and what else the task does with base and tuned.

    Of each kind of reading the largest pass is made, so that the memory which it takes is seen too.
    """
    model = ready.model.eval()
    longest = ready.task.longest(model, recipe.model)
    fitting = ready.task.fit(list(test[: recipe.evaluate.rows]), longest, "test")
    reading = _reading(recipe, ready, fitting.samples)
    if recipe.task == "classify":  # base, tuned and the linear probe, which is fitted to the training texts, unmeasured
        return 3 * reading + reading / count_tokens(fitting.samples) * forecast.tokens_an_epoch
    passages = read_general(recipe.evaluate.general_passages)
    texts = [ready.task.prompts.encode_text(passage["text"], longest) for passage in passages]
    general = _reading(recipe, ready, [sample for windows in texts for sample in windows])
    return 2 * (reading + general) + _answering(recipe, ready, longest, fitting)


def _later_bytes(recipe: Recipe, ready: Ready, test: Any) -> int:
    """Return what the cache of a batch grows by at most while answers become longer than those of the trial."""
    from tailora.model.decode import bytes_of_a_token

    if recipe.task == "classify":
        return 0
    asked = min(recipe.evaluate.batch_size, len(test) * max(1, recipe.evaluate.samples))
    return 3 * asked * recipe.evaluate.max_new_tokens * bytes_of_a_token(ready.model) // 2


def _reading(recipe: Recipe, ready: Ready, samples: list[Sample]) -> float:
    """Return the seconds that reading `samples` takes: after the largest pass, a middle one is timed."""
    from tailora.model.losses import reading_batches

    if not samples:
        return 0.0
    batches = sorted(reading_batches(ready.model, samples, recipe.train.micro_batch_tokens), key=count_tokens)
    ready.task.row_losses(ready.model, batches[-1])
    middle, started = batches[len(batches) // 2], time.monotonic()
    ready.task.row_losses(ready.model, middle)
    return (time.monotonic() - started) / count_tokens(middle) * count_tokens(samples)


def _answering(recipe: Recipe, ready: Ready, longest: int, fitting: Fitting) -> float:
    """Time a batch of answers of two lengths, and reckon with that for all batches of base and of tuned.

    The batch of the longest prompts comes first, and warms up: it takes the most memory.
    """
    from tailora.engine import Engine
    from tailora.model.decode import Limits

    rows, samples = fitting.rows, fitting.samples
    settings, engine = recipe.evaluate, Engine(ready.model, ready.task.prompts)
    order = sorted(range(len(rows)), key=lambda row: -samples[row].answer_start)
    batches = [order[start : start + settings.batch_size] for start in range(0, len(order), settings.batch_size)]
    times = []
    for tokens, batch in ((_FEW, batches[0]), (_FEW, middle := batches[len(batches) // 2]), (_MORE, middle)):
        started = time.monotonic()
        engine.answer([rows[row]["prompt"] for row in batch], Limits(tokens, longest, settings.batch_size))
        times.append(time.monotonic() - started)
    per_token = max(0.0, times[2] - times[1]) / (_MORE - _FEW)
    reading = max(0.0, times[1] - _FEW * per_token)
    most = settings.max_new_tokens
    tuned = sum(min(most, max(samples[row].last().targets for row in batch)) for batch in batches)
    return math.fsum((2 * len(batches) * reading, per_token * (len(batches) * most + tuned)))
