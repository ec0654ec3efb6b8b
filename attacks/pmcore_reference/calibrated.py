"""Difficulty calibration: a signal of the target less what reference models find for the same record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pmcore.interfaces import Attack, Evidence, Floats, Needs
from pmcore_reference.moments import Centre, moments
from pmcore_reference.readings import direction, fewest_models, numbers


@dataclass(frozen=True)
class CalibratedAttack(Attack):
    """Does the model do better on this record than models that have not seen it?

    With s a signal signed so that higher speaks for membership,

        score(x) = s(x; target) - mean over references of s(x; reference)

    over references that did not see the record: what is easy for every model, or hard for every model, says nothing of
    membership. One reference suffices.

    Parameters
    ----------
    signal : any signal with one number per record. The paper's is the loss, whose mean is that of the hardest few;
        log-odds, the default, find more (AUC .89 for .77 on Location-30). Models without them are read by the loss.
    statistic : mean or median of the references

    References
    ----------
    Watson, Guo, Cormode, Sablayrolles. On the Importance of Difficulty Calibration in Membership Inference Attacks.
    ICLR 2022.
    """

    knowledge: ClassVar[str] = "models of the same kind that were trained on records of the same population"

    signal: str = "rescaled_logit"
    statistic: Centre = "mean"

    @property
    def fallback(self) -> Attack | None:
        """Return the attack on the loss, which every task has, in place of the one on log-odds."""
        return replace(self, signal="loss") if self.signal == "rescaled_logit" else None

    @property
    def needs(self) -> Needs:
        """Declare the signal under the target and under the references."""
        return Needs(target=(self.signal,), references=(self.signal,), min_references=1)

    def score(self, evidence: Evidence) -> Floats:
        """Return how much more than usual the signal speaks for membership, in its own unit, shape (n,)."""
        of_target = numbers("calibrated", self.signal, evidence.target(self.signal), 1)
        of_references = numbers("calibrated", self.signal, evidence.references(self.signal), 2)
        fewest_models("calibrated", len(of_references), 1, "did not see it")
        usual = moments(of_references, self.statistic).centre
        return direction(evidence, self.signal) * (of_target - usual)
