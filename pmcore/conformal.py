"""Conformal calibration: where a record stands among records that are known not to be members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.evidence import PValues
from pmcore.outputs import Array, Floats


@dataclass(frozen=True, eq=False)
class Pool:
    """Audited records and the population records that they are compared with; higher is more like a member.

    Parameters
    ----------
    records : which of all audited records these are
    audited : (n,)
    population : (m,) ascending
    """

    records: slice | NDArray[np.intp]
    audited: Floats
    population: Floats


def one_pool(audited: Floats, population: Floats) -> tuple[Pool, ...]:
    """Return one pool of all audited records (n,) and the whole population (m,)."""
    return (Pool(slice(None), audited, np.sort(population)),)


def pools_by_class(
    audited: Floats, labels: Array, population: Floats, population_labels: Array | None, alpha: float
) -> tuple[Pool, ...]:
    """Return one pool for each class that has 1 / alpha population records, and a last one for all other classes.

    Parameters
    ----------
    audited, labels : (n,)
    population, population_labels : (m,)
    alpha : the error level that a class must be able to resolve

    Raises
    ------
    InputError
        The labels are no classes.
    """
    if population_labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError("per_class: true - the task has no classes; leave per_class out")
    classes, counts = np.unique(population_labels, return_counts=True)
    large = classes[counts * alpha >= 1.0]
    pools = [
        Pool(
            np.flatnonzero(labels == label),
            audited[labels == label],
            np.sort(population[population_labels == label]),
        )
        for label in large
    ]
    pooled = ~np.isin(labels, large)
    rest = np.sort(population[~np.isin(population_labels, large)])
    return (*pools, Pool(np.flatnonzero(pooled), audited[pooled], rest))


def conformal_scores(pools: Sequence[Pool], n: int) -> Floats:
    """Return 1 - p, refined inside the steps of p by the values themselves; shape (n,), in (0, 1)."""
    scores = np.empty(n)
    for pool in pools:
        rank = np.searchsorted(pool.population, pool.audited, side="left")
        fraction = _fraction_of_gap(pool.population, pool.audited, rank)
        scores[pool.records] = (rank + fraction) / (len(pool.population) + 1)
    return scores


def conformal_p_values(pools: Sequence[Pool], n: int) -> PValues:
    """Return p = (1 + #{z : s(z) >= s(x)}) / (m + 1), in [1 / (m + 1), 1] with m the records of the record's pool."""
    values, smallest = np.empty(n), np.empty(n)
    for pool in pools:
        at_least = len(pool.population) - np.searchsorted(pool.population, pool.audited, side="left")
        values[pool.records] = (1 + at_least) / (len(pool.population) + 1)
        smallest[pool.records] = 1 / (len(pool.population) + 1)
    return PValues(values, smallest)


def _fraction_of_gap(population: Floats, values: Floats, rank: NDArray[np.intp]) -> Floats:
    """Return where each value lies between its two neighbours in the population, shape (n,), in [0, 1).

    The gap is measured in representable numbers and not in units: that is monotone, needs no scale, treats the
    two open ends like any other gap, and separates the tiny losses of memorised records. A value equal to a
    population record belongs below it, at the end of the lower gap.
    """
    edges = np.concatenate([[-np.inf], population, [np.inf]])
    low = _ordinal(edges[rank])
    # Differences of ordinals may exceed int64 but never uint64, so wrapping subtraction is exact.
    passed = (_ordinal(values) - low).view(np.uint64)
    gap = (_ordinal(edges[rank + 1]) - low).view(np.uint64)
    fraction: Floats = passed / (gap + 1.0)
    return np.minimum(fraction, np.nextafter(1.0, 0.0))


def _ordinal(values: Floats) -> NDArray[np.int64]:
    """Return the position of each number among all float64 numbers in order (0.0 is 0); shape as `values`."""
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    magnitude = bits & np.int64(0x7FFF_FFFF_FFFF_FFFF)
    return np.where(bits < 0, -magnitude, magnitude)
