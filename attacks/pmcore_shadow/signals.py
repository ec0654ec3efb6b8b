"""The signals that a classifier learns from: a whole prediction, or the largest of its probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Access, Direction, Floats, Outputs, Signal
from pmcore.outputs import sum_over_classes

FEWEST, MOST = 2, 1000
"""Probabilities per record: one alone is the signal `confidence`, and no attack model learns from more."""


@dataclass(frozen=True)
class PredictionVector(Signal):
    """The whole prediction, class by class, as log-probabilities: log p_j = z_j - logsumexp(z).

    For attacks that learn to read it: neither side of any column speaks for membership. As logarithms, which keep
    apart the predictions of a confident model, where the paper has the probabilities themselves.

    References
    ----------
    Shokri, Stronati, Song, Shmatikov. Membership Inference Attacks Against Machine Learning Models. S&P 2017
    (section V).
    """

    access: ClassVar[Access] = Access.SCORES
    direction: ClassVar[Direction] = Direction.NEITHER

    def compute(self, outputs: Outputs) -> Floats:
        """Return log-probabilities, shape (n, k)."""
        return np.ascontiguousarray(outputs.log_probabilities)


@dataclass(frozen=True)
class TopPredictions(Signal):
    """The largest probabilities in falling order, whichever classes have them, as log-odds: log(p_(j) / (1 - p_(j))).

    Few columns for any number of classes, and log-odds do not saturate: those of the likeliest class are its
    log-probability less that of all others together.

    Parameters
    ----------
    count : how many; a model with fewer classes gives one for each

    References
    ----------
    Salem, Zhang, Humbert, Berrang, Fritz, Backes. ML-Leaks: Model and Data Independent Membership Inference Attacks
    and Defenses on Machine Learning Models. NDSS 2019 (section III: the three highest posteriors, in order).
    """

    access: ClassVar[Access] = Access.SCORES
    direction: ClassVar[Direction] = Direction.NEITHER

    count: int = 3

    def __post_init__(self) -> None:
        if not FEWEST <= self.count <= MOST:
            raise InputError(f"top_predictions: count: {self.count} - give a number from {FEWEST} to {MOST}")

    def compute(self, outputs: Outputs) -> Floats:
        """Return log-odds, shape (n, min(count, k))."""
        falling = np.sort(outputs.log_probabilities, axis=1)[:, ::-1]
        others = np.asfortranarray(np.exp(falling[:, 1:] - falling[:, 1:2]))
        top = falling[:, 0] - falling[:, 1] - np.log(sum_over_classes(others))
        kept = falling[:, 1 : self.count]
        # No other class has more than a half, so that 1 - p loses nothing.
        return np.column_stack([top, kept - np.log1p(-np.exp(kept))])
