"""How far chance alone could move a figure: intervals for proportions, ranks, thresholds and maxima.

Everything here conditions on the one model that was audited: an interval speaks of redrawn records, not of
retraining. ``scipy.stats`` would be shorter and is avoided, because importing it costs most of a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrik, betaincinv, expit, logit, ndtri

from pmcore.errors import InputError
from pmcore.outputs import Floats

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """Both ends of the interval of one figure."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Bounds:
    """Both ends of g intervals, shapes (g,)."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Proportion:
    """A share of n independent records with its interval; all ``None`` when n is 0."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def proportion(successes: int, n: int, confidence: float = 0.95) -> Proportion:
    """Return successes / n with its Clopper-Pearson interval.

    Raises
    ------
    InputError
        The counts are not 0 <= successes <= n, or the confidence is outside (0, 1).

    References
    ----------
    Clopper and Pearson, Biometrika 26 (1934).
    """
    tail = tail_error(confidence)
    if not 0 <= successes <= n:
        raise InputError(f"a proportion needs 0 <= successes <= n, not {successes} of {n}")
    if n == 0:
        return Proportion(value=None, low=None, high=None, n=0)
    low = float(binomial_lower(successes, n, tail))
    high = float(binomial_upper(successes, n, tail))
    return Proportion(value=successes / n, low=low, high=high, n=int(n))


def tail_error(confidence: float) -> float:
    """Return the error allowed on each side of a two-sided interval, (1 - confidence) / 2."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie strictly between 0 and 1, not {confidence}")
    return (1 - confidence) / 2


def binomial_lower(successes: ArrayLike, n: int, error: float) -> Floats:
    """Return Clopper-Pearson's one-sided lower bounds of the probability, in the shape of successes."""
    k = np.asarray(successes, dtype=np.float64)
    # betaincinv wants positive parameters; the maximum is only read where k is 0, where the bound is 0.
    bound = betaincinv(np.maximum(k, 0.5), n - k + 1, error)
    return np.asarray(np.where(k > 0, bound, 0.0), dtype=np.float64)


def binomial_upper(successes: ArrayLike, n: int, error: float) -> Floats:
    """Return Clopper-Pearson's one-sided upper bounds of the probability, in the shape of successes."""
    k = np.asarray(successes, dtype=np.float64)
    return np.asarray(1 - binomial_lower(n - k, n, error), dtype=np.float64)


def auc_interval(auc: float, variance: float, confidence: float) -> Interval | None:
    """Return the interval of an AUC on the logit scale, or ``None`` where the variance says nothing.

    On its own scale DeLong's interval covers 68 % at 20 + 20 records and AUC .98, and leaves [0, 1].

    Parameters
    ----------
    auc, variance
        The area, and DeLong's estimate of the variance of that area (nan with one record on a side).
    confidence
        Two-sided, in (0, 1).

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); Qin and Hotilovac, Stat. Methods Med. Res. 17
    (2008).
    """
    tail = tail_error(confidence)
    if not (0 < auc < 1 and variance > 0):
        return None
    reach = -float(ndtri(tail)) * math.sqrt(variance) / (auc * (1 - auc))
    centre = logit(auc)
    return Interval(low=float(expit(centre - reach)), high=float(expit(centre + reach)))


def auc_score_interval(auc: float, n_members: int, n_nonmembers: int, confidence: float) -> Interval:
    """Return the score interval of an AUC: all areas A with |auc - A| <= z sqrt(V(A)).

    V is the variance of Hanley and McNeil for exponential scores, with both sample sizes less one replaced by
    their common mean, (n1 + n0) / 2 - 1. It depends on the area alone and not on an estimate from few records.

    References
    ----------
    Newcombe. Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2.
    Stat. Med. 25 (2006), method 5.
    Hanley, McNeil. The meaning and use of the area under a ROC curve. Radiology 143 (1982).
    """
    z = -float(ndtri(tail_error(confidence)))
    weight = (n_members + n_nonmembers) / 2 - 1

    def outside(area: float) -> bool:
        spread = 1 + weight * ((1 - area) / (2 - area) + area / (1 + area))
        return (auc - area) ** 2 > z**2 * area * (1 - area) * spread / (n_members * n_nonmembers)

    return Interval(low=_edge(0.0, auc, outside), high=_edge(1.0, auc, outside))


def _edge(far: float, near: float, outside: Callable[[float], bool]) -> float:
    """Return where `outside` ends between a point beyond and a point within, by bisection."""
    for _ in range(60):
        middle = (far + near) / 2
        far, near = (middle, near) if outside(middle) else (far, middle)
    return far


def advantage_interval(advantage: float, n_members: int, n_nonmembers: int, confidence: float) -> Interval:
    """Return the interval of the largest TPR - FPR over all thresholds, which is biased upwards.

    Below, where the search over thresholds could flatter, the band holds for all thresholds at once: with
    the true value d, observed maximum D and N records in all, D - d <= 2 c sqrt((1/n1 + 1/n0)/4 - d^2/N),
    where c = sqrt(ln(1/tail)/2). The root is the largest standard deviation that TPR - FPR = d allows. At d
    = 0 this is the distribution-free two-sample Kolmogorov-Smirnov bound; towards 1 it tightens as the data
    do. Above, one fixed threshold is enough, the best one of the population, because D is never less than
    what is observed there: Clopper-Pearson on the balanced accuracy (1 + D)/2 of 2 min(n1, n0) records,
    which has at least the spread of the average of the two sides.

    The interval is conservative: simulated coverage is 97-100 % for Gaussian and two-valued scores, 10 to 1
    000 records a side, with and without a leak. The plain Kolmogorov-Smirnov band, as wide at d = .9 as at
    0, is several times wider.

    References
    ----------
    Massart, Ann. Probab. 18 (1990), for c; Hoeffding, Ann. Math. Stat. 27 (1956), for the upper end.
    """
    tail = tail_error(confidence)
    n = n_members + n_nonmembers
    # The bound, squared, is quadratic in d: grow d^2 - 2 D d + D^2 - square (1/n1 + 1/n0)/4 = 0.
    square = 2 * math.log(1 / tail)
    grow = 1 + square / n
    constant = advantage**2 - square * (1 / n_members + 1 / n_nonmembers) / 4
    root = math.sqrt(max(advantage**2 - grow * constant, 0.0))
    pooled = 2 * min(n_members, n_nonmembers)
    high = 2 * float(binomial_upper((1 + advantage) / 2 * pooled, pooled, tail)) - 1
    return Interval(low=max((advantage - root) / grow, 0.0), high=min(high, 1.0))


def bootstrap_tpr(
    members: Floats,
    nonmembers: Floats,
    fpr: float,
    rng: np.random.Generator,
    draws: int,
    confidence: float,
) -> Interval:
    """Return the interval of the TPR at one FPR, drawing both the threshold and the members above it.

    Each draw costs O(log n), no array is resampled. J ~ Binomial(n0, fpr) non-members lie above the true
    threshold, which is then between the J-th and the (J + 1)-th largest of them. With m of n1 members
    above the former, the lower end draws from Beta(m, n1 - m + 1); with m above the latter, the upper end
    draws from Beta(m + 1, n1 - m): the laws whose quantiles are Clopper-Pearson's bounds.

    Simulated coverage is 95-100 %. Resampling both sides covers less in two ways, and agrees where many
    records lie on every side of the threshold: from m = 0 or m = n1 it cannot move (58 % at TPR 1 % with 50
    members), and the threshold of a resample that allows 10 false positives is too seldom far off (92 % at
    TPR .75 with 10 000 members).

    Parameters
    ----------
    members, nonmembers
        Ascending scores, shapes (n1,) and (n0,).
    fpr
        In (0, 1), and at least 1 / n0.
    draws
        How many thresholds are drawn.
    """
    tail = tail_error(confidence)
    n1, n0 = members.size, nonmembers.size
    passed = rng.binomial(n0, fpr, size=draws)
    fewest = _fewest_above(members, nonmembers, passed)
    most = _most_above(members, nonmembers, passed)
    low = np.where(fewest > 0, rng.beta(np.maximum(fewest, 1), n1 - fewest + 1), 0.0)
    high = np.where(most < n1, rng.beta(most + 1, np.maximum(n1 - most, 1)), 1.0)
    return Interval(low=float(np.quantile(low, tail)), high=float(np.quantile(high, 1 - tail)))


def order_statistic_tpr(members: Floats, nonmembers: Floats, fpr: Floats, confidence: float) -> Bounds:
    """Return the distribution-free intervals of the TPR at each FPR: order statistics, then Clopper-Pearson.

    With J ~ Binomial(n0, fpr) non-members above the true threshold, that threshold lies between two order
    statistics of the non-members except for half of the error; the members above those are bounded with the
    other half. Only strictly higher members count at both ends: at most k2 non-members above the true
    threshold means that the (k2 + 1)-th largest is not above it. At the nominal 95 % it covers about 99 %.

    Parameters
    ----------
    members, nonmembers
        Ascending scores, shapes (n1,) and (n0,).
    fpr
        Shape (g,), each in (0, 1).
    """
    part = tail_error(confidence) / 2
    n1, n0 = members.size, nonmembers.size
    fewest = _fewest_above(members, nonmembers, _binomial_quantile(part, n0, fpr))
    most = _most_above(members, nonmembers, _binomial_quantile(1 - part, n0, fpr))
    return Bounds(low=binomial_lower(fewest, n1, part), high=binomial_upper(most, n1, part))


def _fewest_above(members: Floats, nonmembers: Floats, passed: Counts) -> Counts:
    """Return the members surely above a threshold that at least ``passed`` non-members reach."""
    thresholds = nonmembers[nonmembers.size - np.maximum(passed, 1)]
    above = members.size - np.searchsorted(members, thresholds, side="right")
    return np.where(passed >= 1, above, 0).astype(np.int64)


def _most_above(members: Floats, nonmembers: Floats, passed: Counts) -> Counts:
    """Return the members possibly above a threshold that at most ``passed`` non-members exceed."""
    thresholds = nonmembers[np.maximum(nonmembers.size - 1 - passed, 0)]
    above = members.size - np.searchsorted(members, thresholds, side="right")
    return np.where(passed < nonmembers.size, above, members.size).astype(np.int64)


def _binomial_quantile(share: float, n: int, probability: Floats) -> Counts:
    """Return the smallest k with P(Binomial(n, probability) <= k) >= share, in the shape of probability."""
    # The continuous inverse can lie on either side of an integer by rounding: one step back is tried.
    k = np.ceil(bdtrik(share, n, probability))
    before = np.maximum(k - 1, 0)
    exact = np.where(bdtr(before, n, probability) >= share, before, k)
    return np.clip(exact, 0, n).astype(np.int64)
