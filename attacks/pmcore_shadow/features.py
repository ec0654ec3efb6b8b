"""What a classifier reads of a pair of model and record, column by column, on scales that can be learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.interfaces import Array, Floats

Features = Literal["top3", "vector"]

LOSS, RIGHT = "rescaled_logit", "correctness"
VECTOR, TOP = "prediction_vector", "top_predictions"


def signals_for(features: Features) -> tuple[str, ...]:
    """Return the signals that are read of every model."""
    return (LOSS, RIGHT, VECTOR if features == "vector" else TOP)


def read_features(attack: str, features: Features, read: Callable[[str], Floats]) -> Floats:
    """Return features, shape (..., f): the loss on the scale of log-odds, correctness, and the prediction.

    A vector and a label tell the first two as well, if only to who learns each class by itself.

    Parameters
    ----------
    attack : whose they are, for the error
    read : signal -> (...) or (..., d)

    Raises
    ------
    InputError
        A value is not finite.
    """
    loss, right, prediction = (read(name) for name in signals_for(features))
    columns = np.concatenate([loss[..., None], right[..., None], prediction], axis=-1)
    if not np.isfinite(columns).all():
        raise InputError(f"{attack}: some answers of a model are not finite - check the model's own precision")
    return columns


@dataclass(frozen=True, eq=False)
class Scaling:
    """Mean and deviation of the columns of some rows, by which these rows and others are scaled.

    Parameters
    ----------
    largest, mean, deviation : (f,)
    """

    largest: Floats
    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, rows: Floats) -> Scaling:
        """Return the scaling of (t, f)."""
        # By the largest first: numbers near the ends of float64 have a deviation too.
        largest = np.abs(rows).max(axis=0, initial=0.0)
        largest = np.where(largest > 0, largest, 1.0)
        unit = rows / largest
        return cls(largest, unit.mean(axis=0), unit.std(axis=0))

    def __call__(self, rows: Floats) -> Floats:
        """Return (q, f) with mean 0 and deviation 1 where they are those of the scaling; no two values become equal.

        Far values come nearer, by the inverse hyperbolic sine, so that a few of them do not make the classifier.
        """
        varies = self.deviation > 1e-12  # less is what rounding leaves of a constant
        scaled = np.where(varies, (rows / self.largest - self.mean) / np.where(varies, self.deviation, 1.0), 0.0)
        near: Floats = np.arcsinh(scaled)
        return near


def one_hot(labels: Array, classes: NDArray[np.int64]) -> Floats:
    """Return a column for each of these classes, shape (t, c)."""
    hot: Floats = (labels[:, None] == classes).astype(np.float64)
    return hot
