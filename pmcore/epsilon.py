"""Lower bounds of epsilon: how far from differentially private scores of members and non-members are, at the least.

Whoever tells members from non-members at a true-positive rate TPR and a false-positive rate FPR shows that no
(epsilon, delta) with TPR > exp(epsilon) FPR + delta holds. Both rates are bounded, and the threshold is not chosen
where the bound is taken: the largest ratio over all thresholds is above the truth in nearly every run.

It is a statement about the algorithm that trained the model only if the membership of every record was drawn at
random; otherwise it is the empirical epsilon of these records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from pmcore.errors import InputError
from pmcore.intervals import Counts, binomial_lower, binomial_upper, tail_error
from pmcore.outputs import Floats
from pmcore.statistics import SortedScores

CHOOSING = 0.3
"""Share of either side that chooses the threshold: the more are left for the bound, the higher it can reach.

Of .3 and one half, the two that were compared (two Gaussians, randomised response, look-up tables; 50 to 20 000 records
a side), .3 gives the higher bound in nearly all cases.
"""
SEARCHED = 1.1
"""Ratio of neighbouring ranks at which thresholds are tried where trying costs nothing but time."""
GRID = 2.0
"""Ratio of neighbouring ranks of the fixed grid, where every threshold costs precision."""

Side = Literal["members", "nonmembers"]


@dataclass(frozen=True)
class EpsilonBound:
    """A lower bound of epsilon.

    Parameters
    ----------
    value : the bound; 0 where nothing was found
    confidence : the chance, at the least, that it is not above the truth
    cap : what perfect scores of as many records would give at a threshold known beforehand
    reachable : what they would give by this method
    n_members, n_nonmembers : all records, those that chose the threshold included
    threshold : records that reach it are called members; None where nothing was found
    side : whose rates give the bound: of "members", ln((TPR - delta) / FPR), or of "nonmembers",
        ln((TNR - delta) / FNR); None where nothing was found
    """

    value: float
    delta: float
    confidence: float
    cap: float
    reachable: float
    n_members: int
    n_nonmembers: int
    threshold: float | None
    side: Side | None
    method: str


def epsilon_bound(
    scores: SortedScores, rng: np.random.Generator, delta: float = 0.0, confidence: float = 0.95
) -> EpsilonBound:
    """Return the bound at a threshold that some records of either side choose and the others are held against.

    Which records choose depends on `rng` and on the scores, and not on the order in which the records came.
    `epsilon_over_grid` draws nothing and reaches further where scores hardly tie; where they do, as in the
    answers of a randomised response, this one is much stronger.

    Raises
    ------
    InputError
        `delta` lies outside [0, 1) or `confidence` outside (0, 1).
    """
    error = _error(delta, confidence)
    n1, n0 = scores.n_members, scores.n_nonmembers
    if min(n1, n0) < 2:
        return _bound(scores, _Found(), 0.0, delta, confidence, "none: one record on a side")
    choosing, left = zip(_parted(scores.members, rng), _parted(scores.nonmembers, rng), strict=True)
    tried = np.concatenate([side[_spread(side.size, SEARCHED)] for side in choosing])
    both = _ratios(*_reaching(*choosing, tried), choosing[0].size, choosing[1].size, error, delta)
    threshold = tried[int(np.argmax(both.max(axis=0)))]
    found = _best(np.array([threshold]), *_reaching(*left, threshold), left[0].size, left[1].size, error, delta)
    reachable = _cap(left[0].size, left[1].size, error, delta)
    method = f"Clopper-Pearson, threshold chosen by {choosing[0].size} members and {choosing[1].size} non-members"
    return _bound(scores, found, reachable, delta, confidence, method)


def epsilon_over_grid(scores: SortedScores, delta: float = 0.0, confidence: float = 0.95) -> EpsilonBound:
    """Return the best bound over thresholds at fixed ranks, corrected for their number (Bonferroni).

    The thresholds lie just above the (f + 1)-th highest non-member and at the (g + 1)-th lowest member, for f
    and g of 0, 1, 2, 4, ... The rate of non-members above the former is distributed as Beta(f + 1, n0 - f), so
    that its upper quantile is Clopper-Pearson's bound for f of n0, although a non-member set the threshold; the
    members have no part in it, and theirs is the ordinary bound. Below it is the other way round. Tied scores
    only make it more careful.

    Raises
    ------
    InputError
        As of `epsilon_bound`.

    References
    ----------
    David, Nagaraja. Order Statistics. 2003, section 2.1 (the law of an order statistic's rank).
    """
    n1, n0 = scores.n_members, scores.n_nonmembers
    above, below = _ranks(n0, GRID), _ranks(n1, GRID)
    number = above.size + below.size
    error = _error(delta, confidence) / number
    highest = np.nextafter(scores.nonmembers[n0 - 1 - above], np.inf)
    lowest = scores.members[below]
    hits, _ = _reaching(scores.members, scores.nonmembers, highest)
    _, false_alarms = _reaching(scores.members, scores.nonmembers, lowest)
    found = _best(
        np.concatenate([highest, lowest]),
        np.concatenate([hits, n1 - below]),
        np.concatenate([above, false_alarms]),
        n1,
        n0,
        error,
        delta,
    )
    reachable = _cap(n1, n0, error, delta)
    method = f"Clopper-Pearson at fixed ranks, Bonferroni over {number} thresholds"
    return _bound(scores, found, reachable, delta, confidence, method)


def epsilon_at(scores: SortedScores, threshold: float, delta: float = 0.0, confidence: float = 0.95) -> EpsilonBound:
    """Return the bound at a threshold that was known before these scores were.

    Raises
    ------
    InputError
        As of `epsilon_bound`.
    """
    error = _error(delta, confidence)
    n1, n0 = scores.n_members, scores.n_nonmembers
    found = _best(np.array([threshold]), *_reaching(scores.members, scores.nonmembers, threshold), n1, n0, error, delta)
    reachable = _cap(n1, n0, error, delta)
    return _bound(scores, found, reachable, delta, confidence, "Clopper-Pearson, threshold known beforehand")


def epsilon_cap(n_members: int, n_nonmembers: int, delta: float = 0.0, confidence: float = 0.95) -> float:
    """Return the largest bound that so many records allow, whatever is attacked: that of perfect scores.

    Raises
    ------
    InputError
        There are no records on a side, or as of `epsilon_bound`.
    """
    error = _error(delta, confidence)
    if min(n_members, n_nonmembers) < 1:
        raise InputError(f"records: {n_members} members and {n_nonmembers} non-members - give some of both")
    return _cap(n_members, n_nonmembers, error, delta)


@dataclass(frozen=True)
class _Found:
    """The best of several bounds; 0 and nothing else where none is positive."""

    value: float = 0.0
    threshold: float | None = None
    side: Side | None = None


def _error(delta: float, confidence: float) -> float:
    """Return the error that each of the two rates may have; both directions read the same two bounds."""
    if not 0 <= delta < 1:
        raise InputError(f"delta: {delta:g} - give a number from 0 to less than 1, such as 1e-5")
    return tail_error(confidence)


def _parted(side: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the scores that choose and the others, both ascending."""
    chosen = np.zeros(side.size, dtype=np.bool_)
    chosen[rng.permutation(side.size)[: max(int(CHOOSING * side.size), 1)]] = True
    return side[chosen], side[~chosen]


def _spread(n: int, ratio: float) -> Counts:
    """Return ranks that lie densest at both ends of n."""
    from_below = _ranks(n, ratio)
    return np.unique(np.concatenate([from_below, n - 1 - from_below]))


def _ranks(n: int, ratio: float) -> Counts:
    """Return 0, 1, and ever further ranks up to the middle of n, each at most `ratio` times the one before."""
    ranks, last = [0], 1
    while last <= n // 2:
        ranks.append(last)
        last = max(int(last * ratio), last + 1)
    return np.array([rank for rank in ranks if rank < n], dtype=np.int64)


def _reaching(members: Floats, nonmembers: Floats, thresholds: ArrayLike) -> tuple[Counts, Counts]:
    """Return how many of each side reach the thresholds, each shape (t,)."""
    wanted = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    hits = members.size - np.searchsorted(members, wanted, side="left")
    false_alarms = nonmembers.size - np.searchsorted(nonmembers, wanted, side="left")
    return hits.astype(np.int64), false_alarms.astype(np.int64)


def _ratios(hits: Counts, false_alarms: Counts, n1: int, n0: int, error: float, delta: float) -> Floats:
    """Return the bounds of either direction, members first, shape (2, t); -inf where delta explains everything."""
    tpr, fpr = binomial_lower(hits, n1, error), binomial_upper(false_alarms, n0, error)
    with np.errstate(divide="ignore"):
        rows = [
            np.log(np.maximum(rate - delta, 0.0)) - np.log(wrong)
            # The lower bound of TNR is 1 less the upper bound of FPR, and that of FNR likewise.
            for rate, wrong in ((tpr, fpr), (binomial_lower(n0 - false_alarms, n0, error), 1 - tpr))
        ]
    return np.stack(rows)


def _best(
    thresholds: Floats, hits: Counts, false_alarms: Counts, n1: int, n0: int, error: float, delta: float
) -> _Found:
    both = _ratios(hits, false_alarms, n1, n0, error, delta)
    direction, place = np.unravel_index(int(np.argmax(both)), both.shape)
    value = float(both[direction, place])
    if not value > 0:
        return _Found()
    return _Found(value, float(thresholds[place]), "members" if direction == 0 else "nonmembers")


def _cap(n1: int, n0: int, error: float, delta: float) -> float:
    perfect = _ratios(np.array([n1]), np.array([0]), n1, n0, error, delta)
    return max(float(perfect.max()), 0.0)


def _bound(
    scores: SortedScores, found: _Found, reachable: float, delta: float, confidence: float, method: str
) -> EpsilonBound:
    n1, n0 = scores.n_members, scores.n_nonmembers
    return EpsilonBound(
        value=found.value,
        delta=float(delta),
        confidence=float(confidence),
        cap=_cap(n1, n0, tail_error(confidence), delta),
        reachable=reachable,
        n_members=n1,
        n_nonmembers=n0,
        threshold=found.threshold,
        side=found.side,
        method=method,
    )
