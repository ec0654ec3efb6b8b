"""Log confidences as RMIA reads them: with a temperature, and under a softmax of Taylor polynomials with a margin."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, inf
from typing import ClassVar

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import CLASSIFICATION, Access, Direction, Floats, Outputs, Signal, Task
from pmcore.outputs import sum_over_classes

HIGHEST_ORDER = 20


@dataclass(frozen=True)
class LogConfidence(Signal):
    """The logarithm of the probability that the model gives to the true label, at a temperature.

    log p_y = log softmax(z / T)_y, taken from the log-odds so that it keeps its relative precision where p_y is nearly
    1; for multi-label the sum over the labels. At temperature 1 it is the loss with its sign turned.

    Parameters
    ----------
    temperature : what logits are divided by

    References
    ----------
    Zarifzadeh, Liu, Shokri. Low-Cost High-Power Membership Inference Attacks. ICML 2024 (the confidence in its ratios,
    and its temperature).
    """

    direction: ClassVar[Direction] = Direction.HIGHER
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION | {Task.MULTILABEL}

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature("log_confidence", self.temperature)

    def compute(self, outputs: Outputs) -> Floats:
        """Return log probabilities in nats, shape (n,)."""
        if outputs.task is Task.MULTILABEL:
            signed = np.where(outputs.labels == 1, -outputs.log_scores, outputs.log_scores) / self.temperature
            joint: Floats = -np.logaddexp(0.0, signed).sum(axis=1)
            return joint
        if self.temperature == 1.0:
            return _log_probability(outputs.rescaled_logit)
        return _log_probability(_log_odds(outputs.log_scores / self.temperature, outputs, None))


@dataclass(frozen=True)
class TaylorConfidence(Signal):
    """The logarithm of the true label's share under a softmax of Taylor polynomials, with a margin.

    P(z_y / T - m) / (P(z_y / T - m) + sum over j != y of P(z_j / T)) with P(a) = sum over i <= n of a^i / i!, which is
    positive for even n. Unlike a softmax it changes when a constant is added to all logits; of a model that gives
    probabilities, their logarithms stand for the logits.

    Parameters
    ----------
    order : n, an even number
    margin : m, how much the true label's logit must be ahead
    temperature : what logits are divided by

    References
    ----------
    Banerjee et al. Exploring Alternatives to Softmax Function. 2020 (SM-Taylor).
    Zarifzadeh, Liu, Shokri. Low-Cost High-Power Membership Inference Attacks. ICML 2024 (order 4, margin 0.6).
    """

    access: ClassVar[Access] = Access.LOGITS
    direction: ClassVar[Direction] = Direction.HIGHER

    order: int = 4
    margin: float = 0.6
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_temperature("taylor_confidence", self.temperature)
        if self.order % 2 or not 2 <= self.order <= HIGHEST_ORDER:
            raise InputError(f"taylor_confidence: order: {self.order} - give an even number from 2 to {HIGHEST_ORDER}")
        if not 0 <= self.margin < inf:
            raise InputError(f"taylor_confidence: margin: {self.margin:g} - give 0 or more")

    def compute(self, outputs: Outputs) -> Floats:
        """Return logarithms of shares, shape (n,)."""
        scaled = outputs.log_scores / self.temperature
        own = scaled[np.arange(len(scaled)), outputs.labels] - self.margin
        logs = _log_polynomial(scaled, self.order)
        return _log_probability(_log_odds(logs, outputs, _log_polynomial(own, self.order)))


def _check_temperature(signal: str, temperature: float) -> None:
    if not 0 < temperature < inf:
        raise InputError(f"{signal}: temperature: {temperature:g} - give a number above 0")


def _log_odds(scores: Floats, outputs: Outputs, own: Floats | None) -> Floats:
    """Return the true label's score less the log-sum-exp of all others, shape (n,).

    Parameters
    ----------
    scores : (n, k)
    own : (n,) the true label's score, where it is not the one that stands in `scores`
    """
    rows = np.arange(len(scores))
    others = np.asfortranarray(scores)
    true = others[rows, outputs.labels] if own is None else own
    others[rows, outputs.labels] = -inf
    top = others.max(axis=1)
    others -= top[:, None]
    odds: Floats = true - top - np.log(sum_over_classes(np.exp(others)))
    return odds


def _log_probability(log_odds: Floats) -> Floats:
    """Return log(1 / (1 + exp(-log_odds))) with full relative precision at both ends, shape (n,)."""
    result: Floats = -np.logaddexp(0.0, -log_odds)
    return result


def _log_polynomial(a: Floats, order: int) -> Floats:
    """Return log of the sum over i <= order of a^i / i!, shape as `a`; in powers of 1 / a where a is large."""
    small = np.abs(a) <= 1.0
    near, far = np.where(small, a, 0.0), 1.0 / np.where(small, 1.0, a)
    direct, inverse = np.zeros_like(a), np.zeros_like(a)
    for i in range(order, -1, -1):
        direct = direct * near + 1.0 / factorial(i)
        inverse = inverse * far + factorial(order) / factorial(order - i)
    logs: Floats = np.where(
        small, np.log(direct), np.log(inverse) - order * np.log(np.abs(far)) - np.log(float(factorial(order)))
    )
    return logs
