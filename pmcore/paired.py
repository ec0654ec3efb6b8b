"""Two audits on the same records, redrawn together: the figures of both in every draw of a paired bootstrap.

Nothing is sorted within a draw: a draw is how often each record was taken, and every figure follows from running
sums of those counts along orders that are found once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.intervals import Counts
from pmcore.outputs import Floats
from pmcore.statistics import allowed_false_positives

_COUNTS_PER_BLOCK = 1 << 19
"""Counts of records held at once: 2 MB for each array of a block, whatever the number of draws and records."""

Weights = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Ranking:
    """How the scores of one audit rank n1 members and n0 non-members; build it with ``rank``.

    Parameters
    ----------
    members, nonmembers : positions by rising score, shapes (n1,) and (n0,)
    below, not_above : non-members below, and not above, each member of that order, (n1,)
    first : the first member of that order tied with each, (n1,)
    short, reached : members below, and not above, each non-member of that order, (n0,)
    """

    members: Counts
    nonmembers: Counts
    below: Counts
    not_above: Counts
    first: Counts
    short: Counts
    reached: Counts


@dataclass(frozen=True, eq=False)
class Draws:
    """The figures of one audit in b draws: (b,), and (b, f) for the TPR at f false-positive rates."""

    advantage: Floats
    tpr: Floats


def rank(members: Floats, nonmembers: Floats) -> Ranking:
    """Return the ranking of finite scores, shapes (n1,) and (n0,)."""
    by_member, by_nonmember = np.argsort(members, kind="stable"), np.argsort(nonmembers, kind="stable")
    inside, outside = members[by_member], nonmembers[by_nonmember]
    return Ranking(
        members=by_member,
        nonmembers=by_nonmember,
        below=np.searchsorted(outside, inside, side="left"),
        not_above=np.searchsorted(outside, inside, side="right"),
        first=np.searchsorted(inside, inside, side="left"),
        short=np.searchsorted(inside, outside, side="left"),
        reached=np.searchsorted(inside, outside, side="right"),
    )


def redraw(
    rankings: Sequence[Ranking],
    fpr: Floats,
    seed: int,
    draws: int,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Draws, ...]:
    """Return the figures of every audit in the same draws of members among members, non-members among non-members.

    Parameters
    ----------
    rankings : one per audit, all of the same records in the same order
    fpr : (f,), each of which allows at least one false positive; the threshold is found anew in each draw
    seed : the same seed draws the same records, whatever audits are compared
    progress : called with the number of draws done
    """
    allowed = allowed_false_positives(len(rankings[0].nonmembers), fpr)
    found: list[list[Draws]] = [[] for _ in rankings]
    done = 0
    for members, nonmembers in _blocks(len(rankings[0].members), len(rankings[0].nonmembers), seed, draws):
        for ranking, parts in zip(rankings, found, strict=True):
            parts.append(_figures(ranking, members, nonmembers, allowed))
        done += len(members)
        progress(done)
    return tuple(
        Draws(
            advantage=np.concatenate([part.advantage for part in parts]),
            tpr=np.concatenate([part.tpr for part in parts]),
        )
        for parts in found
    )


def _blocks(n1: int, n0: int, seed: int, draws: int) -> Iterator[tuple[Weights, Weights]]:
    """Yield how often each member (b, n1) and each non-member (b, n0) was taken in b draws."""
    # A stream for each side: what is drawn does not depend on the size of the blocks.
    inside, outside = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    most = max(1, _COUNTS_PER_BLOCK // max(n1, n0))
    for start in range(0, draws, most):
        rows = min(most, draws - start)
        yield _taken(inside, rows, n1), _taken(outside, rows, n0)


def _taken(rng: np.random.Generator, rows: int, n: int) -> Weights:
    places = rng.integers(0, n, size=(rows, n))
    places += n * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n).astype(np.int32)


def _figures(ranking: Ranking, members: Weights, nonmembers: Weights, allowed: Counts) -> Draws:
    n1, n0 = members.shape[1], nonmembers.shape[1]
    taken, passed = _running(members, ranking.members), _running(nonmembers, ranking.nonmembers)
    # (TPR - FPR) n1 n0 at each member's score, in whole numbers that float64 holds exactly.
    gain = (n1 - np.take(taken, ranking.first, axis=1)) * np.float64(n0)
    gain -= (n0 - np.take(passed, ranking.below, axis=1)) * np.float64(n1)
    tpr = np.empty((len(members), len(allowed)))
    for level, f in enumerate(allowed.tolist()):
        # The (f + 1)-th largest non-member of the draw: the last in the order with at most n0 - f - 1 before it.
        threshold = np.count_nonzero(passed <= n0 - f - 1, axis=1) - 1
        tpr[:, level] = (n1 - taken[np.arange(len(taken)), ranking.reached[threshold]]) / n1
    return Draws(advantage=np.maximum(gain.max(axis=1), 0) / (n1 * n0), tpr=tpr)


def _running(counts: Weights, order: Counts) -> Weights:
    """Return 0 and the sums of the first 1, 2, ... n counts of each row in an order, (b, n + 1)."""
    sums = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.int32)
    np.cumsum(np.take(counts, order, axis=1), axis=1, out=sums[:, 1:])
    return sums
