"""The likelihood ratio attack (LiRA): of models that saw this record and models that did not, which is the target?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pmcore.errors import InputError
from pmcore.interfaces import Attack, Evidence, Floats, Needs
from pmcore_reference.moments import Centre, moments, moments_by_side
from pmcore_reference.readings import check_queries, direction, fewest_models, numbers
from pmcore_reference.variances import Variance, predictive, unit_of

FEWEST = 2
"""Models on a side: one alone has no variance."""


@dataclass(frozen=True)
class LiraAttack(Attack):
    """Does the model answer about this record like models that were trained on it, or like models that were not?

    With phi the rescaled logit of the record under the target, and N_in and N_out normal distributions fitted to the
    rescaled logits under references that saw the record, and that did not,

        online:   score(x) = log N_in(phi) - log N_out(phi)
        offline:  score(x) = (phi - mu_out) / s_out          (cdf)
                  score(x) = - log N_out(phi)                (pdf)

    The first offline score ranks as the one-sided tail probability 1 - Pr(N_out > phi) does and never saturates; the
    second, of the published code, is two-sided. mu is the median or the mean, s the standard deviation about the mean:
    the record's own where a side has 32 models of it, else the pooled one within records, each side by itself with
    n - 1 degrees of freedom. `shrink` puts a prior on a record's mean and variance, flat in the one and inverse gamma
    in the other, fitted by moments to the log variances of all records: the record's distribution is Student's t then.
    No s is less than 1e-6 of the pooled one of both sides. Of several queries the score is the mean.

    Without references that saw the audited records the attack runs offline.

    Parameters
    ----------
    mode : online, with models on both sides; or offline, with models that did not see the record alone
    variance : auto, per_record, pooled, or shrink
    centre : median or mean of the references
    offline_statistic : cdf, one-sided; or pdf, two-sided
    augment : the queries, such as [plain,flip]
    signal : the rescaled logit, or another signal with one number per record

    References
    ----------
    Carlini, Chien, Nasr, Song, Terzis, Tramer. Membership Inference Attacks From First Principles. S&P 2022.
    Smyth. Linear Models and Empirical Bayes Methods for Assessing Differential Expression. SAGMB 2004 (variances
    shrunk towards a prior that is fitted to all of them).
    Exponential-Family Membership Inference: From LiRA and RMIA to BaVarIA. arXiv 2603.11799, 2026 (the Student-t
    predictive of a normal-inverse-gamma prior in place of LiRA's normal distributions).
    """

    knowledge: ClassVar[str] = "models of the same kind trained on like records, and which of them saw which record"

    mode: Literal["online", "offline"] = "online"
    variance: Variance = "auto"
    centre: Centre = "median"
    offline_statistic: Literal["cdf", "pdf"] = "cdf"
    augment: tuple[str, ...] = ("plain",)
    signal: str = "rescaled_logit"

    def __post_init__(self) -> None:
        check_queries("lira", self.augment)

    @property
    def fallback(self) -> Attack | None:
        """Return the offline attack, which needs no references that saw a record."""
        return replace(self, mode="offline") if self.mode == "online" else None

    @property
    def needs(self) -> Needs:
        """Declare the signal under target and references, and which of these saw a record if that is read."""
        names = (self.signal,)
        if self.mode == "offline":
            return Needs(target=names, references=names, min_references=FEWEST, queries=self.augment)
        return Needs(
            target=names,
            references=names,
            min_references=FEWEST,
            min_in_references=FEWEST,
            membership=True,
            queries=self.augment,
        )

    def score(self, evidence: Evidence) -> Floats:
        """Return log likelihood ratios, or offline z-scores or surprises; the mean over the queries, shape (n,)."""
        of_query = self._online if self.mode == "online" else self._offline
        total = of_query(evidence, self.augment[0])
        for query in self.augment[1:]:
            total = total + of_query(evidence, query)
        mean: Floats = total / len(self.augment)
        return mean

    def _online(self, evidence: Evidence, query: str) -> Floats:
        membership = evidence.reference_membership
        if membership is None:
            raise InputError(
                "lira: mode: online - it is not known which references saw which record; give mode=offline"
            )
        phi = numbers("lira", self.signal, evidence.target(self.signal, query), 1)
        of_references = numbers("lira", self.signal, evidence.references(self.signal, query), 2)
        sides = moments_by_side(of_references, membership, self.centre)
        fewest_models("lira", int(sides.inside.count.min()), FEWEST, "saw it")
        fewest_models("lira", int(sides.outside.count.min()), FEWEST, "did not see it")
        unit = unit_of(sides.inside, sides.outside)
        inside = predictive(sides.inside, self.variance, unit).log_density(phi)
        return inside - predictive(sides.outside, self.variance, unit).log_density(phi)

    def _offline(self, evidence: Evidence, query: str) -> Floats:
        phi = numbers("lira", self.signal, evidence.target(self.signal, query), 1)
        of_references = numbers("lira", self.signal, evidence.references(self.signal, query), 2)
        fewest_models("lira", len(of_references), FEWEST, "did not see it")
        side = moments(of_references, self.centre)
        outside = predictive(side, self.variance, unit_of(side))
        if self.offline_statistic == "pdf":
            return -outside.log_density(phi)
        return direction(evidence, self.signal) * outside.z_scores(phi)
