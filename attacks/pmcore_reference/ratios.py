"""How likely a record's label is under models in general, and how much likelier it is under the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Floats

LEAST = float(np.log(1e-30))
"""Log confidences below it are taken for it."""
NEAR_ONE = 1e-6
"""Distance from 1 within which a mean confidence is taken from what it lacks, where digits would cancel."""


@dataclass(frozen=True, eq=False)
class MeanConfidence:
    """The mean confidence of some references in the label of each record; of none of them it is 0.

    Parameters
    ----------
    count : (n,) how many references
    value : (n,) the mean
    lack : (n,) 1 - value, with all its digits where it is small
    """

    count: NDArray[np.int64]
    value: Floats
    lack: Floats

    def log(self) -> Floats:
        """Return the logarithm, (n,), precise at both ends."""
        logs: Floats = np.log(self.value)
        near = self.lack < NEAR_ONE
        if near.any():
            logs[near] = np.log1p(-self.lack[near])
        return logs

    def with_members(self, a: float) -> MeanConfidence:
        """Return the mean over models that did not see a record and models that did, taken as a * value + 1 - a."""
        return MeanConfidence(self.count, ((1 + a) * self.value + (1 - a)) / 2, (1 + a) / 2 * self.lack)

    def averaged(self, other: MeanConfidence) -> MeanConfidence:
        """Return the mean of two means, record by record."""
        return MeanConfidence(self.count + other.count, (self.value + other.value) / 2, (self.lack + other.lack) / 2)

    def where(self, chosen: NDArray[np.bool_], other: MeanConfidence) -> MeanConfidence:
        """Return this one of the chosen records, and the other one of the rest."""
        parts = ((self.count, other.count), (self.value, other.value), (self.lack, other.lack))
        count, value, lack = (np.where(chosen, mine, theirs) for mine, theirs in parts)
        return MeanConfidence(count, value, lack)

    def take(self, records: NDArray[np.bool_]) -> MeanConfidence:
        """Return that of some records."""
        return MeanConfidence(self.count[records], self.value[records], self.lack[records])


@dataclass(frozen=True, eq=False)
class Confidences:
    """Mean confidences of the references that saw each record, and of those that did not."""

    inside: MeanConfidence
    outside: MeanConfidence


def mean_confidences(
    log_confidences: Floats, membership: NDArray[np.bool_] | None, without: int | None = None
) -> Confidences:
    """Return the mean confidences of all references on each side, added one reference at a time.

    Parameters
    ----------
    log_confidences : (r, n)
    membership : (n, r) which record trained which reference; None if none did
    without : a reference that is left out
    """
    models = [model for model in range(len(log_confidences)) if model != without]
    counts = _counts(log_confidences.shape[1], models, membership)
    values = _means(lambda model: np.exp(np.maximum(log_confidences[model], LEAST)), models, membership, counts)
    lacks = 1.0 - values
    near = np.flatnonzero(values.max(axis=0) > 1.0 - NEAR_ONE)
    if near.size:
        saw = None if membership is None else membership[near]
        lacks[:, near] = _means(
            lambda model: -np.expm1(np.maximum(log_confidences[model, near], LEAST)), models, saw, counts[:, near]
        )
    return Confidences(*(MeanConfidence(counts[side], values[side], lacks[side]) for side in (0, 1)))


def _counts(n: int, models: Sequence[int], membership: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Return how many references saw each record, and how many did not, (2, n)."""
    inside = np.zeros(n, dtype=np.int64)
    if membership is not None:
        for model in models:
            inside += membership[:, model]
    return np.stack([inside, len(models) - inside])


def _means(
    read: Callable[[int], Floats],
    models: Sequence[int],
    membership: NDArray[np.bool_] | None,
    counts: NDArray[np.int64],
) -> Floats:
    """Return means of what is read of each reference over those that saw a record and those that did not, (2, n)."""
    sums = np.zeros(counts.shape)
    for model in models:
        values = read(model)
        if membership is None:
            sums[1] += values
        else:
            seen = values * membership[:, model]
            sums[0] += seen
            sums[1] += values - seen  # one of both is exactly 0
    means: Floats = sums / np.maximum(counts, 1)
    return means
