"""Writes a dense network as a fitted estimator in a `.skops` file, so that checks need no training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Array, Floats


def write_dense(path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
    """Write a multi-layer perceptron, or a logistic regression where there is no hidden layer.

    Of two classes the estimators keep the difference of the logits alone.

    Parameters
    ----------
    weights : (d, h1), (h1, h2), ... (hl, k), k >= 2
    biases : (h1,), ... (k,)

    Raises
    ------
    InputError
        There are fewer than two classes.
    """
    from skops.io import dump

    last = weights[-1].shape[1]
    if last < 2:
        raise InputError(f"{path}: {last} output cannot be written as a classifier; give two classes or more")
    coefs: list[Floats] = [np.array(weight, dtype=np.float64) for weight in weights]
    intercepts: list[Floats] = [np.array(bias, dtype=np.float64) for bias in biases]
    if last == 2:
        coefs[-1], intercepts[-1] = (np.diff(array[-1], axis=-1) for array in (coefs, intercepts))
    make = _regression if len(coefs) == 1 else _perceptron
    dump(make(coefs, intercepts, last), path)


def _regression(coefs: list[Floats], intercepts: list[Floats], classes: int) -> object:
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression()
    estimator.classes_ = np.arange(classes)
    estimator.coef_ = np.ascontiguousarray(coefs[0].T)
    estimator.intercept_ = intercepts[0]
    estimator.n_features_in_ = len(coefs[0])
    return estimator


def _perceptron(coefs: list[Floats], intercepts: list[Floats], classes: int) -> object:
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import LabelBinarizer

    estimator = MLPClassifier(hidden_layer_sizes=tuple(weight.shape[1] for weight in coefs[:-1]), activation="relu")
    estimator.coefs_, estimator.intercepts_ = coefs, intercepts
    estimator.n_layers_ = len(coefs) + 1
    estimator.n_outputs_ = coefs[-1].shape[1]
    estimator.out_activation_ = "logistic" if classes == 2 else "softmax"
    estimator.classes_ = np.arange(classes)
    estimator.n_features_in_ = len(coefs[0])
    # scikit-learn turns probabilities into labels by this one, and has no public place for it
    estimator._label_binarizer = LabelBinarizer().fit(estimator.classes_)
    return estimator
