"""How far answers about a record spread: its own variance, that of all records, or the one shrunk towards the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import digamma, gammaln, polygamma

from pmcore.outputs import Floats
from pmcore_reference.moments import Moments

Variance = Literal["auto", "per_record", "pooled", "shrink"]

MANY = 32
"""Models of a record from which on its own variance is taken."""
LEAST = 1e-6
"""The least standard deviation, as a share of the pooled one."""
LEAST_VARIANCE = 1e-5
"""The least variance of a record, as a share of the pooled one, where its logarithm is taken."""
STEADIEST = 1e6
"""Shape of a prior under which all records have one variance."""
FURTHEST = 1e100
"""Standard deviations beyond which nothing is told apart: the square is still a number."""


@dataclass(frozen=True, eq=False)
class Predictive:
    """The distribution of the next answer about each record: normal, or Student's t.

    Parameters
    ----------
    centre, scale : (n,)
    degrees : (n,) of freedom; None for a normal distribution
    """

    centre: Floats
    scale: Floats
    degrees: Floats | None = None

    def standardised(self, values: Floats) -> Floats:
        """Return how many scales each value lies above its centre, (n,)."""
        scaled: Floats = np.clip((values - self.centre) / self.scale, -FURTHEST, FURTHEST)
        return scaled

    def log_density(self, values: Floats) -> Floats:
        """Return the log density at each value, (n,)."""
        t = self.standardised(values)
        if self.degrees is None:
            normal: Floats = -0.5 * np.square(t) - np.log(self.scale) - 0.5 * np.log(2 * np.pi)
            return normal
        half = self.degrees / 2
        constant = gammaln(half + 0.5) - gammaln(half) - 0.5 * np.log(np.pi * self.degrees)
        student: Floats = constant - np.log(self.scale) - (half + 0.5) * np.log1p(np.square(t) / self.degrees)
        return student

    def z_scores(self, values: Floats) -> Floats:
        """Return standard normal quantiles of the values' tail probabilities, (n,); they never saturate.

        Those of Student's t by the approximation of Wallace (1959), increasing in the value like the probability.
        """
        t = self.standardised(values)
        if self.degrees is None:
            return t
        shrunk = (8 * self.degrees + 1) / (8 * self.degrees + 3)
        normal: Floats = np.sign(t) * shrunk * np.sqrt(self.degrees * np.log1p(np.square(t) / self.degrees))
        return normal


@dataclass(frozen=True)
class Prior:
    """An inverse gamma distribution of the records' variances."""

    shape: float
    rate: float


def pooled_variance(*sides: Moments) -> float:
    """Return the variance within records, over all records of all sides, each of which costs a degree of freedom."""
    degrees = sum(int(side.degrees.sum()) for side in sides)
    squares = sum(float((side.variance * side.degrees).sum()) for side in sides)
    return squares / degrees if degrees else 0.0


def fitted_prior(side: Moments) -> Prior:
    """Return the inverse gamma distribution that fits the logarithms of the records' variances by mean and variance.

    Of a variance with d degrees of freedom the logarithm lies psi(d / 2) - log(d / 2) from that of the true one on
    average, and varies by psi'(d / 2) about it. Logarithms, because a few records of large variance would drown the
    moments of the variances themselves, and draw those of small variance far up.

    References
    ----------
    Smyth. Linear Models and Empirical Bayes Methods for Assessing Differential Expression. SAGMB 2004 (section 6.2).
    """
    usual = pooled_variance(side)
    several = (side.degrees > 0) & (usual > 0)
    if not several.any():
        return Prior(STEADIEST, STEADIEST * usual)
    half, own = side.degrees[several] / 2, side.variance[several]
    logs = np.log(np.maximum(own, LEAST_VARIANCE * usual)) - digamma(half) + np.log(half)
    varies = float(logs.var(ddof=1) - polygamma(1, half).mean()) if len(logs) > 1 else 0.0
    if varies <= 1 / STEADIEST:
        return Prior(STEADIEST, STEADIEST * usual)
    shape = _inverse_trigamma(varies)
    return Prior(shape, shape * float(np.exp(logs.mean() + digamma(shape) - np.log(shape))))


def _inverse_trigamma(value: float) -> float:
    """Return the x with psi'(x) = value, by Newton's method on 1 / psi', which is nearly straight."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) <= 1e-12 * x:
            break
    return x


def predictive(side: Moments, variance: Variance, unit: float) -> Predictive:
    """Return how the next model of this side is expected to answer about each record.

    Parameters
    ----------
    unit : the standard deviation within records, of which a share is the least; see `unit_of`
    """
    if variance == "shrink":
        return _student(side, unit)
    if variance == "per_record":
        own = side.variance
    else:
        common = pooled_variance(side)
        own = (
            np.where(side.count >= MANY, side.variance, common)
            if variance == "auto"
            else np.full(len(side.count), common)
        )
    return Predictive(side.centre, _scale(own, unit))


def unit_of(*sides: Moments) -> float:
    """Return the standard deviation within records, over all records and sides; 1 where all references agree."""
    return float(np.sqrt(pooled_variance(*sides))) or 1.0


def _student(side: Moments, unit: float) -> Predictive:
    prior = fitted_prior(side)
    shape = prior.shape + side.degrees / 2
    rate = prior.rate + side.variance * side.degrees / 2
    spread = rate / shape * (1 + 1 / np.maximum(side.count, 1))
    return Predictive(side.centre, _scale(spread, unit), 2 * shape)


def _scale(variance: Floats, unit: float) -> Floats:
    """Return standard deviations, none below its share of the unit; the unit itself where no two answers differ."""
    scale: Floats = np.maximum(np.sqrt(variance), LEAST * unit) if variance.any() else np.full(len(variance), unit)
    return scale
