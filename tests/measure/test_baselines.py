"""Baselines learn what their kind can learn, and know the classes by their numbers."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tailora.measure.baselines import linear_probe, majority, word_regression

TEXTS = ["goal match win", "bank market win", "goal score late", "market profit late"] * 5
LABELS = [0, 2, 0, 2] * 5


def test_the_majority_gives_the_shares_of_training() -> None:
    assert majority([0, 0, 2, 0], 3, 2) == [[0.75, 0.0, 0.25]] * 2


def test_words_decide_between_the_classes_that_training_has() -> None:
    found = np.array(word_regression(TEXTS, LABELS, 4, ["a late goal", "the market", "unknown"]))
    assert found.argmax(1)[:2].tolist() == [0, 2]
    assert found.sum(1) == pytest.approx(1) and (found[:, [1, 3]] == 0).all()


def test_words_are_regressed_as_scikit_learn_does_by_hand() -> None:
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)).fit(TEXTS)
    by_hand = LogisticRegression(C=10, max_iter=500).fit(words.transform(TEXTS), [0, 1, 0, 1] * 5)
    found = word_regression(TEXTS, [0, 1, 0, 1] * 5, 2, ["late goal"])
    assert found[0] == pytest.approx(by_hand.predict_proba(words.transform(["late goal"]))[0].tolist())


def test_a_probe_reads_states_whatever_their_scale() -> None:
    numbers = np.random.default_rng(0)
    labels = np.arange(200) % 3
    states = (np.eye(3)[labels] + 0.1 * numbers.normal(size=(200, 3))) * [1.0, 1000.0, 1e-3]
    found = np.array(linear_probe(states[:150].tolist(), labels[:150].tolist(), 3, states[150:].tolist()))
    assert (found.argmax(1) == labels[150:]).all()
