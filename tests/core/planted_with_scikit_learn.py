"""A sound attack whose module imports scikit-learn at the top, as attacks may."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.preprocessing import StandardScaler

from pmcore.interfaces import Evidence, Floats
from tests.core.planted_attacks import SoundPopulation


@dataclass(frozen=True)
class SoundWithScikitLearn(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        one = StandardScaler().fit(self.population(evidence)[:, None])
        scores: Floats = one.transform(self.audited(evidence)[:, None])[:, 0]
        return scores
