"""A signal and an attack for pmcore: the relative margin, standardised within each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pmcore.errors import InputError
from pmcore.interfaces import Attack, Direction, Evidence, Floats, Needs, Outputs, Signal

__version__ = "0.1.0"
__all__ = ["MarginAttack", "RelativeMargin"]


class RelativeMargin(Signal):
    """The margin of the true label over the average other one: z_y - mean over j != y of z_j.

    Where `hinge` looks at the strongest rival alone, this looks at all of them, so that it also sees how far
    training has pushed down the classes that were never in question. It does not change when a constant is
    added to all logits, so logits and log-probabilities give the same. With two classes it is the log-odds.

    References
    ----------
    This plugin; `hinge`, after which it is made, is the margin of Carlini et al. Membership Inference Attacks
    From First Principles. S&P 2022.
    """

    direction: ClassVar[Direction] = Direction.HIGHER

    def compute(self, outputs: Outputs) -> Floats:
        """Return margins in logits, shape (n,)."""
        scores = outputs.log_scores
        rows = np.arange(len(scores))
        others = scores.copy()
        others[rows, outputs.labels] = 0.0
        margin: Floats = scores[rows, outputs.labels] - others.sum(axis=1) / (scores.shape[1] - 1)
        return margin


@dataclass(frozen=True)
class MarginAttack(Attack):
    """Is the model surer of this record than it is of records of the same class that it has never seen?

    With s a signal signed so that higher speaks for membership, and y the record's class,

        score(x) = (s(x) - mean_y) / std_y

    where mean_y and std_y are taken over the population records of class y, or over the whole population if
    the class has too few of them or they are all alike. So a class that the model finds easy does not
    make all of its records look like members.

    Parameters
    ----------
    signal : any signal with one number per record
    min_per_class : fewest population records with which a class is standardised by itself, at least 2

    References
    ----------
    Song, Mittal. Systematic Evaluation of Privacy Risks of Machine Learning Models. USENIX Security 2021,
    sets a threshold per class to the same end.
    """

    knowledge: ClassVar[str] = "labelled records of the same population that are known not to be members"

    signal: str = "relative_margin"
    min_per_class: int = 20

    def __post_init__(self) -> None:
        if self.min_per_class < 2:
            raise InputError(f"margin: min_per_class: {self.min_per_class} - a spread needs at least 2 records")

    @property
    def needs(self) -> Needs:
        """Declare the signal on the audited records and on the population."""
        return Needs(target=(self.signal,), population=(self.signal,))

    def score(self, evidence: Evidence) -> Floats:
        """Return the signal in standard deviations above the population's mean, shape (n,)."""
        labels, population_labels = evidence.labels, evidence.population_labels
        if population_labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError("margin: the task has no classes - choose the attack 'population'")
        audited = self._signed(evidence, evidence.target(self.signal))
        population = self._signed(evidence, evidence.population(self.signal))
        scores = _standardised(audited, population)
        for label in np.unique(labels):
            peers = population[population_labels == label]
            if len(peers) >= self.min_per_class and np.ptp(peers) > 0.0:
                scores[labels == label] = _standardised(audited[labels == label], peers)
        return scores

    def _signed(self, evidence: Evidence, values: Floats) -> Floats:
        if values.ndim != 1 or not np.isfinite(values).all():
            wanted = "choose one that gives one finite number per record"
            raise InputError(f"margin: signal: {self.signal} - {wanted}")
        return evidence.membership_evidence(self.signal, values)


def _standardised(values: Floats, population: Floats) -> Floats:
    """Return `values` in standard deviations above the mean of `population`, shape (n,)."""
    spread = population.std(ddof=1) if len(population) > 1 and np.ptp(population) > 0.0 else 1.0
    standardised: Floats = (values - population.mean()) / spread
    return standardised
