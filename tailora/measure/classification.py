"""Scores of labels: classes and probabilities in, numbers out. scikit-learn computes what it has.

A number that has no value, such as the precision of a class that is never predicted, is None and never 0.0.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BINS = 15
_LEAST = 1e-15  # a probability of zero would make a loss of infinity; scikit-learn's log_loss cuts likewise


def row_scores(label: int, probabilities: Sequence[float]) -> dict[str, Any]:
    """Return what one row is worth: the likeliest class, whether that is right, and the losses of the probabilities.

    `nats` is −ln p of the right class, `brier` is Σ (p − [class is right])², 0 to 2 (Brier 1950). Of equally likely
    classes the first is taken.
    """
    likeliest = max(range(len(probabilities)), key=probabilities.__getitem__)
    squares = sum((p - (number == label)) ** 2 for number, p in enumerate(probabilities))
    return {
        "predicted": likeliest,
        "right": likeliest == label,
        "confidence": probabilities[likeliest],
        "nats": -math.log(max(probabilities[label], _LEAST)),
        "brier": squares,
    }


def summarise(labels: Sequence[int], probabilities: Sequence[Sequence[float]], names: Sequence[str]) -> dict[str, Any]:
    """Return the scores of a classifier on rows with the right `labels`.

    F1 is averaged over the classes that are right or predicted somewhere ("macro"), or by their rows ("weighted"), as
    scikit-learn does by default. `confusion` has a line for each right class and a column for each predicted one.
    Raises ValueError without rows.
    """
    from sklearn import metrics

    if not len(labels):
        raise ValueError("scores of a classifier need at least one row")
    chances = np.asarray(probabilities, dtype=np.float64)
    rows = [row_scores(label, row) for label, row in zip(labels, chances.tolist(), strict=True)]
    predicted = [row["predicted"] for row in rows]
    numbers = range(len(names))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=list(numbers), zero_division=np.nan
    )
    f1s = {
        average: float(metrics.f1_score(labels, predicted, average=average, zero_division=0.0))
        for average in ("macro", "weighted")
    }
    bins = calibration_bins([row["confidence"] for row in rows], [row["right"] for row in rows])
    return {
        "rows": len(rows),
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "macro F1": f1s["macro"],
        "weighted F1": f1s["weighted"],
        "MCC": float(metrics.matthews_corrcoef(labels, predicted)) if len({*labels}) > 1 < len({*predicted}) else None,
        "NLL": float(np.mean([row["nats"] for row in rows])),
        "Brier": float(np.mean([row["brier"] for row in rows])),
        "ECE": calibration_error(bins),
        "classes": [
            {
                "label": name, "precision": _number(precision[i]), "recall": _number(recall[i]), "F1": _number(f1[i]),
                "rows": int(support[i]), "predicted": predicted.count(i),
            }
            for i, name in enumerate(names)
        ],
        "confusion": metrics.confusion_matrix(labels, predicted, labels=list(numbers)).tolist(),
        "calibration": bins,
    }  # fmt: skip


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def calibration_bins(confidences: Sequence[float], right: Sequence[bool], count: int = _BINS) -> list[dict[str, float]]:
    """Return equally large bins of rows by their confidence: rows, mean confidence and accuracy of each.

    With fewer rows than bins there is a bin for each row (Nguyen & O'Connor 2015, arXiv 1508.05154, section 4).
    """
    order = np.argsort(np.asarray(confidences, dtype=np.float64), kind="stable")
    parts = [part for part in np.array_split(order, count) if len(part)]
    sure, hits = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    return [
        {"rows": len(part), "confidence": float(sure[part].mean()), "accuracy": float(hits[part].mean())}
        for part in parts
    ]


def calibration_error(bins: Sequence[dict[str, float]]) -> float:
    """Return the expected calibration error, 0 to 1: Σ rows/n · |accuracy − confidence| over the bins."""
    total = sum(part["rows"] for part in bins)
    return sum(part["rows"] * abs(part["accuracy"] - part["confidence"]) for part in bins) / total


def f1_counts(label: int, predicted: int, classes: int) -> list[int]:
    """Return what one row adds to an F1: for each class whether it is right, predicted, and both."""
    counts = [0] * (3 * classes)
    counts[label] += 1
    counts[classes + predicted] += 1
    counts[2 * classes + label] += label == predicted
    return counts


def macro_f1(sums: Array) -> Array:
    """Return the macro F1 of sums of `f1_counts`, [sample, count] → [sample], over classes that occur in a sample."""
    real, named, both = np.split(sums, 3, axis=1)
    occurring = (real + named > 0).sum(axis=1)
    return np.asarray(_f1(real, named, both).sum(axis=1) / occurring, dtype=np.float64)


def weighted_f1(sums: Array) -> Array:
    """Return the F1 of sums of `f1_counts`, weighted by the rows of each class: [sample, count] → [sample]."""
    real, named, both = np.split(sums, 3, axis=1)
    return np.asarray((_f1(real, named, both) * real).sum(axis=1) / real.sum(axis=1), dtype=np.float64)


def _f1(real: Array, named: Array, both: Array) -> Array:
    return 2 * both / np.maximum(real + named, 1)
