"""How a model file ends: which tensor holds the predictions, and which one comes before its last activation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod
from pathlib import Path

import numpy as np
from scipy.special import expit, log_softmax, softmax

from pmcore.errors import InputError
from pmcore.interfaces import Array, Floats
from pmcore.quoting import printable


class Ending(StrEnum):
    """How a model turns its scores into the predictions that it returns."""

    NONE = "none"
    SOFTMAX = "softmax"
    LOG_SOFTMAX = "log-softmax"
    SIGMOID = "sigmoid"
    COMPLEMENT = "two columns of one sigmoid"

    def scores(self, before: Array) -> Array:
        """Return the scores (b, k) behind the predictions: one column where two are of one sigmoid."""
        return before[:, -1:] if self is Ending.COMPLEMENT else before

    def apply(self, before: Array) -> Floats:
        """Return what the activation makes of the tensor before it, (b, k) float64."""
        wide: Floats = before.astype(np.float64)
        if self is Ending.SOFTMAX:
            wide = softmax(wide, axis=1)
        elif self is Ending.LOG_SOFTMAX:
            wide = log_softmax(wide, axis=1)
        elif self is Ending.SIGMOID:
            wide = expit(wide)
        elif self is Ending.COMPLEMENT:
            wide = np.hstack([expit(-wide[:, -1:]), expit(wide[:, -1:])])
        return wide


@dataclass(frozen=True)
class Head:
    """What a model file says about its predictions.

    Parameters
    ----------
    output : the tensor that the model returns as predictions
    before : the tensor before its last activation, or None where there is none or it cannot be read
    ending : the activation between the two
    others : more endings that may explain the output, to be tried in this order where `ending` does not
    probabilities : whether the file says that `output` holds probabilities that cannot be traced to scores
    regressor : whether the model ends in an operator that predicts values
    notes : what a reader of the report must know
    """

    output: str
    before: str | None = None
    ending: Ending = Ending.NONE
    others: tuple[Ending, ...] = ()
    probabilities: bool = False
    regressor: bool = False
    notes: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return what a first look needs: the tensor before the activation, where there is one, and the output."""
        return (self.output,) if self.before is None else (self.before, self.output)

    def without_step(self) -> Head:
        """Return the same head, read after its activation."""
        return replace(self, before=None, others=(), ending=Ending.NONE, probabilities=False)


def rows(array: Array, records: int, name: str, path: Path) -> Array:
    """Return predictions as (b, k).

    Raises
    ------
    InputError
        The tensor has more than one number per class, or not one row per record.
    """
    if array.ndim == 0 or array.shape[0] != records:
        raise InputError(
            f"{path}: output {name!r} has shape {list(array.shape)} for {records} records; "
            "choose an output with one row per record (--output)"
        )
    check_shape(array.shape, name, path)
    return array.reshape(records, prod(array.shape[1:]))


def check_shape(shape: Sequence[int | str | None], name: str, path: Path) -> int | None:
    """Return the number of predictions per record in a shape (b, ...), or None if it is open."""
    sizes = [size for size in shape[1:] if size != 1]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) > 1:
        shown = ",".join("?" if size is None else printable(str(size)) for size in shape)
        raise InputError(
            f"{path}: output {name!r} has shape [{shown}], which is not a classification head; sequences and maps "
            "of predictions cannot be audited yet: choose an output with one row per record (--output)"
        )
    if len(known) < len(sizes):
        return None
    return known[0] if known else 1
