"""Scores of labels equal scikit-learn's and closed forms."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from tailora.measure.classification import (
    calibration_bins,
    calibration_error,
    f1_counts,
    macro_f1,
    row_scores,
    summarise,
    weighted_f1,
)

NAMES = ["a", "b", "c", "d"]


def drawn(rows: int, seed: int = 0, classes: int = 4) -> tuple[list[int], list[list[float]]]:
    numbers = np.random.default_rng(seed)
    labels = numbers.integers(0, classes, rows)
    logits = numbers.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels.tolist(), chances.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    labels, chances = drawn(200, seed)
    found, predicted = summarise(labels, chances, NAMES), np.argmax(chances, 1)
    report = metrics.classification_report(labels, predicted, target_names=NAMES, output_dict=True)
    assert found["accuracy"] == pytest.approx(report["accuracy"])
    assert found["macro F1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert found["weighted F1"] == pytest.approx(report["weighted avg"]["f1-score"])
    assert found["MCC"] == pytest.approx(metrics.matthews_corrcoef(labels, predicted))
    assert found["NLL"] == pytest.approx(metrics.log_loss(labels, chances))
    assert found["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    for name, line in zip(NAMES, found["classes"], strict=True):
        assert line["precision"] == pytest.approx(report[name]["precision"])
        assert line["recall"] == pytest.approx(report[name]["recall"])
        assert (line["F1"], line["rows"]) == (pytest.approx(report[name]["f1-score"]), report[name]["support"])


def test_brier_of_two_classes_is_twice_scikit_learns() -> None:
    labels, chances = drawn(100, classes=2)
    expected = 2 * metrics.brier_score_loss(labels, [row[1] for row in chances])
    assert summarise(labels, chances, ["no", "yes"])["Brier"] == pytest.approx(expected)


def test_bins_are_those_of_scikit_learn() -> None:
    numbers = np.random.default_rng(3)
    sure = numbers.permutation(np.linspace(0.3, 0.99, 150))
    right = numbers.random(150) < sure
    bins = calibration_bins(sure.tolist(), right.tolist())
    hits, confidence = calibration_curve(right, sure, n_bins=15, strategy="quantile")
    assert [part["accuracy"] for part in bins] == pytest.approx(hits.tolist())
    assert [part["confidence"] for part in bins] == pytest.approx(confidence.tolist())
    assert calibration_error(bins) == pytest.approx(float(np.mean(np.abs(hits - confidence))))


def test_calibration_error_by_hand() -> None:
    # One bin a row: |1 − 0.8|, |0 − 0.6| and |1 − 1|.
    assert calibration_error(calibration_bins([0.8, 0.6, 1.0], [True, False, True])) == pytest.approx(0.8 / 3)


def test_what_has_no_value_is_none() -> None:
    found = summarise([0, 0, 1], [[0.9, 0.05, 0.05]] * 3, ["a", "b", "c"])
    assert found["MCC"] is None
    assert found["classes"][1]["precision"] is None and found["classes"][1]["recall"] == 0.0
    assert found["classes"][2] == {
        "label": "c", "precision": None, "recall": None, "F1": None, "rows": 0, "predicted": 0
    }  # fmt: skip
    with pytest.raises(ValueError, match="at least one row"):
        summarise([], [], ["a", "b"])


def test_a_class_that_was_thought_impossible_costs_much_and_not_infinitely() -> None:
    scores = row_scores(1, [1.0, 0.0])
    assert scores["nats"] == pytest.approx(-math.log(1e-15)) and not scores["right"]
    assert scores["brier"] == 2.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_f1_of_counts_is_that_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    labels, predicted = zip(*rows, strict=True)
    sums = np.array([f1_counts(label, guess, 4) for label, guess in rows], dtype=float).sum(0)[None]
    expected: dict[str, Any] = {
        average: metrics.f1_score(labels, predicted, average=average, zero_division=0.0)
        for average in ("macro", "weighted")
    }
    assert macro_f1(sums)[0] == pytest.approx(expected["macro"])
    assert weighted_f1(sums)[0] == pytest.approx(expected["weighted"])
