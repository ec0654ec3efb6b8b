"""Estimators that are dense layers, namely linear models and perceptrons: their layers, and gradients by record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from pmcore.dense_gradients import DenseGradient
from pmcore.interfaces import Array, Floats, Layer
from pmcore_sklearn.estimators import HIDDEN, innermost, log_shares

_SLOPES: Mapping[str, Callable[[Floats], Floats]] = {
    "identity": np.ones_like,
    "logistic": lambda z: expit(z) * expit(-z),
    "tanh": lambda z: 4.0 * expit(2.0 * z) * expit(-2.0 * z),
    "relu": lambda z: (z > 0).astype(np.float64),
}
"""Derivatives of the activations, in forms that keep their digits where an activation is saturated."""


@dataclass(frozen=True)
class Dense:
    """A dense layer.

    Parameters
    ----------
    weight : (d, h)
    bias : (h,)
    fitted : whether the bias was fitted, and is a parameter
    transposed : whether the estimator keeps the weight as (h, d)
    """

    weight: Floats
    bias: Floats
    fitted: bool
    transposed: bool


@dataclass(frozen=True)
class Layered:
    """Dense layers with an activation between them.

    Parameters
    ----------
    layers : by name
    activation : "relu", "tanh", "logistic" or "identity"
    """

    layers: Mapping[str, Dense]
    activation: str

    def described(self) -> tuple[Layer, ...]:
        """Return the layers as reports show them; the outputs of those within include the activation."""
        return tuple(
            Layer(i, name, "Dense", ("batch", len(own.bias)), own.weight.size + own.bias.size * own.fitted)
            for i, (name, own) in enumerate(self.layers.items())
        )

    def outputs(self, x: Floats) -> list[Floats]:
        """Return what leaves each layer before its activation, each (n, h)."""
        found: list[Floats] = []
        for layer in self.layers.values():
            entering = x if not found else HIDDEN[self.activation](found[-1])
            found.append(entering @ layer.weight + layer.bias)
        return found

    def entering(self, x: Floats) -> Floats:
        """Return what enters the last layer, (n, h)."""
        return HIDDEN[self.activation](self.outputs(x)[-2]) if len(self.layers) > 1 else x

    def gradients(self, x: Floats, cotangents: Floats) -> dict[str, DenseGradient]:
        """Return layer name -> gradients of the loss of each record, by backpropagation.

        Parameters
        ----------
        x : (n, d) what enters the first layer
        cotangents : (n, k) gradient of the loss of each record with respect to what leaves the last
        """
        outputs, errors = self.outputs(x), cotangents
        found: dict[str, DenseGradient] = {}
        for depth, (name, layer) in reversed(list(enumerate(self.layers.items()))):
            entering = HIDDEN[self.activation](outputs[depth - 1]) if depth else x
            found = {name: DenseGradient(entering, errors, layer.fitted, layer.transposed)} | found
            if depth:
                errors = (errors @ layer.weight.T) * _SLOPES[self.activation](outputs[depth - 1])
        return found


def layered(estimator: Any) -> Layered | None:
    """Return the dense layers of an estimator by its fitted attributes, or None if it has none."""
    last = innermost(estimator).last
    if isinstance(getattr(last, "coefs_", None), list):
        pairs = zip(last.coefs_, last.intercepts_, strict=True)
        layers = {f"layer{i}": Dense(_wide(w), _wide(b), True, False) for i, (w, b) in enumerate(pairs)}
        return Layered(layers, str(last.activation)) if last.activation in HIDDEN else None
    coef, intercept = getattr(last, "coef_", None), getattr(last, "intercept_", None)
    if not isinstance(coef, np.ndarray) or coef.ndim not in (1, 2) or intercept is None:
        return None
    weight = np.atleast_2d(_wide(coef)).T
    bias = np.broadcast_to(_wide(intercept), (weight.shape[1],))
    return Layered({"linear": Dense(weight, bias, bool(getattr(last, "fit_intercept", True)), True)}, "identity")


def explains(found: Layered, estimator: Any, x: Array, way: Callable[[Any, Array], Array]) -> bool:
    """Tell whether the answer that is read of an estimator is what its layers give."""
    given = way(estimator, x)
    scores = found.outputs(transformed(estimator, x))[-1]
    made = log_expit(scores) if way is log_shares else scores
    return made.shape == given.shape and bool(np.allclose(made, given, rtol=1e-6, atol=1e-6 * np.abs(given).max()))


def at_the_scores(scores: Floats, gradient: Floats, way: Callable[[Any, Array], Array]) -> Floats:
    """Return the gradient of the loss with respect to what leaves the last layer, (n, k).

    Parameters
    ----------
    gradient : (n, k) with respect to the predictions, which are logarithms of sigmoids of it, or it itself
    """
    return gradient * expit(-scores) if way is log_shares else gradient


def transformed(estimator: Any, x: Array) -> Floats:
    """Return what the steps of pipelines make of records before the last estimator sees them, (n, d)."""
    found: Any = x
    for step in innermost(estimator).before:
        found = step.transform(found)
    return _wide(found.toarray() if hasattr(found, "toarray") else found)


def _wide(array: Any) -> Floats:
    wide: Floats = np.asarray(array, dtype=np.float64)
    return wide
