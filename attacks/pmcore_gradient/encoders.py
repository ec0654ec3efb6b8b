"""The attack models of scikit-learn: components of known records in, log-odds of membership out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Floats
from pmcore_gradient.components import Component, Kind, joined
from pmcore_gradient.hyper_parameters import Encoder

_LEAST = 1e-4
"""The least probability of a random forest that is told from 0: leaves of some records know no smaller ones."""
_LEAF = 0.05
"""Share of the known records that a leaf of a tree holds at least, up to `_LARGEST_LEAF` of them."""
_LARGEST_LEAF = 20
_COLUMNS = 0.3
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

    The mean of two models, one of loss and norms alone and one of everything: hundreds of columns that say little
    would otherwise drown, in some hundred records, the few that say much.

    Parameters
    ----------
    components : standardised, each (n, d)
    known : (n,) whether the membership of a record is known
    is_member : (t,) of the known records
    """
    few = [component for component in components if component.kind in (Kind.LOSS, Kind.NORMS)]
    parts = []
    for features, share in ((joined(few), 1.0), (joined(components), _COLUMNS)):
        model = _model(encoder, hyper_parameters, len(is_member), share, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a fixed number of steps did not converge is meant
            model.fit(features[known], is_member)
        parts.append(_log_odds(model, features[~known]))
    mean: Floats = np.mean(parts, axis=0)
    return mean


def _log_odds(model: Any, asked: Floats) -> Floats:
    if hasattr(model, "decision_function"):
        found: Floats = np.asarray(model.decision_function(asked), dtype=np.float64)
        return found
    both = np.asarray(model.predict_proba(asked), dtype=np.float64)
    least = _LEAST if hasattr(model, "estimators_") else np.finfo(np.float64).eps
    odds: Floats = np.log(np.maximum(both[:, 1], least)) - np.log(np.maximum(both[:, 0], least))
    return odds


def _model(encoder: Encoder, given: Mapping[str, float], known: int, columns: float, seed: int) -> Any:
    """Return an untrained model; `columns` is the share of them among which a tree may choose where to split."""
    leaf = int(np.clip(_LEAF * known, 2, _LARGEST_LEAF))
    if encoder == "logistic":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=1.0 / given["weight_decay"], max_iter=1000)
    if encoder == "mlp":
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(
            (64,),
            alpha=given["weight_decay"],
            batch_size=min(int(given["batch_size"]), known),
            learning_rate_init=given["learning_rate"],
            max_iter=int(given["epochs"]),
            random_state=seed,
        )
    if encoder == "random_forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            int(given["trees"]), min_samples_leaf=max(leaf // 2, 1), max_features=min(columns, 0.5), random_state=seed
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
