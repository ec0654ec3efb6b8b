"""The classifiers by their names: labelled rows in, log-odds of other rows out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Floats

Classifier = Literal["logistic", "mlp", "random_forest", "knn", "hist_gradient_boosting"]

DRAWING = frozenset({"mlp", "random_forest", "hist_gradient_boosting"})
"""Those that take a seed."""
KNOTS = 8
"""Knots of the splines of the logistic regression, at quantiles of the rows."""
RIDGE = 10.0
"""Penalty of the logistic regression: with a tenth it learns noise, with ten times as much it misses strong leaks."""
TREES, COLUMNS, LARGEST_LEAF, NEIGHBOURS = 100, 0.3, 20, 50
STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 1000, 20, 50
BATCH, HIDDEN, PENALTY = 200, 64, 1.0


def log_odds(
    classifier: Classifier,
    rows: Floats,
    splined: int,
    is_member: NDArray[np.bool_],
    asked: Floats,
    seed: int,
) -> Floats:
    """Learn from rows, and return the log-odds that others are members, shape (q,), finite.

    Parameters
    ----------
    rows : (t, f) scaled
    splined : first so many columns that a logistic regression reads through splines: members may lie in the middle
    is_member : (t,) of both sides some
    asked : (q, f)
    """
    if classifier == "logistic":
        return _logistic(rows, splined, is_member, asked)
    from threadpoolctl import threadpool_limits

    model = _model(classifier, len(rows), seed)
    # Small trees are grown in less time than threads take to meet, above all on a busy machine.
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(rows, is_member)
        both = np.asarray(model.predict_proba(asked), dtype=np.float64)
    # Shares of trees, and of neighbours, can be 0; the others are told apart down to the last digit.
    least = {"random_forest": 0.1 / TREES, "knn": 0.1 / NEIGHBOURS}.get(classifier, np.finfo(np.float64).eps)
    odds: Floats = np.log(np.maximum(both[:, 1], least)) - np.log(np.maximum(both[:, 0], least))
    return odds


def _logistic(rows: Floats, splined: int, is_member: NDArray[np.bool_], asked: Floats) -> Floats:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import SplineTransformer

    splines = SplineTransformer(KNOTS, 3, knots="quantile", extrapolation="linear").fit(rows[:, :splined])
    learnt, wanted = (np.hstack([splines.transform(each[:, :splined]), each]) for each in (rows, asked))
    model = LogisticRegression(C=1.0 / RIDGE, max_iter=10_000).fit(learnt, is_member)
    found: Floats = np.asarray(model.decision_function(wanted), dtype=np.float64)
    return found


def _model(classifier: Classifier, rows: int, seed: int) -> Any:
    """Return an untrained model for so many rows."""
    leaf = int(np.clip(rows // 20, 2, LARGEST_LEAF))
    if classifier == "mlp":
        return _Perceptron(rows, seed)
    if classifier == "knn":
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(int(np.clip(rows // 10, 1, NEIGHBOURS)), weights=_nearness)
    if classifier == "random_forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(TREES, min_samples_leaf=leaf, max_features=COLUMNS, random_state=seed)
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.05,
        l2_regularization=1.0,
        max_leaf_nodes=8,
        min_samples_leaf=leaf,
        early_stopping=False,
        random_state=seed,
    )


def _nearness(distances: Floats) -> Floats:
    """Return the weights of neighbours, finite at distance 0; they keep records apart that counts would tie."""
    weights: Floats = 1.0 / (1.0 + distances)
    return weights


class _Perceptron:
    """A perceptron of scikit-learn, for a number of epochs that the rows decide: its `fit` warns of a fixed one."""

    def __init__(self, rows: int, seed: int) -> None:
        from sklearn.neural_network import MLPClassifier

        batches = -(-rows // BATCH)
        self._epochs = int(np.clip(STEPS // batches, FEWEST_EPOCHS, MOST_EPOCHS))
        self._model = MLPClassifier((HIDDEN,), alpha=PENALTY, batch_size=min(BATCH, rows), random_state=seed)

    def fit(self, rows: Floats, is_member: NDArray[np.bool_]) -> None:
        for _ in range(self._epochs):
            self._model.partial_fit(rows, is_member, classes=[False, True])

    def predict_proba(self, asked: Floats) -> Floats:
        found: Floats = self._model.predict_proba(asked)
        return found
