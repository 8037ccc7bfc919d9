"""Prediction rows of two variants → aggregates, paired comparisons and a verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tailora.errors import RunError
from tailora.files import Row
from tailora.measure.stats import Comparison, compare_means, compare_ratios
from tailora.tasks.base import Metric

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


def scores(metrics: Sequence[Any], predictions: list[Row]) -> Row:
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
