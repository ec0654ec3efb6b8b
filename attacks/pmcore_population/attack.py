"""The population attack (Yeom et al. 2018; Attack-P of Ye et al. 2022) with conformal p-values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.interfaces import Attack, Evidence, Floats, Needs, PValues


@dataclass(frozen=True)
class PopulationAttack(Attack):
    """Does the model treat this record better than it treats records that it has never seen?

    With Z the m population records and s a signal signed so that higher speaks for membership,

        p(x) = (1 + #{z in Z : s(z) >= s(x)}) / (m + 1)

    is the conformal p-value of "x is not a member": for a record exchangeable with Z, P(p <= a) <= a for every
    level a, whatever the model. The score is 1 - p(x), and records that fall between the same two population
    records are ranked by the signal itself, inside that step of 1 / (m + 1). Without this the attack would tie
    all records beyond the most extreme population record, which is where low false-positive rates are decided.
    With one threshold for all classes the ROC is exactly that of the signal.

    Parameters
    ----------
    signal : any signal with one number per record
    per_class : calibrate within each class; classes with fewer than 1 / alpha population records share one pool
    alpha : the nominal error level that `per_class` must be able to resolve

    References
    ----------
    Yeom, Giacomelli, Fredrikson, Jha. Privacy Risk in Machine Learning: Analyzing the Connection to
    Overfitting. CSF 2018 (the loss-threshold adversaries).
    Ye, Maddi, Murakonda, Bindschaedler, Shokri. Enhanced Membership Inference Attacks against Machine Learning
    Models. CCS 2022 (attack P).
    Vovk, Gammerman, Shafer. Algorithmic Learning in a Random World. 2005
    (Mondrian, label-conditional conformal p-values).
    """

    knowledge: ClassVar[str] = "records of the same population that are known not to be members"

    signal: str = "loss"
    per_class: bool = False
    alpha: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise InputError(f"population: alpha: {self.alpha} - give an error level between 0 and 1")

    @property
    def needs(self) -> Needs:
        """Declare the signal on the audited records and on the population."""
        return Needs(target=(self.signal,), population=(self.signal,))

    def score(self, evidence: Evidence) -> Floats:
        """Return 1 - p, refined inside the steps of p by the signal; shape (n,), in (0, 1)."""
        scores = np.empty(len(evidence.labels))
        for group in self._groups(evidence):
            rank = np.searchsorted(group.population, group.audited, side="left")
            fraction = _fraction_of_gap(group.population, group.audited, rank)
            scores[group.records] = (rank + fraction) / (len(group.population) + 1)
        return scores

    def p_values(self, evidence: Evidence) -> PValues:
        """Return conformal p-values, in [1 / (m + 1), 1] with m the records of the record's pool."""
        values, smallest = np.empty(len(evidence.labels)), np.empty(len(evidence.labels))
        for group in self._groups(evidence):
            at_least = len(group.population) - np.searchsorted(group.population, group.audited, side="left")
            values[group.records] = (1 + at_least) / (len(group.population) + 1)
            smallest[group.records] = 1 / (len(group.population) + 1)
        return PValues(values, smallest)

    def _groups(self, evidence: Evidence) -> Iterator[_Group]:
        audited = self._signed(evidence, evidence.target(self.signal))
        population = self._signed(evidence, evidence.population(self.signal))
        if not self.per_class:
            yield _Group(slice(None), audited, np.sort(population))
            return
        labels, population_labels = evidence.labels, evidence.population_labels
        if population_labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError("population: per_class: true - the task has no classes; leave per_class out")
        classes, counts = np.unique(population_labels, return_counts=True)
        large = classes[counts * self.alpha >= 1.0]
        for label in large:
            yield _Group(
                np.flatnonzero(labels == label),
                audited[labels == label],
                np.sort(population[population_labels == label]),
            )
        pooled = ~np.isin(labels, large)
        yield _Group(np.flatnonzero(pooled), audited[pooled], np.sort(population[~np.isin(population_labels, large)]))

    def _signed(self, evidence: Evidence, values: Floats) -> Floats:
        if values.ndim != 1:
            several = f"gives {values.shape[1]} numbers per record; choose a signal with one"
            raise InputError(f"population: signal: {self.signal} - {several}")
        return evidence.membership_evidence(self.signal, values)


@dataclass(frozen=True)
class _Group:
    """Records that share one pool; `audited` (n,) and `population` (m,) ascending, higher = more like a member."""

    records: slice | NDArray[np.intp]
    audited: Floats
    population: Floats


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
