"""Classifiers that any other must beat: the commonest label, words counted, a linear map of a frozen model's states.

Each learns from the training rows and returns the probabilities of all classes for the test rows: [rows][classes].
Their settings are fixed; nothing is tuned.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Probabilities = list[list[float]]

_RARE = 1000  # training rows from which on a word must stand in two of them


def majority(labels: Sequence[int], classes: int, rows: int) -> Probabilities:
    """Give every row the shares of the classes among the training `labels`; the likeliest is the commonest."""
    shares = np.bincount(np.asarray(labels), minlength=classes) / len(labels)
    return [shares.tolist()] * rows


def word_regression(texts: Sequence[str], labels: Sequence[int], classes: int, asked: Sequence[str]) -> Probabilities:
    """Fit a logistic regression (C = 10) on TF-IDF of words and pairs of words, sublinear, as scikit-learn has them."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2 if len(texts) >= _RARE else 1)
    return _regress(words.fit_transform(texts), labels, classes, words.transform(asked), strength=10.0)


def linear_probe(states: Any, labels: Sequence[int], classes: int, asked: Any) -> Probabilities:
    """Fit a logistic regression (C = 1) on the standardised states of a frozen model [rows, width]."""
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler().fit(np.asarray(states, np.float64))
    known, unknown = (scale.transform(np.asarray(rows, np.float64)) for rows in (states, asked))
    return _regress(known, labels, classes, unknown, strength=1.0)


def _regress(known: Any, labels: Sequence[int], classes: int, asked: Any, strength: float) -> Probabilities:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=strength, max_iter=500).fit(known, labels)
    probabilities = np.zeros((asked.shape[0], classes))
    probabilities[:, fitted.classes_] = fitted.predict_proba(asked)
    return probabilities.tolist()  # type: ignore[no-any-return]
