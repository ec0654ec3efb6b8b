"""The population attack (Yeom et al. 2018; Attack-P of Ye et al. 2022) with conformal p-values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pmcore.conformal import Pool, conformal_p_values, conformal_scores, one_pool, pools_by_class
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
        return conformal_scores(self._pools(evidence), len(evidence.labels))

    def p_values(self, evidence: Evidence) -> PValues:
        """Return conformal p-values, in [1 / (m + 1), 1] with m the records of the record's pool."""
        return conformal_p_values(self._pools(evidence), len(evidence.labels))

    def _pools(self, evidence: Evidence) -> tuple[Pool, ...]:
        audited = self._signed(evidence, evidence.target(self.signal))
        population = self._signed(evidence, evidence.population(self.signal))
        if not self.per_class:
            return one_pool(audited, population)
        try:
            return pools_by_class(audited, evidence.labels, population, evidence.population_labels, self.alpha)
        except InputError as error:
            raise InputError(f"population: {error}") from error

    def _signed(self, evidence: Evidence, values: Floats) -> Floats:
        if values.ndim != 1:
            several = f"gives {values.shape[1]} numbers per record; choose a signal with one"
            raise InputError(f"population: signal: {self.signal} - {several}")
        return evidence.membership_evidence(self.signal, values)
