"""The attack models of scikit-learn: components of known records in, log-odds of membership out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Floats
from pmcore_gradient.components import Component, Kind, joined
from pmcore_gradient.hyper_parameters import Encoder

KNOTS = 8
"""Knots of the splines of the logistic regression, at quantiles of the known records."""
SHARE_OF_MANY = 0.5
"""Prior variance that all columns but loss and norms together give to the log-odds, in units of the weight decay."""
LEAST = 1e-4
"""The least probability of a random forest that is told from 0: leaves of some records know no smaller ones."""
LEAF, LARGEST_LEAF = 0.05, 20
"""Share of the known records that a leaf of a tree holds at least, and how many that are at most."""
COLUMNS = 0.3
"""Share of all columns among which a split of a tree is chosen, so that the same few do not make every tree."""


def log_odds(
    encoder: Encoder,
    components: Sequence[Component],
    known: NDArray[np.bool_],
    is_member: NDArray[np.bool_],
    hyper_parameters: Mapping[str, float],
    seed: int,
) -> Floats:
    """Learn from known records, and return the log-odds that others are members, shape (q,).

    Loss and norms are few columns that say much; hundreds of others say little and would drown them in some hundred
    records. So a logistic regression pays more for the weights of those, and the other encoders are the mean of two
    models, one of loss and norms alone and one of everything.

    Parameters
    ----------
    components : standardised, each (n, d)
    known : (n,) whether the membership of a record is known
    is_member : (t,) of the known records
    """
    few = joined([component for component in components if component.kind in (Kind.LOSS, Kind.NORMS)])
    many = joined([component for component in components if component.kind not in (Kind.LOSS, Kind.NORMS)])
    if encoder == "logistic":
        return _logistic(few, many, known, is_member, hyper_parameters["weight_decay"])
    models = [
        (few, _model(encoder, hyper_parameters, len(is_member), 1.0, seed)),
        (np.hstack([few, many]), _model(encoder, hyper_parameters, len(is_member), COLUMNS, seed)),
    ]
    mean: Floats = np.mean([_learnt(model, features, known, is_member) for features, model in models], axis=0)
    return mean


def _logistic(
    few: Floats, many: Floats, known: NDArray[np.bool_], is_member: NDArray[np.bool_], weight_decay: float
) -> Floats:
    """Return the log-odds of a logistic regression on splines of few columns, and on many as they are.

    On splines because members may lie in the middle of others: an overfitted model knows them well, and the easiest of
    all other records better.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import SplineTransformer

    splines = SplineTransformer(KNOTS, 3, knots="quantile", extrapolation="linear").fit(few[known])
    features = np.hstack([splines.transform(few), many * np.sqrt(SHARE_OF_MANY / many.shape[1])])
    return _learnt(LogisticRegression(C=1.0 / weight_decay, max_iter=10_000), features, known, is_member)


def _learnt(model: Any, features: Floats, known: NDArray[np.bool_], is_member: NDArray[np.bool_]) -> Floats:
    model.fit(features[known], is_member)
    asked = features[~known]
    if hasattr(model, "decision_function"):
        found: Floats = np.asarray(model.decision_function(asked), dtype=np.float64)
        return found
    both = np.asarray(model.predict_proba(asked), dtype=np.float64)
    least = LEAST if hasattr(model, "estimators_") else np.finfo(np.float64).eps
    odds: Floats = np.log(np.maximum(both[:, 1], least)) - np.log(np.maximum(both[:, 0], least))
    return odds


def _model(encoder: Encoder, given: Mapping[str, float], known: int, columns: float, seed: int) -> Any:
    """Return an untrained model for `known` records; a split is chosen among this share of the columns."""
    leaf = int(np.clip(LEAF * known, 2, LARGEST_LEAF))
    if encoder == "mlp":
        return _Perceptron(given, known, seed)
    if encoder == "random_forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            int(given["trees"]), min_samples_leaf=leaf // 2, max_features=min(columns, 0.5), random_state=seed
        )
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=int(given["trees"]),
        learning_rate=given["learning_rate"],
        l2_regularization=given["weight_decay"],
        max_leaf_nodes=8,
        min_samples_leaf=leaf,
        max_features=columns,
        early_stopping=False,
        random_state=seed,
    )


class _Perceptron:
    """A perceptron of scikit-learn with 64 hidden units, for a fixed number of epochs: its `fit` warns of that."""

    def __init__(self, given: Mapping[str, float], known: int, seed: int) -> None:
        from sklearn.neural_network import MLPClassifier

        self._epochs = int(given["epochs"])
        self._model = MLPClassifier(
            (64,),
            alpha=given["weight_decay"],
            batch_size=min(int(given["batch_size"]), known),
            learning_rate_init=given["learning_rate"],
            random_state=seed,
        )

    def fit(self, features: Floats, is_member: NDArray[np.bool_]) -> None:
        for _ in range(self._epochs):
            self._model.partial_fit(features, is_member, classes=[False, True])

    def predict_proba(self, features: Floats) -> Floats:
        found: Floats = self._model.predict_proba(features)
        return found
