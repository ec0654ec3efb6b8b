"""The figures of an audit, from the scores of members and non-members: ROC, AUC, TPR at FPR, advantage.

A record is called a member when its score reaches the threshold. Tied scores enter together, and nothing is
read off between two points that a threshold can reach. Scores are sorted once, by ``sort_scores``; all
figures work on ranks and cost O(n log n) time and a few numbers of memory per record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from pmcore.errors import InputError
from pmcore.intervals import (
    Counts,
    Interval,
    advantage_interval,
    auc_interval,
    auc_score_interval,
    binomial_lower,
    binomial_upper,
    bootstrap_tpr,
    order_statistic_tpr,
    tail_error,
)
from pmcore.numerals import count
from pmcore.outputs import Floats

UNBALANCED = 5
"""Ratio of the sides' records from which DeLong's interval alone covers too little."""


@dataclass(frozen=True, eq=False)
class SortedScores:
    """Ascending finite scores of members (n1,) and non-members (n0,); build it with ``sort_scores``."""

    members: Floats
    nonmembers: Floats

    @property
    def n_members(self) -> int:
        """The number of members, n1."""
        return int(self.members.size)

    @property
    def n_nonmembers(self) -> int:
        """The number of non-members, n0."""
        return int(self.nonmembers.size)


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval, the records behind it, and the method of the interval."""

    value: float | None
    low: float | None
    high: float | None
    n_members: int
    n_nonmembers: int
    method: str


@dataclass(frozen=True)
class TprAtFpr(Estimate):
    """A TPR at one FPR: ``weak`` when the FPR allows fewer than 10 false positives, ``None`` when none."""

    fpr: float
    resolved: bool
    weak: bool
    reason: str | None


@dataclass(frozen=True)
class GroupAdvantage:
    """The advantage within one class, or the reason why there is none."""

    label: int
    estimate: Estimate | None
    reason: str | None


def sort_scores(members: ArrayLike, nonmembers: ArrayLike) -> SortedScores:
    """Return both sides sorted, as read-only copies.

    Parameters
    ----------
    members, nonmembers
        Shapes (n1,) and (n0,), higher where membership is more likely.

    Raises
    ------
    InputError
        A side is empty, not one-dimensional, not real numbers, or holds nan or infinity.
    """
    return SortedScores(_ascending("members", members), _ascending("non-members", nonmembers))


def _ascending(side: str, scores: ArrayLike) -> Floats:
    ascending = _checked(side, scores)
    ascending.sort()
    ascending.setflags(write=False)
    return ascending


def _checked(side: str, scores: ArrayLike) -> Floats:
    """Return a float64 copy of scores, shape (n,), or raise what is wrong with them."""
    raw = np.asarray(scores)
    if raw.ndim != 1 or raw.size == 0:
        raise InputError(f"scores of {side}: shape {raw.shape}; one score per record, shape (n,), is needed")
    if raw.dtype.kind not in "fiub":
        raise InputError(f"scores of {side}: {raw.dtype}; real numbers are needed")
    values = np.array(raw, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.argmin(finite))
        raise InputError(f"scores of {side}[{first}]: {values[first]}; every score must be finite")
    return values


def auc(scores: SortedScores, confidence: float = 0.95) -> Estimate:
    """Return the area under the ROC curve: P(member > non-member) + P(equal) / 2, the Mann-Whitney statistic.

    The interval is DeLong's on the logit scale. Where the AUC is 0 or 1 or the variance vanishes, it is
    Clopper-Pearson's with the smaller side as sample size, so that a perfect score of few records is not
    called certain. Where one side has five times the records of the other, the variance that DeLong estimates
    from the few is itself too uncertain (82 % covered at 20 + 5 000 records and AUC .98): the interval is then
    widened to hold Newcombe's score interval, which estimates no variance from them.
    """
    tail = tail_error(confidence)
    n1, n0 = scores.n_members, scores.n_nonmembers
    beaten = _doubled_ranks(scores.members, scores.nonmembers)
    value = int(beaten.sum()) / (2 * n1 * n0)
    variance = _variance_of_mean(beaten) / (2 * n0) ** 2
    beaten = _doubled_ranks(scores.nonmembers, scores.members)
    variance += _variance_of_mean(beaten) / (2 * n1) ** 2
    interval = auc_interval(value, variance, confidence)
    if interval is not None and max(n1, n0) >= UNBALANCED * min(n1, n0):
        score = auc_score_interval(value, n1, n0, confidence)
        hull = Interval(min(interval.low, score.low), max(interval.high, score.high))
        return _estimate(value, hull, scores, "DeLong, logit scale, widened to Newcombe's score interval")
    if interval is not None:
        return _estimate(value, interval, scores, "DeLong, logit scale")
    n = min(n1, n0)
    low, high = float(binomial_lower(value * n, n, tail)), float(binomial_upper(value * n, n, tail))
    return _estimate(value, Interval(low, high), scores, f"Clopper-Pearson, n = {n}")


def _doubled_ranks(scores: Floats, others: Floats) -> Counts:
    """Return how many others lie below each score plus how many do not lie above it: twice the mid-rank."""
    ranks = np.searchsorted(others, scores, side="left")
    ranks += np.searchsorted(others, scores, side="right")
    return ranks


def _variance_of_mean(values: Counts) -> float:
    return float(np.var(values, ddof=1)) / values.size if values.size > 1 else math.nan


def tpr_at_fpr(
    scores: SortedScores,
    fpr: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
    draws: int = 2000,
) -> TprAtFpr:
    """Return the largest TPR that a threshold reaches with at most this FPR; nothing is interpolated.

    With f = floor(n0 fpr) false positives allowed, members count when strictly above the (f + 1)-th largest
    non-member. The interval takes into account that the threshold is estimated: a bootstrap for f >= 10,
    order statistics for 1 <= f < 10 (``weak``). For f = 0 there is no figure: ``value`` is ``None`` with a
    ``reason``.

    Raises
    ------
    InputError
        ``fpr`` or ``confidence`` lies outside (0, 1), or ``draws`` is less than 1.
    """
    tail_error(confidence)
    if not 0 < fpr < 1:
        raise InputError(f"a TPR is reported at an FPR strictly between 0 and 1, not {fpr}")
    if draws < 1:
        raise InputError(f"a bootstrap needs at least one draw, not {draws}")
    n0 = scores.n_nonmembers
    allowed = int(allowed_false_positives(n0, np.array([fpr]))[0])
    if allowed == 0:
        return _unresolved(scores, fpr)
    if allowed >= 10:
        interval = bootstrap_tpr(scores.members, scores.nonmembers, fpr, rng, draws, confidence)
        method = "bootstrap with redrawn threshold"
        if scores.nonmembers[n0 - 1 - allowed] == scores.nonmembers[n0 - allowed]:
            # Tied scores decide: the TPR jumps there, and quantiles of draws may fall on one side of the jump.
            bounds = order_statistic_tpr(scores.members, scores.nonmembers, np.array([fpr]), confidence)
            interval = Interval(min(interval.low, float(bounds.low[0])), max(interval.high, float(bounds.high[0])))
            method = "bootstrap with redrawn threshold, widened by order statistics (ties)"
    else:
        bounds = order_statistic_tpr(scores.members, scores.nonmembers, np.array([fpr]), confidence)
        interval = Interval(low=float(bounds.low[0]), high=float(bounds.high[0]))
        method = "order statistics and Clopper-Pearson"
    threshold = scores.nonmembers[n0 - 1 - allowed]
    value = _share_above(scores.members, threshold)
    unreachable = value == 0 and threshold == scores.nonmembers[-1]
    return TprAtFpr(
        value=value,
        # A quantile of random draws may stop just short of the estimate.
        low=min(interval.low, value),
        high=max(interval.high, value),
        n_members=scores.n_members,
        n_nonmembers=n0,
        method=method,
        fpr=float(fpr),
        resolved=True,
        weak=allowed < 10,
        reason="no threshold of this attack reaches this FPR" if unreachable else None,
    )


def allowed_false_positives(n0: int, fpr: Floats) -> Counts:
    """Return how many false positives each FPR allows, floor(n0 fpr), in the shape of fpr."""
    # .29 * 100 is 28.999999999999996 in floating point, and means 29.
    return np.minimum(np.floor(n0 * fpr * (1 + 1e-12)), n0 - 1).astype(np.int64)


def _unresolved(scores: SortedScores, fpr: float) -> TprAtFpr:
    needed, have = count(math.ceil(1 / fpr * (1 - 1e-12))), count(scores.n_nonmembers)
    return TprAtFpr(
        value=None,
        low=None,
        high=None,
        n_members=scores.n_members,
        n_nonmembers=scores.n_nonmembers,
        method="none",
        fpr=float(fpr),
        resolved=False,
        weak=False,
        reason=f"cannot be resolved with {have} non-members; {needed} needed",
    )


def _share_above(ascending: Floats, threshold: float) -> float:
    return (ascending.size - int(np.searchsorted(ascending, threshold, side="right"))) / ascending.size


def advantage(scores: SortedScores, confidence: float = 0.95) -> Estimate:
    """Return the largest TPR - FPR of any threshold (Yeom et al. 2018), and never less than 0.

    As a maximum over thresholds it is biased upwards: without any leak it averages about .87 sqrt(1/n1 +
    1/n0), and it is the interval, ``intervals.advantage_interval``, that says so. That interval is
    conservative.
    """
    n1, n0 = scores.n_members, scores.n_nonmembers
    # TPR - FPR at each member's score, times n0 n1, in whole numbers. The first of tied members counts all.
    gain = np.searchsorted(scores.nonmembers, scores.members, side="left")
    gain -= n0
    gain *= n1
    gain += n0 * np.arange(n1, 0, -1, dtype=np.int64)
    value = max(int(gain.max()), 0) / (n0 * n1)
    interval = advantage_interval(value, n1, n0, confidence)
    return _estimate(value, interval, scores, "Kolmogorov-Smirnov below, Clopper-Pearson above")


def balanced_accuracy(scores: SortedScores, confidence: float = 0.95) -> Estimate:
    """Return (TPR + TNR) / 2 at the best threshold, which is (1 + advantage) / 2 with its interval."""
    best = advantage(scores, confidence)
    value, low, high = ((1 + x) / 2 if x is not None else None for x in (best.value, best.low, best.high))
    return Estimate(value, low, high, best.n_members, best.n_nonmembers, best.method)


def group_advantages(
    members: ArrayLike,
    nonmembers: ArrayLike,
    member_labels: ArrayLike,
    nonmember_labels: ArrayLike,
    min_count: int = 10,
    confidence: float = 0.95,
) -> tuple[GroupAdvantage, ...]:
    """Return the advantage within each class, by rising label; the intervals hold for all classes together.

    Parameters
    ----------
    members, nonmembers
        Scores, shapes (n1,) and (n0,), in any order.
    member_labels, nonmember_labels
        The classes, integers, shapes (n1,) and (n0,).
    min_count
        A class with fewer records on either side gets a reason instead of an estimate.
    confidence
        Of all intervals together: each one has the error divided by the number of classes shown
        (Bonferroni), because the worst of many classes looks bad by chance.
    """
    tail_error(confidence)
    inside = _by_label("members", members, member_labels)
    outside = _by_label("non-members", nonmembers, nonmember_labels)
    nobody = np.empty(0)
    pairs = {
        label: (inside.get(label, nobody), outside.get(label, nobody))
        for label in sorted(inside.keys() | outside.keys())
    }
    shown = sum(min(a.size, b.size) >= max(min_count, 1) for a, b in pairs.values())
    each = 1 - (1 - confidence) / max(shown, 1)
    groups = []
    for label, (a, b) in pairs.items():
        if min(a.size, b.size) >= max(min_count, 1):
            found = advantage(sort_scores(a, b), each)
            found = replace(found, method=f"{found.method}, Bonferroni over {shown} classes")
            groups.append(GroupAdvantage(label, found, None))
        else:
            few = f"{a.size} members and {b.size} non-members; {min_count} of each are needed"
            groups.append(GroupAdvantage(label, None, few))
    return tuple(groups)


def _by_label(side: str, scores: ArrayLike, labels: ArrayLike) -> dict[int, Floats]:
    values, classes = _checked(side, scores), np.asarray(labels)
    if classes.shape != values.shape or classes.dtype.kind not in "iu":
        raise InputError(
            f"{side}: {classes.dtype} labels of shape {classes.shape} for scores of shape {values.shape}; "
            "one integer class per score is needed"
        )
    order = np.argsort(classes, kind="stable")
    names, starts = np.unique(classes[order], return_index=True)
    parts = np.split(values[order], starts[1:])
    return {int(name): part for name, part in zip(names, parts, strict=True)}


def _estimate(value: float, interval: Interval, scores: SortedScores, method: str) -> Estimate:
    return Estimate(value, interval.low, interval.high, scores.n_members, scores.n_nonmembers, method)
