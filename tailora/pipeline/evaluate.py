"""Base and tuned on the same test rows → predictions, scores, paired comparison and a verdict."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tailora import files, machine
from tailora.files import Row, fingerprint
from tailora.measure import sandbox
from tailora.pipeline.compare import compare, compare_general, scores
from tailora.pipeline.prepare import prepare
from tailora.pipeline.train import check_fingerprints, train
from tailora.recipe import Recipe
from tailora.run import RUNS, Run, Stage, progress
from tailora.text.budget import fit_rows
from tailora.text.prompts import Sample
from tailora.text.read import read_general


def evaluate(recipe: Recipe, root: Path = RUNS) -> Row:
    """Compare base and tuned on the test split of `recipe`; returns the content of `<run>/evaluate/comparison.json`.

    Returns at once when that is done; trains first when the run has no adapter yet.
    """
    run = train(recipe, root)
    if not run.is_done("evaluate"):
        with run.lock():
            rows = prepare(recipe, root).test
            with run.stage("evaluate") as stage:
                _compare_variants(run, list(rows[: recipe.evaluate.rows]), len(rows), stage)
    comparison: Row = files.read_json(run.folder / "evaluate" / "comparison.json")
    return comparison


def _compare_variants(run: Run, rows: list[Row], available: int, stage: Stage) -> None:
    from tailora.model import load
    from tailora.model.losses import choose_path
    from tailora.tasks.generate import Generate

    machine.keep_freed_memory()
    settings = run.recipe.model
    task = Generate(run.recipe.evaluate, load.load_tokenizer(settings))
    base = load.load_base(settings)
    check_fingerprints(run, load.base_fingerprint(base), task.prompts.fingerprint())
    longest = load.longest_input(base.config, settings)
    not_asked = available - len(rows)
    fitting = fit_rows(rows, task.prompts, longest, "test")
    rows, samples = fitting.rows, [sample.last() for sample in fitting.samples]
    model = load.load_adapter(base, run.folder / "train" / "adapter")
    load.freeze_dtype(model, settings)
    path = choose_path(model, run.recipe.train.path)

    micro_tokens = run.recipe.train.micro_tokens
    predictions = {"tuned": _predict(model, task, rows, samples, run.recipe, longest)}
    general = {"tuned": _read_general(model, task, longest, micro_tokens)}
    with model.disable_adapter():
        predictions["base"] = _predict(model, task, rows, samples, run.recipe, longest)
        general["base"] = _read_general(model, task, longest, micro_tokens)
    for variant, predicted in predictions.items():
        files.write_jsonl(stage.folder / variant / "predictions.jsonl", predicted)
        files.write_jsonl(stage.folder / variant / "general.jsonl", general[variant])
        files.write_json(stage.folder / variant / "scores.json", scores(task.metrics, predicted))
    comparison = compare(task.metrics, predictions["base"], predictions["tuned"])
    comparison["forgetting"] = compare_general(general["base"], general["tuned"])
    comparison["sandbox"] = sandbox.find_strongest().mode or "limits"
    files.write_json(
        stage.folder / "comparison.json", comparison | {"rows": asdict(fitting.budget) | {"not_asked": not_asked}}
    )
    stage.facts |= {"verdict": comparison["verdict"], "path": path._asdict()}


def _predict(model: Any, task: Any, rows: list[Row], samples: list[Sample], recipe: Recipe, longest: int) -> list[Row]:
    """Return one row per example with the answer, its scores and the likelihood of the reference."""
    from tailora.engine import Engine
    from tailora.model.decode import Limits
    from tailora.tasks.generate import nats_to_bits

    settings = recipe.evaluate
    readings = _read(model, task, samples, recipe.train.micro_tokens)
    with progress("answering", len(rows)) as advance:
        answers = Engine(model, task.prompts).answer(
            [row["prompt"] for row in rows],
            Limits(settings.max_new_tokens, longest, settings.batch_size),
            advance,
        )
    scores = task.score(rows, [answer.text for answer in answers])
    return [
        {
            "id": row["id"],
            "slice": row.get("slice"),
            "cluster": row["cluster"],
            "leaks": row.get("leaks"),
            "prompt_hash": fingerprint(task.prompts.render(row["prompt"])),
            "output": answer.text,
            "finish": answer.finish,
            "nats": reading.nats,
            "bits": nats_to_bits(reading.nats),
            "right": reading.right,
            "targets": sample.targets,
            "bytes": len(row["answer"].encode()),
            **score,
        }
        for row, sample, answer, reading, score in zip(rows, samples, answers, readings, scores, strict=True)
    ]


def _read_general(model: Any, task: Any, longest: int, micro_tokens: int) -> list[Row]:
    """Return what each passage of the bundled general text costs the model in bits, and the tokens it guesses."""
    from tailora.tasks.generate import nats_to_bits

    passages = read_general()
    windows = [task.prompts.encode_text(passage["text"], longest) for passage in passages]
    readings = iter(_read(model, task, [sample for cut in windows for sample in cut], micro_tokens))
    found = []
    for passage, cut in zip(passages, windows, strict=True):
        read = [next(readings) for _ in cut]
        found.append(
            {
                "id": passage["id"],
                "slice": passage["kind"],
                "cluster": passage["id"],
                "bits": nats_to_bits(sum(reading.nats for reading in read)),
                "bytes": len(passage["text"].encode()),
                "right": sum(reading.right for reading in read),
                "targets": sum(sample.targets for sample in cut),
            }
        )
    return found


def _read(model: Any, task: Any, samples: list[Any], micro_tokens: int) -> list[Any]:
    """Return the reading of each sample, in the order of the samples."""
    from tailora.model.losses import micro_batches

    readings: dict[int, Any] = {}
    for batch in micro_batches(model, samples, micro_tokens):
        for sample, reading in zip(batch, task.row_readings(model, batch), strict=True):
            readings[id(sample)] = reading
    return [readings[id(sample)] for sample in samples]
