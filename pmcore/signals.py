"""The built-in signals: a few lines of numpy each, in float64 log space, each with its declared direction."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import expit

from pmcore.interfaces import CLASSIFICATION, Access, Direction, Floats, Outputs, Signal, Task
from pmcore.outputs import sum_over_classes

LABELLED = CLASSIFICATION | {Task.MULTILABEL}


class Loss(Signal):
    """The training loss of a record.

    Cross-entropy log(1 + exp(-phi)) with phi the rescaled logit, which keeps relative precision down to the
    smallest losses where logsumexp(z) - z_y would cancel to zero; the sum of the binary cross-entropies for
    multi-label; the squared error (summed over the values) for regression.

    References
    ----------
    Yeom, Giacomelli, Fredrikson, Jha. Privacy Risk in Machine Learning: Analyzing the Connection to
    Overfitting. CSF 2018 (the loss-threshold adversaries).
    """

    direction: ClassVar[Direction] = Direction.LOWER
    tasks: ClassVar[frozenset[Task]] = frozenset(Task)

    def compute(self, outputs: Outputs) -> Floats:
        """Return the loss in nats (or squared units), shape (n,)."""
        if outputs.task is Task.REGRESSION:
            errors = outputs.values - outputs.labels.reshape(outputs.values.shape)
            squared: Floats = np.einsum("ij,ij->i", errors, errors)
            return squared
        if outputs.task is Task.MULTILABEL:
            signed = np.where(outputs.labels == 1, -outputs.log_scores, outputs.log_scores)
            total: Floats = np.logaddexp(0.0, signed).sum(axis=1)
            return total
        return _softplus(-outputs.rescaled_logit)


class Confidence(Signal):
    """The probability that the model gives to the true label: p_y = exp(-loss).

    For multi-label the joint probability of all labels of the record.

    References
    ----------
    Salem et al. ML-Leaks. NDSS 2019 (adversary 3).
    """

    direction: ClassVar[Direction] = Direction.HIGHER
    tasks: ClassVar[frozenset[Task]] = LABELLED

    def compute(self, outputs: Outputs) -> Floats:
        """Return probabilities, shape (n,)."""
        if outputs.task is Task.MULTILABEL:
            joint: Floats = np.exp(-Loss().compute(outputs))
            return joint
        confidence: Floats = expit(outputs.rescaled_logit)
        return confidence


class RescaledLogit(Signal):
    """The log-odds of the true label: log(p_y / (1 - p_y)) = z_y - logsumexp over the other classes.

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022 (logit scaling).
    """

    direction: ClassVar[Direction] = Direction.HIGHER

    def compute(self, outputs: Outputs) -> Floats:
        """Return log-odds, shape (n,)."""
        return outputs.rescaled_logit


class Hinge(Signal):
    """The margin of the true label over the best other one: z_y - max over j != y of z_j.

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022 (hinge loss).
    """

    direction: ClassVar[Direction] = Direction.HIGHER

    def compute(self, outputs: Outputs) -> Floats:
        """Return margins in logits, shape (n,)."""
        scores = outputs.log_scores
        margin: Floats = scores[np.arange(len(scores)), outputs.labels] - outputs.best_other
        return margin


class Entropy(Signal):
    """The entropy of the prediction: -sum_j p_j log p_j; for multi-label the sum over the labels.

    References
    ----------
    Salem et al. ML-Leaks. NDSS 2019 (adversary 3).
    """

    direction: ClassVar[Direction] = Direction.LOWER
    tasks: ClassVar[frozenset[Task]] = LABELLED

    def compute(self, outputs: Outputs) -> Floats:
        """Return entropies in nats, shape (n,)."""
        if outputs.task is Task.MULTILABEL:
            z = np.abs(outputs.log_scores)
            bits: Floats = (np.log1p(np.exp(-z)) + z * expit(-z)).sum(axis=1)
            return bits
        log_p = outputs.log_probabilities
        return -sum_over_classes(np.exp(log_p) * log_p)


class ModifiedEntropy(Signal):
    """The entropy of the prediction, made aware of the true label.

    -(1 - p_y) log p_y - sum over j != y of p_j log(1 - p_j): zero for a certain and right prediction,
    unbounded for a certain and wrong one. Every 1 - p_j is taken as a sum of other probabilities.

    References
    ----------
    Song, Mittal. Systematic Evaluation of Privacy Risks of Machine Learning Models. USENIX Security 2021
    (modified prediction entropy).
    """

    direction: ClassVar[Direction] = Direction.LOWER

    def compute(self, outputs: Outputs) -> Floats:
        """Return modified entropies in nats, shape (n,)."""
        log_p = outputs.log_probabilities
        rows = np.arange(len(log_p))
        p = np.exp(log_p)
        top = p.argmax(axis=1)
        without_top = p.copy(order="K")
        without_top[rows, top] = 0.0
        log_rest = np.log1p(-without_top)
        # 1 - p of the likeliest class is what the others have; at 0 it stands for less than the smallest number.
        others = np.maximum(sum_over_classes(without_top), np.finfo(np.float64).smallest_subnormal)
        log_rest[rows, top] = np.log(others)
        terms = p * log_rest
        phi = outputs.rescaled_logit
        terms[rows, outputs.labels] = -expit(-phi) * _softplus(-phi)
        return -sum_over_classes(terms)


class Correctness(Signal):
    """Whether the predicted label is the true one: 1[argmax_j z_j = y]; for multi-label whether all labels are.

    References
    ----------
    Yeom, Giacomelli, Fredrikson, Jha. Privacy Risk in Machine Learning. CSF 2018 (adversary 1 under the 0/1 loss).
    """

    access: ClassVar[Access] = Access.LABEL
    direction: ClassVar[Direction] = Direction.HIGHER
    tasks: ClassVar[frozenset[Task]] = LABELLED

    def compute(self, outputs: Outputs) -> Floats:
        """Return 1.0 or 0.0, shape (n,)."""
        right = outputs.predicted == outputs.labels
        every: Floats = right.reshape(len(right), -1).all(axis=1).astype(np.float64)
        return every


def _softplus(x: Floats) -> Floats:
    """Return log(1 + exp(x)) with full relative precision at both ends, shape as `x`."""
    result: Floats = np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))
    return result
