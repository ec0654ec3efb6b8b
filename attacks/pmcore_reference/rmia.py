"""The robust membership inference attack (RMIA): a record's likelihood ratio against those of population records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from pmcore.conformal import conformal_p_values, conformal_scores, one_pool
from pmcore.errors import InputError
from pmcore.interfaces import Attack, Evidence, Floats, Needs, PValues
from pmcore_reference.ratios import LEAST, Confidences, MeanConfidence, mean_confidences
from pmcore_reference.readings import check_queries, fewest_models, numbers
from pmcore_reference.tuning import DEFAULT, fitted, tuned


@dataclass(frozen=True, eq=False)
class Ratios:
    """Log ratios of the audited records, (n,), and of the population records that some reference did not see, (m,)."""

    audited: Floats
    population: Floats


@dataclass(frozen=True)
class RmiaAttack(Attack):
    """Has the model raised the likelihood of this record further than it raised those of records it has never seen?

    With Pr(x | theta) the confidence of the target in the label of x, and Z the population records,

        ratio(x) = Pr(x | theta) / Pr(x)
        score(x) = share of z in Z with ratio(x) / ratio(z) > gamma

    refined inside its steps by ratio(x), as in the population attack. Pr(x) is what models in general give:

        online:   Pr(x) = (mean over references that saw x + mean over those that did not) / 2
        offline:  Pr(x) = ((1 + a) mean over references that did not see x + (1 - a)) / 2

    over all references of each kind; the same for z, and for a z that no reference saw the second formula in either
    case. No confidence is less than 1e-30. With several queries, x is ahead of z when the greater part of its queries
    are: ratio(x) is the largest number that more than half of its ratios reach, and ratio(z) likewise.

    Where no reference saw an audited or a population record, those that are no members cannot be told from Z, and the
    conformal p-values of ratio(x) among Z are valid; elsewhere there are none.

    Without references that saw the audited records the attack runs offline.

    Parameters
    ----------
    mode : online, with models on both sides; or offline, with models that did not see the record alone
    gamma : how many times larger the ratio must be
    a : from 0 to 1: the confidence of models that saw a record is taken as a * p + 1 - a, with p that of the others;
        or tuned: the best of 0, 0.1, ... 1 where references play the target in turn (offline), or the one that fits
        what references find on both sides (online, for z alone); 0.3 where no reference saw any of the records
    temperature : what logits are divided by
    softmax : plain; or taylor, with polynomials of order 4 and a margin of 0.6
    augment : the queries, such as [plain,flip]

    References
    ----------
    Zarifzadeh, Liu, Shokri. Low-Cost High-Power Membership Inference Attacks. ICML 2024.
    Vovk, Gammerman, Shafer. Algorithmic Learning in a Random World. 2005 (conformal p-values).
    """

    knowledge: ClassVar[str] = (
        "models of the same kind, which of them saw which record, and records known to be outside"
    )

    mode: Literal["online", "offline"] = "online"
    gamma: float = 2.0
    a: float | Literal["tuned"] = "tuned"
    temperature: float = 1.0
    softmax: Literal["plain", "taylor"] = "plain"
    augment: tuple[str, ...] = ("plain",)

    def __post_init__(self) -> None:
        check_queries("rmia", self.augment)
        if not 0 < self.gamma < np.inf:
            raise InputError(f"rmia: gamma: {self.gamma:g} - give a number above 0")
        if not 0 < self.temperature < np.inf:
            raise InputError(f"rmia: temperature: {self.temperature:g} - give a number above 0")
        if self.a != "tuned" and not 0 <= self.a <= 1:
            raise InputError(f"rmia: a: {self.a:g} - give a number from 0 to 1, or tuned")

    @property
    def fallback(self) -> Attack | None:
        """Return the offline attack, which needs no references that saw a record."""
        return replace(self, mode="offline") if self.mode == "online" else None

    @property
    def needs(self) -> Needs:
        """Declare log confidences of target and references on both roles, and which references saw a record."""
        names = (self._name,)
        return Needs(
            target=names,
            population=names,
            references=names,
            population_references=names,
            min_references=1,
            min_in_references=1 if self.mode == "online" else 0,
            membership=True,
            queries=self.augment,
        )

    def score(self, evidence: Evidence) -> Floats:
        """Return shares of dominated population records, refined by the ratio; shape (n,), in (0, 1)."""
        ratios = self._log_ratios(evidence)
        # In ascending order, because a search for sorted numbers finds them several times faster.
        order = np.argsort(ratios.audited)
        scores = np.empty(len(order))
        pools = one_pool(ratios.audited[order] - np.log(self.gamma), ratios.population)
        scores[order] = conformal_scores(pools, len(order))
        return scores

    def p_values(self, evidence: Evidence) -> PValues | None:
        """Return conformal p-values of the ratios where no reference saw a record, else None."""
        several = (evidence.reference_membership, evidence.population_membership)
        if any(membership is not None and membership.any() for membership in several):
            return None
        ratios = self._log_ratios(evidence)
        return conformal_p_values(one_pool(ratios.audited, ratios.population), len(ratios.audited))

    @property
    def _name(self) -> str:
        name = "log_confidence" if self.softmax == "plain" else "taylor_confidence"
        if self.temperature == 1:
            return name
        return f"{name}:temperature={np.format_float_positional(self.temperature, trim='-')}"

    def _log_ratios(self, evidence: Evidence) -> Ratios:
        """Return log ratios over all queries."""
        several = [self._of_query(evidence, query) for query in self.augment]
        return Ratios(_majority([one.audited for one in several]), _majority([one.population for one in several]))

    def _of_query(self, evidence: Evidence, query: str) -> Ratios:
        of_target, of_population = (
            np.maximum(numbers("rmia", self._name, values, 1), LEAST)
            for values in (evidence.target(self._name, query), evidence.population(self._name, query))
        )
        audited = mean_confidences(self._of_references(evidence, query), evidence.reference_membership)
        of_references = numbers("rmia", self._name, evidence.population_references(self._name, query), 2)
        population = mean_confidences(of_references, evidence.population_membership)
        fewest_models("rmia", int(audited.outside.count.min()), 1, "did not see it")
        if self.mode == "online":
            fewest_models("rmia", int(audited.inside.count.min()), 1, "saw it")
        known = population.outside.count > 0
        if not known.any():
            raise InputError("rmia: population: every reference saw all of it - give records that some did not see")
        a = self._a(evidence, query, audited)
        of_x, of_z = (self._usual(confidences, a) for confidences in (audited, population))
        return Ratios(of_target - of_x.log(), of_population[known] - of_z.take(known).log())

    def _of_references(self, evidence: Evidence, query: str) -> Floats:
        return numbers("rmia", self._name, evidence.references(self._name, query), 2)

    def _usual(self, confidences: Confidences, a: float) -> MeanConfidence:
        """Return how likely models in general find the label of each record."""
        offline = confidences.outside.with_members(a)
        if self.mode == "offline":
            return offline
        return confidences.inside.averaged(confidences.outside).where(confidences.inside.count > 0, offline)

    def _a(self, evidence: Evidence, query: str, audited: Confidences) -> float:
        if self.a != "tuned":
            return self.a
        if self.mode == "online":
            return fitted(audited)
        found = None
        if evidence.reference_membership is not None:
            found = tuned(self._of_references(evidence, query), evidence.reference_membership)
        if found is None and evidence.population_membership is not None:
            found = tuned(evidence.population_references(self._name, query), evidence.population_membership)
        return DEFAULT if found is None else found


def dominated_shares(audited: Floats, population: Floats, gamma: float) -> Floats:
    """Return the share of population records whose ratio is more than gamma times smaller, (n,); ties stay ties.

    Parameters
    ----------
    audited, population : (n,) and (m,) log ratios
    """
    dominated = np.searchsorted(np.sort(population), audited - np.log(gamma), side="left")
    shares: Floats = dominated / len(population)
    return shares


def _majority(ratios: Sequence[Floats]) -> Floats:
    """Return the largest number that more than half of a record's ratios reach, of (q,) arrays (n,) -> (n,)."""
    if len(ratios) == 1:
        return ratios[0]
    ascending = np.sort(np.stack(ratios), axis=0)
    reached: Floats = ascending[(len(ratios) - 1) // 2]
    return reached
