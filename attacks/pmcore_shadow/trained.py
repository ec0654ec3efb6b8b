"""The classifier trained on the target's own answers about known members: an upper bound for learnt attacks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from pmcore.errors import InputError
from pmcore.evidence import FEWEST_FOLDS
from pmcore.interfaces import Attack, Evidence, Floats, Needs
from pmcore_shadow.classifiers import Classifier
from pmcore_shadow.features import Features, read_features, signals_for
from pmcore_shadow.learning import Learner, Per
from pmcore_shadow.rows import Rows


@dataclass(frozen=True)
class TrainedAttack(Attack):
    """Does the model's answer about this record look like its answers about records that are known to be members?

    The score is the log-odds of a classifier that learns from audited records whose membership is known,

        score(x) = log P(f(x) | member, y) - log P(f(x) | non-member, y)

    that is its log-odds when it learns from as many members as non-members of each class y, drawn if there are more of
    one: that the two differ in their classes is no leak of the model. It is an upper bound by what its attacker knows,
    and no realistic attacker: nobody outside knows members of this very model by the hundred. Where few records are
    known, pairs of reference models and records may teach the attack `shadow` more. The audited records are dealt into
    folds, and each is scored by a classifier that is told of the next (folds - 1) // 2 of them.

    f(x) holds the rescaled logit of the label (the loss, on a scale that does not saturate), whether the label is
    right, and the prediction: by "top3" the three largest probabilities as log-odds in falling order, by "vector" the
    log-probability of every class, as in the paper of Shokri et al. Of ten classes and of thirty the three largest told
    a pooled classifier as much as all of them; a vector takes memory for every class, record and model, and tells most
    where each class has a classifier of its own.

    Parameters
    ----------
    features : "top3", or "vector" for the whole prediction
    classifier : "logistic" (on splines), "mlp", "random_forest", "knn" or "hist_gradient_boosting", of scikit-learn; on
        standardised features
    per : "class" for a classifier of each class that has 5 records on either side, "pooled" for one of all, which is
        told the label; "auto" takes "class" for vectors and classes with 300 on either side, else "pooled"
    folds : parts into which the audited records are dealt, 3 or more; an odd number wastes none
    most_rows : most records that one classifier learns from; of more it is given a sample

    References
    ----------
    Song, Marn. Introducing a New Privacy Testing Library in TensorFlow. 2020 (trained attacks on known members).
    Salem, Zhang, Humbert, Berrang, Fritz, Backes. ML-Leaks: Model and Data Independent Membership Inference Attacks
    and Defenses on Machine Learning Models. NDSS 2019 (the three highest posteriors).
    """

    knowledge: ClassVar[str] = "the membership of part of the other records: an upper bound, no realistic attacker"

    features: Features = "top3"
    classifier: Classifier = "logistic"
    per: Per = "auto"
    folds: int = 5
    most_rows: int = 50_000

    def __post_init__(self) -> None:
        if self.folds < FEWEST_FOLDS:
            raise InputError(f"trained: folds: {self.folds} - give {FEWEST_FOLDS} or more")
        self._learner()

    @property
    def needs(self) -> Needs:
        """Declare the features of the target, and the folds."""
        return Needs(target=signals_for(self.features), known_folds=self.folds)

    def score(self, evidence: Evidence) -> Floats:
        """Return log-odds for the records whose membership is hidden, 0 for all others; shape (n,).

        Raises
        ------
        InputError
            No class has known members and known non-members, or the model's answers are not finite.
        """
        if evidence.known is None:
            raise InputError("trained: no membership is known to learn from - give the attack its folds")
        features = read_features("trained", self.features, evidence.target)
        known = evidence.known >= 0
        rows = Rows(features[known], evidence.labels[known], evidence.known[known] == 1)
        scores = np.zeros(len(known))
        scores[~known] = self._learner().scores(
            rows, features[~known], evidence.labels[~known], cache(lambda: evidence.rng)
        )
        return scores

    def _learner(self) -> Learner:
        return Learner("trained", self.features, self.classifier, self.per, self.most_rows)
