"""Base and tuned on the same test rows → predictions, scores, paired comparison and a verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tailora import files, machine
from tailora.errors import RunError
from tailora.files import Row, fingerprint
from tailora.measure import sandbox
from tailora.measure.stats import Comparison, compare_means, compare_ratios
from tailora.pipeline.prepare import prepare
from tailora.pipeline.train import check_fingerprints, train
from tailora.recipe import Recipe
from tailora.run import RUNS, Run, Stage, progress
from tailora.tasks.base import Metric
from tailora.text.budget import fit_rows
from tailora.text.prompts import Sample
from tailora.text.read import read_general

# The metric of the verdict: the first of these that the rows allow.
_PRIMARY = ("pass@1", "bits per byte")
_GENERAL = Metric(
    "general text",
    "ratio",
    "bits",
    False,
    per="bytes",
    meaning="bits per byte of the bundled prose and code",
)


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
        files.write_json(stage.folder / variant / "scores.json", _scores(task.metrics, predicted))
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
    nats = _losses(model, task, samples, recipe.train.micro_tokens)
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
            "nats": loss,
            "bits": nats_to_bits(loss),
            "targets": sample.targets,
            "bytes": len(row["answer"].encode()),
            **score,
        }
        for row, sample, answer, loss, score in zip(rows, samples, answers, nats, scores, strict=True)
    ]


def _read_general(model: Any, task: Any, longest: int, micro_tokens: int) -> list[Row]:
    """Return what each passage of the bundled general text costs the model, in bits and bytes."""
    from tailora.tasks.generate import nats_to_bits

    passages = read_general()
    windows = [task.prompts.encode_text(passage["text"], longest) for passage in passages]
    losses = iter(_losses(model, task, [sample for cut in windows for sample in cut], micro_tokens))
    return [
        {
            "id": passage["id"],
            "slice": passage["kind"],
            "cluster": passage["id"],
            "bits": nats_to_bits(sum(next(losses) for _ in cut)),
            "bytes": len(passage["text"].encode()),
        }
        for passage, cut in zip(passages, windows, strict=True)
    ]


def _losses(model: Any, task: Any, samples: list[Any], micro_tokens: int) -> list[float]:
    from tailora.model.losses import micro_batches

    numbered = {id(sample): i for i, sample in enumerate(samples)}
    losses = [0.0] * len(samples)
    for batch in micro_batches(model, samples, micro_tokens):
        for sample, loss in zip(batch, task.row_losses(model, batch), strict=True):
            losses[numbered[id(sample)]] = loss
    return losses


def _scores(metrics: Sequence[Any], predictions: list[Row]) -> Row:
    """Return the aggregates of one variant, with the reason where there is none."""
    scores: Row = {"rows": len(predictions)}
    for metric in metrics:
        used = [row for row in predictions if row[metric.field] is not None]
        scores[metric.name] = _aggregate(metric, used) if used else {"absent": _reason(metric, predictions)}
    scores["has fence"] = sum(row["has_fence"] for row in predictions) / len(predictions)
    scores["hit the length limit"] = sum(row["finish"] == "length" for row in predictions) / len(predictions)
    return scores


def _aggregate(metric: Any, rows: list[Row]) -> float:
    total = sum(float(row[metric.field]) for row in rows)
    if metric.kind != "ratio":
        return total / len(rows)
    ratio = total / sum(row[metric.per] for row in rows)
    return float(metric.transform(ratio)) if metric.transform else ratio


def _reason(metric: Any, predictions: list[Row]) -> str:
    if metric.field == "passed":
        reasons = Counter(row["tests"]["detail"] for row in predictions if row["tests"])
        return f"the tests were not run: {reasons.most_common(1)[0][0]}" if reasons else "no test row brings tests"
    return "fewer than half of the reference answers are Python code"


def compare(metrics: Sequence[Any], base: list[Row], tuned: list[Row]) -> Row:
    """Compare every metric on all rows and on each slice, pair by pair; the verdict is that of the primary metric.

    Raises:
        RunError: when the two sides do not stand for the same rows and prompts.
    """
    pairs = list(zip(base, tuned, strict=True))
    if any((b["id"], b["prompt_hash"]) != (t["id"], t["prompt_hash"]) for b, t in pairs):
        raise RunError("base and tuned were not asked the same questions; evaluate again with --fresh.")
    compared: list[Row] = []
    absent: dict[str, str] = {}
    for metric in metrics:
        usable = [(b, t) for b, t in pairs if b[metric.field] is not None and t[metric.field] is not None]
        if usable:
            compared += _by_slice(metric, usable)
        else:
            absent[metric.name] = _reason(metric, base)
    primary = next(name for name in _PRIMARY if name not in absent)
    headline = next(entry for entry in compared if entry["metric"] == primary and entry["slice"] == "all")
    return {"primary": primary, "verdict": headline["verdict"], "metrics": compared, "absent": absent}


def compare_general(base: list[Row], tuned: list[Row]) -> list[Row]:
    """Compare bits per byte on general text, for all passages and each kind; `forgotten` is the relative change.

    A change above 2 % whose interval excludes zero is `flagged`.
    """
    compared = []
    for entry in _by_slice(_GENERAL, list(zip(base, tuned, strict=True))):
        forgotten = entry["difference"] / entry["base"]
        compared.append(entry | {"forgotten": forgotten, "flagged": forgotten > 0.02 and entry["verdict"] == "worse"})
    return compared


def _by_slice(metric: Any, pairs: list[tuple[Row, Row]]) -> list[Row]:
    """Compare `metric` on all pairs, on those of each slice by name, and on the clean ones where others leak."""
    slices = sorted({base["slice"] for base, _ in pairs if base["slice"]})
    parts = {name: [pair for pair in pairs if pair[0]["slice"] == name] for name in slices}
    clean = [pair for pair in pairs if not pair[0].get("leaks")]
    if 0 < len(clean) < len(pairs):
        parts["clean"] = clean
    return [_entry(metric, name, part) for name, part in {"all": pairs, **parts}.items()]


def _entry(metric: Any, name: str, pairs: list[tuple[Row, Row]]) -> Row:
    about = {"metric": metric.name, "slice": name, "kind": metric.kind, "meaning": metric.meaning}
    return {**about, "higher_is_better": metric.higher_is_better, **asdict(_paired(metric, pairs))}


def _paired(metric: Any, pairs: list[tuple[Row, Row]]) -> Comparison:
    columns = {side: [float(pair[side][metric.field]) for pair in pairs] for side in (0, 1)}
    clusters = [base["cluster"] for base, _ in pairs]
    groups = clusters if len(set(clusters)) < len(clusters) else None
    if metric.kind != "ratio":
        return compare_means(
            columns[0], columns[1],
            higher_is_better=metric.higher_is_better, groups=groups, binary=metric.kind == "binary",
        )  # fmt: skip
    per = [float(base[metric.per]) for base, _ in pairs]
    transform = metric.transform or (lambda ratio: ratio)
    return compare_ratios(
        columns[0], per, columns[1], per,
        aggregate=lambda total, count: transform(total / count),
        higher_is_better=metric.higher_is_better, groups=groups,
    )  # fmt: skip
