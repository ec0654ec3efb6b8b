"""From the scores of one attack to its figures, each with its interval."""

from __future__ import annotations

import math
import zlib
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore import curves, statistics
from pmcore.interfaces import Array, Floats, Task
from pmcore.intervals import proportion
from pmcore.numerals import count
from pmcore.outputs import CLASSIFICATION
from pmcore.schema import (
    CalibratedPoint,
    ClassFigure,
    Curve,
    Figure,
    Figures,
    HistogramPart,
    Share,
    TprFigure,
)

BAND_POINTS = 100


@dataclass(frozen=True)
class Scored:
    """The result of one attack on the audited records, members first.

    Parameters
    ----------
    scores : (n,) higher means more likely a member
    p_values : (n,) or None
    finest_level : the lowest nominal level that the p-values of every record can reach
    n_members : how many of the n records, from the first, are members
    labels : (n,) or (n, ...)
    """

    scores: Floats
    p_values: Floats | None
    finest_level: float
    n_members: int
    labels: Array


def evaluate(scored: Scored, task: Task, rates: tuple[float, ...], seed: tuple[int, ...], confidence: float) -> Figures:
    """Return every figure of one attack.

    Parameters
    ----------
    rates : false-positive rates at which the TPR is wanted, and nominal levels of the calibrated attack
    seed : entropy of the bootstraps; each rate has its own, so that none depends on which others are asked for
    """
    members, nonmembers = scored.scores[: scored.n_members], scored.scores[scored.n_members :]
    in_order = statistics.sort_scores(members, nonmembers)
    return Figures(
        auc=_figure(statistics.auc(in_order, confidence)),
        advantage=_figure(statistics.advantage(in_order, confidence)),
        balanced_accuracy=_figure(statistics.balanced_accuracy(in_order, confidence)),
        tpr_at_fpr={
            f"{rate:.12g}": _tpr_figure(statistics.tpr_at_fpr(in_order, rate, _rng(seed, rate), confidence))
            for rate in rates
        },
        calibrated=_calibrated(scored, rates, confidence),
        per_class=_per_class(scored, confidence) if task in CLASSIFICATION else [],
        curve=_curve(in_order, confidence),
        histogram=_histogram(in_order),
    )


def share(successes: int, n: int, confidence: float) -> Share:
    """Return a proportion with its interval as a part of the report."""
    return Share(**asdict(proportion(successes, n, confidence)))


def _rng(seed: tuple[int, ...], rate: float) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((*seed, zlib.crc32(f"TPR at {rate:g}".encode()))))


def _figure(estimate: statistics.Estimate) -> Figure:
    return Figure(**asdict(estimate))


def _tpr_figure(estimate: statistics.TprAtFpr) -> TprFigure:
    values = asdict(estimate)
    del values["fpr"]
    return TprFigure(**values)


def _calibrated(scored: Scored, rates: tuple[float, ...], confidence: float) -> list[CalibratedPoint]:
    if scored.p_values is None:
        return []
    members, nonmembers = scored.p_values[: scored.n_members], scored.p_values[scored.n_members :]
    points = []
    for alpha in rates:
        if alpha < scored.finest_level * (1.0 - 1e-9):
            needed = count(math.ceil(1.0 / alpha - 1e-9) - 1)
            fewest = count(round(1.0 / scored.finest_level) - 1)
            reason = f"a level of {alpha:g} needs {needed} population records to compare each with; there are {fewest}"
            nothing = Share(value=None, low=None, high=None, n=0, reason=reason)
            points.append(CalibratedPoint(alpha=alpha, fpr=nothing, tpr=nothing))
            continue
        points.append(
            CalibratedPoint(
                alpha=alpha,
                fpr=share(_at_most(nonmembers, alpha), len(nonmembers), confidence),
                tpr=share(_at_most(members, alpha), len(members), confidence),
            )
        )
    return points


def _at_most(p_values: Floats, alpha: float) -> int:
    return int(np.count_nonzero(p_values <= alpha * (1.0 + 1e-12)))


def _per_class(scored: Scored, confidence: float) -> list[ClassFigure]:
    n1 = scored.n_members
    groups = statistics.group_advantages(
        scored.scores[:n1], scored.scores[n1:], scored.labels[:n1], scored.labels[n1:], confidence=confidence
    )
    counts = _counts(scored.labels[:n1]), _counts(scored.labels[n1:])
    return [
        ClassFigure(
            label=group.label,
            advantage=_figure(group.estimate)
            if group.estimate is not None
            else Figure(
                value=None,
                low=None,
                high=None,
                n_members=counts[0].get(group.label, 0),
                n_nonmembers=counts[1].get(group.label, 0),
                method="none",
                reason=group.reason,
            ),
        )
        for group in groups
    ]


def _counts(labels: NDArray[np.int64]) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _curve(in_order: statistics.SortedScores, confidence: float) -> Curve:
    curve = curves.thin(curves.roc(in_order))
    smallest = 1.0 / in_order.n_nonmembers
    grid = np.geomspace(smallest, 1.0, BAND_POINTS, endpoint=False)
    linear = np.linspace(0.0, 1.0, BAND_POINTS // 2, endpoint=False)
    band = curves.roc_band(in_order, np.unique(np.concatenate([grid, linear[linear >= smallest]])), confidence)
    return Curve(
        fpr=_rounded(curve.fpr),
        tpr=_rounded(curve.tpr),
        band_fpr=_rounded(band.fpr),
        band_low=_rounded(band.low),
        band_high=_rounded(band.high),
    )


def _histogram(in_order: statistics.SortedScores) -> HistogramPart:
    histogram = curves.histogram(in_order)
    return HistogramPart(
        edges=histogram.edges.tolist(),
        members=histogram.members.tolist(),
        nonmembers=histogram.nonmembers.tolist(),
    )


def _rounded(values: Floats) -> list[float]:
    """Return numbers to nine digits: these are for drawing; figures are kept in full elsewhere."""
    return [float(f"{value:.9g}") for value in values]
