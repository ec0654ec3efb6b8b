"""Learning membership from labelled rows, class by class where a class has enough of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.outputs import Array, Floats
from pmcore_shadow.classifiers import DRAWING, Classifier, log_odds
from pmcore_shadow.features import Features, Scaling, one_hot
from pmcore_shadow.rows import Rows

Per = Literal["auto", "class", "pooled"]

ENOUGH, FEWEST = 300, 5
"""Rows on either side from which a class has a classifier of its own: of vectors by "auto", and by "class"."""
MOST_TOLD, FEWEST_TOLD = 100, 20
"""Classes beyond which the pooled classifier is not told the label, and rows of a class below which it is not."""
MOST_SPLINED = 12
"""Columns beyond which the loss alone is read through splines."""


@dataclass(frozen=True)
class Learner:
    """How membership is learnt.

    Parameters
    ----------
    attack : whose options these are, for errors
    features, classifier, per, most_rows : options of the attack
    """

    attack: str
    features: Features
    classifier: Classifier
    per: Per
    most_rows: int

    def __post_init__(self) -> None:
        if self.most_rows < 2 * FEWEST:
            raise InputError(f"{self.attack}: most_rows: {self.most_rows} - give {2 * FEWEST} or more")

    def scores(
        self, rows: Rows, asked: Floats, asked_labels: Array, generator: Callable[[], np.random.Generator]
    ) -> Floats:
        """Return log P(f | member, y) - log P(f | non-member, y) of other rows, shape (q,).

        These are the log-odds of a classifier that learns from as many members as non-members of each class: how many
        of a class were trained on, which need not be so for the target, says nothing of a record.

        Parameters
        ----------
        asked, asked_labels : (q, f), (q,)
        generator : returns the random generator, if it is needed

        Raises
        ------
        InputError
            No class has rows of both sides.
        """
        rows = rows.in_canonical_order()
        scores = np.zeros(len(asked))
        pooled = np.ones(len(asked), dtype=np.bool_)
        if self._least < np.inf:
            for label in np.unique(asked_labels):
                of_class = rows.take(np.flatnonzero(rows.labels == label))
                if of_class.of_smaller_side() >= self._least:
                    wanted = asked_labels == label
                    scores[wanted] = self._log_odds(of_class, asked[wanted], asked_labels[wanted], generator)
                    pooled &= ~wanted
        if pooled.any():
            scores[pooled] = self._log_odds(rows, asked[pooled], asked_labels[pooled], generator)
        return scores

    @property
    def _least(self) -> float:
        """Return the rows on either side from which a class has a classifier of its own.

        Which column of a vector speaks for membership depends on the class; of predictions in falling order all classes
        together teach more than each alone.
        """
        if self.per == "auto":
            return ENOUGH if self.features == "vector" else np.inf
        return FEWEST if self.per == "class" else np.inf

    def _log_odds(
        self, rows: Rows, asked: Floats, asked_labels: Array, generator: Callable[[], np.random.Generator]
    ) -> Floats:
        told = _told(rows.labels)
        rows = rows.balanced(told, self.most_rows, generator)
        if not len(rows.labels):
            raise InputError(
                f"{self.attack}: no class has known members and known non-members - give some of the other side"
            )
        scaling = Scaling.of(rows.features)
        width = rows.features.shape[1]
        return log_odds(
            self.classifier,
            np.hstack([scaling(rows.features), one_hot(rows.labels, told)]),
            width if width <= MOST_SPLINED else 1,
            rows.is_member,
            np.hstack([scaling(asked), one_hot(asked_labels, told)]),
            int(generator().integers(2**31)) if self.classifier in DRAWING else 0,
        )


def _told(labels: Array) -> NDArray[np.int64]:
    """Return the classes that a classifier is told of; no other is told apart from the rest."""
    classes, counts = np.unique(labels, return_counts=True)
    told: NDArray[np.int64] = classes[counts >= FEWEST_TOLD]
    return told if len(classes) > 1 and len(told) <= MOST_TOLD else told[:0]
