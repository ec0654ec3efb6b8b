"""What a model is asked about a batch of records, and what it answered, widened to float64 log space once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pmcore.errors import AuditError

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Inputs: TypeAlias = Mapping[str, Array]
"""One array per model input, each with the records along its first axis."""


_LEAST = 1e-150
"""The least probability that is divided by: the square of what comes out is still a number."""


class Task(StrEnum):
    """The task head of a model: it decides what labels look like and which signals exist."""

    MULTICLASS = "multiclass"
    BINARY = "binary"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"


CLASSIFICATION = frozenset({Task.MULTICLASS, Task.BINARY})
ALL_TASKS = frozenset(Task)


class Scale(StrEnum):
    """What the numbers of a prediction are."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    VALUES = "values"


class Capability(StrEnum):
    """What a model can answer. A model has exactly those whose method it overrides."""

    PREDICTIONS = "predictions"
    ACTIVATIONS = "activations"
    HEAD_INPUT = "head_input"
    GRADIENTS = "gradients"
    FIT = "fit"


@dataclass(frozen=True)
class GradientRequest:
    """One per-record reduction of the gradient of the loss with respect to the parameters.

    Parameters
    ----------
    layers : layer names, or () for all parameters together; a signal may also give what `pmcore.layers.chosen`
        understands, which a model never sees
    reduction : "norm" (one number per layer) or "sketch" (a seeded random projection, see `pmcore.sketches`)
    order : order of the norm over all parameters of a layer: 1, 2 or inf
    size : length of the sketch of a layer
    """

    layers: tuple[str, ...] = ()
    reduction: str = "norm"
    order: float = 2.0
    size: int = 0


@dataclass(frozen=True)
class Want:
    """Everything that is wanted from one pass over a batch; ``|`` joins the wishes of several signals."""

    predictions: bool = False
    activations: frozenset[str] = frozenset()
    gradients: frozenset[GradientRequest] = frozenset()
    head_input: bool = False

    def __or__(self, other: Want) -> Want:
        return Want(
            self.predictions or other.predictions,
            self.activations | other.activations,
            self.gradients | other.gradients,
            self.head_input or other.head_input,
        )

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Return the capabilities that a model needs to answer this."""
        wanted = {
            Capability.PREDICTIONS: self.predictions,
            Capability.ACTIVATIONS: bool(self.activations),
            Capability.GRADIENTS: bool(self.gradients),
            Capability.HEAD_INPUT: self.head_input,
        }
        return frozenset(capability for capability, needed in wanted.items() if needed)


@dataclass(frozen=True)
class HeadInput:
    """What enters the last linear layer, whose output the predictions are.

    Parameters
    ----------
    values : (n, h)
    bias : whether the layer adds a bias
    """

    values: Array
    bias: bool


@dataclass(frozen=True)
class Outputs:
    """The answers of one model about one batch of n records.

    Parameters
    ----------
    task : the model's task head
    scale : what the numbers in `predictions` are
    labels : (n,) int64 class indices; (n, k) of 0 and 1 for multi-label; (n,) or (n, t) float64 for
        regression
    predictions : (n, k) as the model returned them, or None if they were not asked for; a binary model may
        return one column (the positive class) or two
    activations : layer name -> (n, ...)
    gradients : request -> (n, l) norms or (n, l * size) sketches
    head_input : what enters the last linear layer, or None if it was not asked for

    Notes
    -----
    The derived quantities are computed once, when first read, and shared by all signals of the batch.
    """

    task: Task
    scale: Scale
    labels: Array
    predictions: Array | None = None
    activations: Mapping[str, Array] = field(default_factory=dict)
    gradients: Mapping[GradientRequest, Array] = field(default_factory=dict)
    head_input: HeadInput | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def log_scores(self) -> Floats:
        """Return unnormalised log-probabilities, shape (n, k) float64, k >= 2; multi-label: logits per label.

        Laid out class by class in memory (Fortran order), in which sums and maxima over the classes of many
        records run two to six times faster than row by row.

        A one-column binary output z becomes the two columns (0, z). Probabilities are floored at the smallest
        positive number of their own type, so that an exact 0 stays the least likely value and not infinity.
        """
        if self.task is Task.REGRESSION:
            raise AuditError("a regression model has no class scores; its signals are built on its values")
        raw = self._columns()
        wide: Floats = raw.astype(np.float64, order="F")
        one_column = self.task is Task.BINARY and raw.shape[1] == 1
        if self.scale is not Scale.PROBABILITIES:
            return np.hstack([np.zeros_like(wide), wide]) if one_column else wide
        tiny = float(np.finfo(raw.dtype if raw.dtype.kind == "f" else np.float64).smallest_subnormal)
        log_p = np.log(np.maximum(wide, tiny))
        if self.task is not Task.MULTILABEL and not one_column:
            return log_p
        log_q = np.log(np.maximum(1.0 - wide, tiny))
        return np.hstack([log_q, log_p]) if one_column else log_p - log_q

    @cached_property
    def rescaled_logit(self) -> Floats:
        """Return log(p_y / (1 - p_y)) = z_y - logsumexp over the other classes, shape (n,) float64.

        Taken in this form it never saturates: differences between very confident records survive
        (Carlini et al., S&P 2022, on numerically stable logit scaling).
        """
        top, log_sum = self._against
        result: Floats = self.log_scores[np.arange(len(top)), self.labels] - top - log_sum
        return result

    @cached_property
    def best_other(self) -> Floats:
        """Return the highest score of a class other than the true one, shape (n,) float64."""
        top: Floats = self._against[0]
        return top

    @cached_property
    def _against(self) -> Floats:
        """Return the highest score of the other classes, and log-sum-exp of them above it, shape (2, n).

        Worked out in one array, in place: fresh memory costs more here than the arithmetic.
        """
        others = self.log_scores.copy(order="K")
        others[np.arange(len(others)), self.labels] = -np.inf
        top = others.max(axis=1)
        others -= top[:, None]
        np.exp(others, out=others)
        return np.stack([top, np.log(sum_over_classes(others))])

    @cached_property
    def log_probabilities(self) -> Floats:
        """Return log softmax of the scores, shape (n, k) float64; for classification with one label.

        The normaliser is log(1 + sum over the classes below the likeliest one), which keeps its precision where
        that class has nearly all: log p of 1 - 1e-20 is -1e-20 and not 0.
        """
        scores = self.log_scores
        rows = np.arange(len(scores))
        top = scores.argmax(axis=1)
        below = scores - scores[rows, top][:, None]
        others = np.exp(below)
        others[rows, top] = 0.0
        result: Floats = below - np.log1p(sum_over_classes(others))[:, None]
        return result

    @cached_property
    def loss_gradient(self) -> Floats:
        """Return the gradient of each record's loss with respect to its predictions as they are, shape (n, k).

        The loss is that of the signal `loss`. Nothing cancels: what a very confident model leaves of the gradient is
        taken as the sum of the other classes' probabilities and keeps its relative precision.
        """
        if self.task is Task.REGRESSION:
            return 2.0 * (self.values - self.labels.reshape(self.values.shape))
        if self.task is Task.MULTILABEL or self._columns().shape[1] == 1:
            return self._gradient_of_sigmoids()
        rows = np.arange(len(self))
        gradient = np.exp(self.log_probabilities)
        gradient[rows, self.labels] = -expit(-self.rescaled_logit)
        if self.scale is not Scale.PROBABILITIES:
            return gradient
        # Of log(sum p) - log p_y; the first term is nothing to a softmax and right for rows that do not sum to 1.
        by_probability = np.tile(1.0 / sum_over_classes(np.exp(self.log_scores))[:, None], gradient.shape[1])
        inverse = np.exp(np.minimum(-self.log_scores[rows, self.labels], -np.log(_LEAST)))
        by_probability[rows, self.labels] = gradient[rows, self.labels] * inverse
        return by_probability

    def _gradient_of_sigmoids(self) -> Floats:
        """Return the gradient of the binary cross-entropies of columns that each stand for themselves, (n, k)."""
        raw = self._columns().astype(np.float64)
        targets = self.labels.reshape(raw.shape) == 1
        if self.scale is not Scale.PROBABILITIES:
            return np.where(targets, -expit(-raw), expit(raw))
        kept = self._columns().dtype
        least = max(_LEAST, float(np.finfo(kept if kept.kind == "f" else np.float64).smallest_subnormal))
        return np.where(targets, -1.0 / np.maximum(raw, least), 1.0 / np.maximum(1.0 - raw, least))

    @cached_property
    def predicted(self) -> Array:
        """Return predicted classes (n,), predicted label sets (n, k) of 0 and 1, or values (n, t)."""
        if self.task is Task.REGRESSION:
            return self.values
        if self.task is Task.MULTILABEL:
            return (self.log_scores > 0).astype(np.int64)
        raw = self._columns()
        scores = self.log_scores if raw.shape[1] == 1 else raw
        best: Array = scores.argmax(axis=1)
        return best

    @cached_property
    def values(self) -> Floats:
        """Return the predicted values of a regression, shape (n, t) float64."""
        wide: Floats = self._columns().astype(np.float64)
        return wide

    def _columns(self) -> Array:
        if self.predictions is None:
            raise AuditError("this signal reads predictions that it did not declare in `want`")
        return self.predictions.reshape(len(self.labels), prod(self.predictions.shape[1:]))


def sum_over_classes(values: Floats) -> Floats:
    """Return the sums over the classes of (n, k) in Fortran order, added in the order of the classes, shape (n,).

    numpy adds a single record in pairs and several class by class: this way a record's sum does not depend on
    whether it came alone.
    """
    if len(values) == 1:
        return np.add.accumulate(values[0])[-1:]
    total: Floats = values.sum(axis=1)
    return total
