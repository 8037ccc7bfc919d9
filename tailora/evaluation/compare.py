"""Prediction rows of two variants → aggregates, paired comparisons and a verdict.

One metric decides, on all rows: its p stands as it is. All others are looked at besides, so their p is adjusted by
Holm (1979), over the other metrics on all rows, and over the parts of the rows (slices, topics, domains) per metric.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from tailora.errors import RunError
from tailora.files import Row
from tailora.measure.stats import Comparison, compare_means, compare_ratios, compare_sums, decide, holm
from tailora.tasks.base import Metric

Pairs = list[tuple[Row, Row]]

# Columns whose values are compared one by one, the largest so many of them.
_COLUMNS = ("topic", "domain")
_MOST_GROUPS = 12
_MOST_SHOWN = 4
_MOST_FORGOTTEN = 0.02
_FORGETTING = (
    Metric(
        "general text", "ratio", "bits", False, per="bytes", meaning="bits per byte of the bundled prose and code"
    ),
    Metric(
        "general text, tokens", "ratio", "right", True, per="targets", share=True,
        meaning="share of the tokens of the bundled prose and code that the model finds likeliest",
    ),
)  # fmt: skip


def scores(metrics: Sequence[Metric], predictions: list[Row]) -> Row:
    """Return the aggregates of one variant, on all rows and on clean ones, with the reason where there is none."""
    found: Row = {"rows": len(predictions), **_aggregates(metrics, predictions)}
    clean = [row for row in predictions if not row.get("leaks")]
    if 0 < len(clean) < len(predictions):
        found["clean"] = {"rows": len(clean), **_aggregates(metrics, clean)}
    return found


def _aggregates(metrics: Sequence[Metric], predictions: list[Row]) -> Row:
    found: Row = {}
    for metric in metrics:
        used = [row for row in predictions if metric.value(row) is not None]
        found[metric.name] = _aggregate(metric, used) if used else {"absent": _reason(metric, predictions)}
    return found


def _aggregate(metric: Metric, rows: list[Row]) -> float:
    values = [metric.value(row) for row in rows]
    if metric.kind == "corpus":
        assert metric.transform
        with np.errstate(divide="ignore", invalid="ignore"):  # a row alone may have no value, such as an F1
            return float(metric.transform(np.array(values, dtype=np.float64).sum(axis=0, keepdims=True))[0])
    total = sum(map(float, values))
    if metric.kind != "ratio":
        return total / len(rows)
    ratio = total / sum(row[metric.per] for row in rows)
    return float(metric.transform(ratio)) if metric.transform else ratio


def _reason(metric: Metric, predictions: list[Row]) -> str:
    if metric.field in ("passed", "sampled_passed"):
        reasons = Counter(row["tests"]["detail"] for row in predictions if row.get("tests"))
        return f"the tests were not run: {reasons.most_common(1)[0][0]}" if reasons else "no test row brings tests"
    return metric.absent


def compare(metrics: Sequence[Metric], base: list[Row], tuned: list[Row]) -> Row:
    """Compare every metric on all rows and on each slice, pair by pair; the verdict is that of the primary metric.

    That is the first of `metrics` which may decide and has a value. Of it come, besides, each topic and domain, and
    the rows on which it gained and lost most.

    Raises:
        RunError: when the two sides do not stand for the same rows and prompts, or no metric has a value.
    """
    pairs = list(zip(base, tuned, strict=True))
    if any((b["id"], b["prompt_hash"]) != (t["id"], t["prompt_hash"]) for b, t in pairs):
        raise RunError("base and tuned were not asked the same questions; evaluate again with --fresh.")
    usable = {metric.name: _usable(metric, pairs) for metric in metrics}
    absent = {metric.name: _reason(metric, base) for metric in metrics if not usable[metric.name]}
    present = [metric for metric in metrics if metric.name not in absent]
    scored = [metric for metric in present if not metric.explains]
    if not scored:
        raise RunError("no metric has a value on these rows: " + "; ".join(f"{k}: {v}" for k, v in absent.items()))
    primary = next((metric for metric in scored if metric.decides), scored[0])
    compared = [entry for metric in scored for entry in _by_slice(metric, usable[metric.name])]
    _adjust(compared, primary.name)
    headline = next(e for e in compared if e["metric"] == primary.name and e["by"] == "all")
    return {
        "primary": primary.name,
        "chosen": _choice(metrics, primary, absent) | {"rows": len(usable[primary.name]), "of": len(pairs)},
        "verdict": headline["verdict"],
        "metrics": compared,
        "absent": absent,
        "explanations": [_explanation(metric, usable[metric.name]) for metric in present if metric.explains],
        "breakdown": _breakdown(primary, usable[primary.name]),
        "largest": _largest(primary, usable[primary.name]),
        "clean": {"rows": sum(not row.get("leaks") for row in base), "of": len(base)},
    }


def _usable(metric: Metric, pairs: Pairs) -> Pairs:
    return [(b, t) for b, t in pairs if metric.value(b) is not None and metric.value(t) is not None]


def _choice(metrics: Sequence[Metric], primary: Metric, absent: dict[str, str]) -> Row:
    """Return why this metric gives the verdict, and those without a value that would come first."""
    names = [metric.name for metric in metrics]
    earlier = [metric.name for metric in metrics[: names.index(primary.name)] if metric.decides]
    return {"decides": primary.decides, "absent": {name: absent[name] for name in earlier if name in absent}}


def compare_general(base: list[Row], tuned: list[Row]) -> list[Row]:
    """Compare bits per byte and token accuracy on general text, for all passages and each kind.

    `forgotten` is the relative change of bits per byte; above 2 % with a verdict of "worse" it is `flagged`. Token
    accuracy is compared where the rows hold `right` and `targets`.
    """
    pairs = list(zip(base, tuned, strict=True))
    compared = [
        entry for metric in _FORGETTING if (used := _usable(metric, pairs)) for entry in _by_slice(metric, used)
    ]
    _adjust(compared, _FORGETTING[0].name)
    for entry in (e for e in compared if e["metric"] == _FORGETTING[0].name):
        entry["forgotten"] = entry["difference"] / entry["base"]
        entry["flagged"] = entry["forgotten"] > _MOST_FORGOTTEN and entry["verdict"] == "worse"
    return compared


def _by_slice(metric: Metric, pairs: Pairs) -> list[Row]:
    """Compare `metric` on all pairs, on those of each slice by name, and on the clean ones where others leak."""
    entries = [_entry(metric, "all", "all", pairs)]
    for name in sorted({base["slice"] for base, _ in pairs if base["slice"]}):
        entries.append(_entry(metric, "slice", name, [pair for pair in pairs if pair[0]["slice"] == name]))
    clean = [pair for pair in pairs if not pair[0].get("leaks")]
    if 0 < len(clean) < len(pairs):
        entries.append(_entry(metric, "clean", "clean", clean))
    return entries


def _breakdown(metric: Metric, pairs: Pairs) -> Row:
    """Compare the values of topic and domain one by one, the most frequent first; the rest is counted."""
    found: Row = {}
    for column in _COLUMNS:
        groups: dict[str, Pairs] = {}
        for pair in pairs:
            if column in pair[0]:
                groups.setdefault(str(pair[0][column]), []).append(pair)
        if len(groups) < 2:
            continue
        ranked = sorted(groups, key=lambda name: (-len(groups[name]), name))
        entries = [_entry(metric, column, name, groups[name]) for name in ranked[:_MOST_GROUPS]]
        _adjust(entries, metric.name)
        others = ranked[_MOST_GROUPS:]
        rows = sum(len(groups[name]) for name in others)
        found[column] = {"entries": entries, "others": {"groups": len(others), "rows": rows}}
    return found


def _entry(metric: Metric, by: str, name: str, pairs: Pairs) -> Row:
    """Return the comparison of `metric` on some pairs; `by` says what they have in common, `slice` which of it."""
    return {
        "metric": metric.name,
        "by": by,
        "slice": name,
        "kind": metric.kind,
        "share": metric.share or metric.kind == "binary",
        "meaning": metric.meaning,
        "higher_is_better": metric.higher_is_better,
        "written": metric.written,
        **asdict(_paired(metric, pairs)),
    }


def _adjust(entries: list[Row], primary: str) -> None:
    """Give each entry its adjusted p and the verdict that follows, in place."""
    families: dict[tuple[str, str], list[Row]] = {}
    for entry in entries:
        whole = entry["by"] == "all"
        name = entry["metric"] if entry["metric"] == primary or not whole else "others"
        families.setdefault((entry["by"], name), []).append(entry)
    for family in families.values():
        for entry, p_value in zip(family, holm([entry["p_value"] for entry in family]), strict=True):
            entry["p_adjusted"] = p_value
            up = entry["higher_is_better"]
            entry["verdict"] = decide(entry["low"], entry["high"], p_value, higher_is_better=up)


def _explanation(metric: Metric, pairs: Pairs) -> Row:
    entry = _entry(metric, "all", "all", pairs)
    kept = ("metric", "kind", "share", "meaning", "base", "tuned", "difference", "low", "high", "n")
    return {key: entry[key] for key in kept}


def _largest(metric: Metric, pairs: Pairs) -> Row:
    """Return the rows on which tuned gained and lost most, and some on which nothing moved: id and both values."""
    rows = [{"id": b["id"], "base": _aggregate(metric, [b]), "tuned": _aggregate(metric, [t])} for b, t in pairs]
    rows = [row for row in rows if math.isfinite(row["base"]) and math.isfinite(row["tuned"])]
    sign = 1 if metric.higher_is_better else -1
    gains = [sign * (row["tuned"] - row["base"]) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: -gains[i])
    return {
        "gained": [rows[i] for i in order if gains[i] > 0][:_MOST_SHOWN],
        "lost": [rows[i] for i in order[::-1] if gains[i] < 0][:_MOST_SHOWN],
        "unchanged": [row for row, gain in zip(rows, gains, strict=True) if gain == 0][:_MOST_SHOWN],
    }


def _paired(metric: Metric, pairs: Pairs) -> Comparison:
    before, after = ([metric.value(pair[side]) for pair in pairs] for side in (0, 1))
    clusters = [base["cluster"] for base, _ in pairs]
    groups = clusters if len(set(clusters)) < len(clusters) else None
    up = metric.higher_is_better
    if metric.kind == "corpus":
        assert metric.transform
        return compare_sums(before, after, aggregate=metric.transform, higher_is_better=up, groups=groups)
    if metric.kind != "ratio":
        binary = metric.kind == "binary"
        return compare_means(before, after, higher_is_better=up, groups=groups, binary=binary, share=metric.share)
    per_before, per_after = ([float(pair[side][metric.per]) for pair in pairs] for side in (0, 1))
    transform = metric.transform or (lambda ratio: ratio)
    return compare_ratios(
        before, per_before, after, per_after,
        aggregate=lambda total, count: transform(total / count), higher_is_better=up, groups=groups,
    )  # fmt: skip
