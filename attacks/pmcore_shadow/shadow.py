"""The shadow attack (Shokri et al. 2017), learnt from models whose members are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Attack, Evidence, Floats, Needs
from pmcore_shadow.classifiers import Classifier
from pmcore_shadow.features import Features, read_features, signals_for
from pmcore_shadow.learning import Learner, Per
from pmcore_shadow.rows import Rows


@dataclass(frozen=True)
class ShadowAttack(Attack):
    """Does the model's answer look like the answers of models that have seen the record they are asked about?

    A classifier learns from all pairs of a reference (shadow) model and an audited record, each labelled by whether the
    record trained the model, and is asked about the pair of the target and the record:

        score(x) = log P(f(target, x) | IN, y) - log P(f(target, x) | OUT, y)

    that is its log-odds when it learns from as many IN as OUT pairs of each class y, drawn if there are more of one.

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
    per : "class" for a classifier of each class that has 5 pairs on either side, "pooled" for one of all, which is
        told the label; "auto" takes "class" for vectors and classes with 300 on either side, else "pooled"
    most_rows : most pairs that one classifier learns from; of more it is given a sample

    References
    ----------
    Shokri, Stronati, Song, Shmatikov. Membership Inference Attacks Against Machine Learning Models. S&P 2017.
    Salem, Zhang, Humbert, Berrang, Fritz, Backes. ML-Leaks: Model and Data Independent Membership Inference Attacks
    and Defenses on Machine Learning Models. NDSS 2019 (the three highest posteriors).
    """

    knowledge: ClassVar[str] = "reference models of the same kind, and which records trained each of them"

    features: Features = "top3"
    classifier: Classifier = "logistic"
    per: Per = "auto"
    most_rows: int = 50_000

    def __post_init__(self) -> None:
        self._learner()

    @property
    def needs(self) -> Needs:
        """Declare the features of target and references, and the membership of the references."""
        names = signals_for(self.features)
        return Needs(target=names, references=names, min_references=1, min_in_references=1, membership=True)

    def score(self, evidence: Evidence) -> Floats:
        """Return log-odds, shape (n,).

        Raises
        ------
        InputError
            No class has pairs of both sides, or a model's answers are not finite.
        """
        membership = evidence.reference_membership
        if membership is None:
            raise InputError("shadow: it is not told which records trained the references - give their membership")
        pairs = read_features("shadow", self.features, evidence.references)
        asked = read_features("shadow", self.features, evidence.target)
        models, records, width = pairs.shape
        rows = Rows(pairs.reshape(models * records, width), np.tile(evidence.labels, models), membership.T.reshape(-1))
        return self._learner().scores(rows, asked, evidence.labels, cache(lambda: evidence.rng))

    def _learner(self) -> Learner:
        return Learner("shadow", self.features, self.classifier, self.per, self.most_rows)
