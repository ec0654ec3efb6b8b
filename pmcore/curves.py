"""The pictures of an audit, from the scores of members and non-members: ROC curve, its band, histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pmcore.errors import InputError
from pmcore.intervals import Counts, order_statistic_tpr, tail_error
from pmcore.outputs import Floats
from pmcore.statistics import SortedScores, allowed_false_positives


@dataclass(frozen=True, eq=False)
class RocCurve:
    """The points that some threshold reaches, shapes (t,), from (0, 0) to (1, 1) by falling threshold."""

    fpr: Floats
    tpr: Floats
    thresholds: Floats


@dataclass(frozen=True, eq=False)
class RocBand:
    """The TPR at g levels of FPR with pointwise intervals, shapes (g,)."""

    fpr: Floats
    tpr: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of both sides, shapes (b,), between common edges (b + 1,)."""

    edges: Floats
    members: Counts
    nonmembers: Counts


def roc(scores: SortedScores) -> RocCurve:
    """Return the ROC curve with tied scores as blocks; its first threshold lies just above every score."""
    thresholds = np.concatenate((scores.members, scores.nonmembers))
    # A stable sort of two sorted runs is a merge.
    thresholds.sort(kind="stable")
    first_of_block = np.ones(thresholds.size, dtype=np.bool_)
    np.not_equal(thresholds[1:], thresholds[:-1], out=first_of_block[1:])
    thresholds = thresholds[first_of_block][::-1]
    return RocCurve(
        fpr=_share_reaching(scores.nonmembers, thresholds),
        tpr=_share_reaching(scores.members, thresholds),
        thresholds=np.concatenate((np.nextafter(thresholds[:1], np.inf), thresholds)),
    )


def _share_reaching(ascending: Floats, thresholds: Floats) -> Floats:
    """Return 0 and then the shares of scores >= each threshold, shape (t + 1,)."""
    shares = np.zeros(thresholds.size + 1)
    shares[1:] = np.searchsorted(ascending, thresholds, side="left")
    np.subtract(ascending.size, shares[1:], out=shares[1:])
    shares /= ascending.size
    return shares


def thin(curve: RocCurve, points: int = 200) -> RocCurve:
    """Return at most ``points`` points of the curve, for a drawing on linear or logarithmic axes.

    Only points of the curve are kept: both ends, the highest at FPR 0, the one of the advantage, and of the
    rest those evenly spread over the logarithm of the FPR (upper corners of the steps) and along the curve.

    Raises
    ------
    InputError
        Fewer than 10 points are asked for.
    """
    if points < 10:
        raise InputError(f"a ROC curve cannot be thinned to {points} points; ask for 10 or more")
    if curve.fpr.size <= points:
        return curve
    last = curve.fpr.size - 1
    start = int(np.searchsorted(curve.fpr, 0.0, side="right")) - 1
    landmarks = np.array([0, start, int(np.argmax(curve.tpr - curve.fpr)), last])
    spread = (points - landmarks.size) // 2
    levels = np.geomspace(curve.fpr[start + 1], 1.0, spread)
    corners = np.searchsorted(curve.fpr, levels, side="right") - 1
    along = np.searchsorted(curve.fpr + curve.tpr, np.linspace(0.0, 2.0, spread))
    kept = np.unique(np.concatenate((landmarks, corners, np.minimum(along, last))))
    return RocCurve(fpr=curve.fpr[kept], tpr=curve.tpr[kept], thresholds=curve.thresholds[kept])


def roc_band(scores: SortedScores, at_fpr: ArrayLike, confidence: float = 0.95) -> RocBand:
    """Return the TPR at each FPR of a grid with pointwise intervals, by order statistics and Clopper-Pearson.

    The band is distribution-free, has no randomness, and is wider than the interval that ``tpr_at_fpr``
    gives at one FPR: pointwise coverage is about 99 % at the nominal 95 %. Levels that allow not even one
    false positive are left out.

    Parameters
    ----------
    at_fpr
        Shape (g,), each in (0, 1).
    """
    tail_error(confidence)
    fpr = np.asarray(at_fpr, dtype=np.float64)
    if fpr.ndim != 1 or not np.all((fpr > 0) & (fpr < 1)):
        raise InputError("a ROC band is drawn over a grid, shape (g,), of FPR strictly between 0 and 1")
    n0 = scores.n_nonmembers
    allowed = allowed_false_positives(n0, fpr)
    fpr, allowed = fpr[allowed > 0], allowed[allowed > 0]
    thresholds = scores.nonmembers[n0 - 1 - allowed]
    above = scores.n_members - np.searchsorted(scores.members, thresholds, side="right")
    bounds = order_statistic_tpr(scores.members, scores.nonmembers, fpr, confidence)
    return RocBand(fpr=fpr, tpr=above / scores.n_members, low=bounds.low, high=bounds.high)


def histogram(scores: SortedScores, bins: int = 40) -> Histogram:
    """Return counts of both sides between common edges; outliers fall into the first and the last bin.

    The edges reach half a span beyond the 1 % to 99 % span of either side, or to the extreme scores if
    these are nearer. Scores that are all equal are given one unit of width.
    """
    if bins < 1:
        raise InputError(f"a histogram needs at least one bin, not {bins}")
    edges = _edges(scores, bins)
    return Histogram(
        edges=edges,
        members=_counts_between(scores.members, edges),
        nonmembers=_counts_between(scores.nonmembers, edges),
    )


def _edges(scores: SortedScores, bins: int) -> Floats:
    # Halved, so that no difference of two scores overflows.
    sides = (scores.members, scores.nonmembers)
    low = min(float(side[side.size // 100]) for side in sides) / 2
    high = max(float(side[side.size - 1 - side.size // 100]) for side in sides) / 2
    lowest, highest = min(float(side[0]) for side in sides) / 2, max(float(side[-1]) for side in sides) / 2
    span = high - low
    if span > 0:
        lowest, highest = max(lowest, low - span / 2), min(highest, high + span / 2)
    smallest = 4 * bins * float(np.spacing(max(abs(lowest), abs(highest))))
    if highest - lowest < smallest:
        centre, width = (lowest + highest) / 2, max(0.25, smallest)
        lowest, highest = centre - width, centre + width
    return 2 * np.linspace(lowest, highest, bins + 1)


def _counts_between(ascending: Floats, edges: Floats) -> Counts:
    inner = np.searchsorted(ascending, edges[1:-1], side="left")
    return np.diff(inner, prepend=0, append=ascending.size).astype(np.int64)
