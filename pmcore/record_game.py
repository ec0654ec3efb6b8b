"""The game of single records: over many models, those that trained on a record against those that did not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.interfaces import Floats

LEVEL = 0.05
"""False discovery rate at which records are called exposed."""


@dataclass(frozen=True, eq=False)
class RecordAucs:
    """How well the models that were trained on a record can be told from the others, record by record.

    Parameters
    ----------
    values : (n,) AUC over models
    p_values : (n,) one-sided exact Mann-Whitney test of "an AUC of one half"
    without_each : (models,) the mean AUC with each model left out
    exposed : how many records are told from chance, by Benjamini and Hochberg at `level`
    level : the false discovery rate
    """

    values: Floats
    p_values: Floats
    without_each: Floats
    exposed: int
    level: float = LEVEL


def record_aucs(scores: Floats, truth: NDArray[np.bool_]) -> RecordAucs:
    """Return the AUC of every record over the models.

    Parameters
    ----------
    scores, truth : (models, n); every record trained at least one model, and did not train another
    """
    values = _aucs(scores, truth)
    p_values = _p_values(scores, truth)
    models = len(scores)
    without = []
    for left_out in range(models):
        kept = np.arange(models) != left_out
        both = truth[kept].any(axis=0) & ~truth[kept].all(axis=0)
        without.append(float(_aucs(scores[kept][:, both], truth[kept][:, both]).mean()) if both.any() else 0.5)
    return RecordAucs(values, p_values, np.array(without), _discoveries(p_values))


def _aucs(scores: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Return AUCs over the first axis, ties counted as one half, shape (n,)."""
    above = np.zeros(scores.shape[1])
    for one, member in zip(scores, truth, strict=True):
        against = ~truth & member
        above += ((scores < one) & against).sum(axis=0) + 0.5 * ((scores == one) & against).sum(axis=0)
    inside = truth.sum(axis=0)
    result: Floats = above / (inside * (len(truth) - inside))
    return result


def _p_values(scores: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Return one-sided p-values, shape (n,); records seen by equally many models are tested together."""
    from scipy.stats import mannwhitneyu

    result = np.ones(scores.shape[1])
    inside = truth.sum(axis=0)
    for number in np.unique(inside):
        columns = np.flatnonzero(inside == number)
        seen_first = np.argsort(~truth[:, columns], axis=0, kind="stable")
        ordered = np.take_along_axis(scores[:, columns], seen_first, axis=0)
        tied = bool((np.diff(np.sort(ordered, axis=0), axis=0) == 0).any())
        test = mannwhitneyu(
            ordered[:number],
            ordered[number:],
            alternative="greater",
            axis=0,
            method="asymptotic" if tied else "exact",
        )
        result[columns] = test.pvalue
    return result


def _discoveries(p_values: Floats) -> int:
    """Return how many hypotheses Benjamini and Hochberg's procedure rejects."""
    ascending = np.sort(p_values)
    passed = np.flatnonzero(ascending <= LEVEL * np.arange(1, len(ascending) + 1) / len(ascending))
    return int(passed[-1]) + 1 if len(passed) else 0
