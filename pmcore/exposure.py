"""Who became more exposed from one audit to another: counts of members, never who they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pmcore.comparison_schema import ClassMoves, ExposurePart, Moves, Ranks
from pmcore.intervals import Counts
from pmcore.numerals import count
from pmcore.outputs import Array
from pmcore.paired import Ranking
from pmcore.statistics import allowed_false_positives

FPR = 0.01
"""False-positive rate of the threshold above which a member is called exposed."""
FEWEST = 10
"""Members of a class that is shown by itself."""

Bools = NDArray[np.bool_]


def exposure(baseline: Ranking, other: Ranking, labels: Array) -> ExposurePart:
    """Return how many members moved above or below the threshold at `FPR`, in all and by class.

    A member is exposed where strictly more than the (f + 1)-th largest non-member, with f false positives allowed: each
    audit has a threshold of its own.

    Parameters
    ----------
    labels : (n1,), classes where they are whole numbers
    """
    n0 = len(baseline.nonmembers)
    reached = [_reached_by(one) for one in (baseline, other)]
    ranks = Ranks(
        closer=int(np.count_nonzero(reached[1] < reached[0])),
        further=int(np.count_nonzero(reached[1] > reached[0])),
        unchanged=int(np.count_nonzero(reached[1] == reached[0])),
    )
    allowed = int(allowed_false_positives(n0, np.array([FPR]))[0])
    if allowed == 0:
        reason = (
            f"a threshold at {100 * FPR:g} % false positives needs {count(round(1 / FPR))} non-members; there are {n0}"
        )
        return ExposurePart(fpr=FPR, moves=None, reason=reason, ranks=ranks, per_class=[])
    before, after = (_exposed(one, allowed) for one in (baseline, other))
    return ExposurePart(
        fpr=FPR, moves=Moves(**_moves(before, after)), ranks=ranks, per_class=_per_class(before, after, labels)
    )


def _reached_by(ranking: Ranking) -> Counts:
    """Return how many non-members score at least as high as each member, (n1,)."""
    found = np.empty(len(ranking.members), dtype=np.int64)
    found[ranking.members] = len(ranking.nonmembers) - ranking.below
    return found


def _exposed(ranking: Ranking, allowed: int) -> Bools:
    exposed = np.zeros(len(ranking.members), dtype=np.bool_)
    threshold = len(ranking.nonmembers) - 1 - allowed
    exposed[ranking.members[ranking.reached[threshold] :]] = True
    return exposed


def _moves(before: Bools, after: Bools) -> dict[str, int]:
    return {
        "members": len(before),
        "newly_exposed": int(np.count_nonzero(after & ~before)),
        "no_longer_exposed": int(np.count_nonzero(before & ~after)),
        "exposed_in_both": int(np.count_nonzero(before & after)),
    }


def _per_class(before: Bools, after: Bools, labels: Array) -> list[ClassMoves]:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        return []
    names, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(sizes)[:-1])
    shown = [
        ClassMoves(label=int(name), **_moves(before[rows], after[rows]))
        for name, rows in zip(names, parts, strict=True)
        if len(rows) >= FEWEST
    ]
    small = [rows for rows in parts if len(rows) < FEWEST]
    if small:
        rows = np.concatenate(small)
        shown.append(ClassMoves(label=None, **_moves(before[rows], after[rows])))
    return shown
