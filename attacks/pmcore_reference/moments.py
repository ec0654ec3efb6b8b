"""Centre and spread of what the references answer about each record, worked out in blocks of records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Floats

Centre = Literal["median", "mean"]

BLOCK = 2**16
"""Answers that are worked on at once: half a megabyte stays in the cache."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What one side of the references answers about each record.

    Parameters
    ----------
    count : (n,) how many references
    centre : (n,) median or mean of their answers
    variance : (n,) about their mean, with count - 1 degrees of freedom; 0 where there are none
    """

    count: NDArray[np.int64]
    centre: Floats
    variance: Floats

    @classmethod
    def empty(cls, n: int) -> Moments:
        """Return moments of n records, to be filled."""
        return cls(np.zeros(n, dtype=np.int64), np.zeros(n), np.zeros(n))

    @property
    def degrees(self) -> NDArray[np.int64]:
        """Return degrees of freedom of the variances, (n,)."""
        return np.maximum(self.count - 1, 0)


@dataclass(frozen=True, eq=False)
class Sides:
    """References that saw a record, and those that did not."""

    inside: Moments
    outside: Moments


def moments(values: Floats, centre: Centre) -> Moments:
    """Return moments over all references of each record; values (r, n)."""
    found = Moments.empty(values.shape[1])
    for records, block in _blocks(values):
        _fill(found, records, block, None, centre)
    return found


def moments_by_side(values: Floats, membership: NDArray[np.bool_], centre: Centre) -> Sides:
    """Return moments over the references that saw each record, and over the others.

    Parameters
    ----------
    values : (r, n)
    membership : (n, r)
    """
    n = values.shape[1]
    found = Sides(Moments.empty(n), Moments.empty(n))
    for records, block in _blocks(values):
        weights = membership[records].astype(np.float64)
        _fill(found.inside, records, block, weights, centre)
        _fill(found.outside, records, block, 1.0 - weights, centre)
    return found


def _blocks(values: Floats) -> Iterator[tuple[slice, Floats]]:
    """Yield some records and what all references answer about them, (b, r)."""
    r, n = values.shape
    size = max(BLOCK // max(r, 1), 1)
    for start in range(0, n, size):
        records = slice(start, min(start + size, n))
        yield records, np.ascontiguousarray(values[:, records].T)


def _fill(found: Moments, records: slice, block: Floats, weights: Floats | None, centre: Centre) -> None:
    """Work out the moments of a block over the references of weight 1 and not 0, (b, r); None for all.

    Products in place of choices: a processor does not foresee who saw what, and each wrong guess costs more.
    """
    count = np.full(len(block), block.shape[1]) if weights is None else weights.sum(axis=1).astype(np.int64)
    divisor = np.maximum(count, 1)
    mean = (block if weights is None else block * weights).sum(axis=1) / divisor
    deviations = block - mean[:, None]
    if weights is not None:
        deviations *= weights
    found.count[records] = count
    found.variance[records] = np.einsum("ij,ij->i", deviations, deviations) / np.maximum(count - 1, 1)
    found.centre[records] = mean if centre == "mean" else _medians(block, weights, divisor)


def _medians(block: Floats, weights: Floats | None, count: NDArray[np.int64]) -> Floats:
    """Return medians of the numbers of weight 1 of each row, of which there are `count`."""
    # What has weight 0 becomes infinite, and is sorted behind the rest.
    ascending = np.sort(block if weights is None else np.maximum(block, (weights - 0.5) * -np.inf), axis=1)
    rows = np.arange(len(block))
    low, high = ascending[rows, (count - 1) // 2], ascending[rows, count // 2]
    middle: Floats = low / 2 + high / 2
    return middle
