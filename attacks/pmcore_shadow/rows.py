"""Pairs of model and record whose membership is known, put in order and balanced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Array, Floats

KEYS = 8
"""Columns by which rows are ordered: equal in so many, they are equal in all."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What a classifier learns from.

    Parameters
    ----------
    features : (t, f)
    labels : (t,) classes
    is_member : (t,) bool
    """

    features: Floats
    labels: Array
    is_member: NDArray[np.bool_]

    def take(self, rows: NDArray[np.intp]) -> Rows:
        """Return these rows in this order."""
        return Rows(self.features[rows], self.labels[rows], self.is_member[rows])

    def of_smaller_side(self) -> int:
        """Return the number of members or of non-members, whichever are fewer."""
        members = int(self.is_member.sum())
        return min(members, len(self.is_member) - members)

    def in_canonical_order(self) -> Rows:
        """Return the rows in an order of their own, whatever order records and models came in."""
        return self.take(np.lexsort((*self.features.T[:KEYS], self.is_member, self.labels)))

    def balanced(self, classes: NDArray[np.int64], most: int, generator: Callable[[], np.random.Generator]) -> Rows:
        """Return as many members as non-members of each of these classes, and of all others together.

        Of the side that has more, and of both where there are more than `most` rows, a sample is drawn.

        Parameters
        ----------
        generator : returns the random generator; not asked where nothing is to be drawn
        """
        groups = np.where(np.isin(self.labels, classes), np.searchsorted(classes, self.labels), len(classes))
        pairs = []
        for group in np.unique(groups):
            inside = groups == group
            pairs.append([np.flatnonzero(inside & self.is_member), np.flatnonzero(inside & ~self.is_member)])
        shared = [min(len(side) for side in sides) for sides in pairs]
        share = min(1.0, most / max(2 * sum(shared), 1))
        kept = [np.zeros(0, dtype=np.intp)]
        for sides, count in zip(pairs, shared, strict=True):
            wanted = max(int(count * share), min(count, 1))
            for side in sides:
                kept.append(side if len(side) == wanted else generator().choice(side, wanted, replace=False))
        return self.take(np.sort(np.concatenate(kept)))
