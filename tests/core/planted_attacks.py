"""Attacks for the conformance kit: sound ones of every kind, and for each check one that breaks this promise alone."""

from __future__ import annotations

import math
import signal as signals_of_the_system
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pmcore.errors import InputError
from pmcore.evidence import EvidenceKey, Source
from pmcore.interfaces import Attack, Evidence, Floats, Needs, PValues


@dataclass(frozen=True)
class SoundPopulation(Attack):
    """Is the model surer of this record than of the records of a population?

    With s the signal, signed so that higher speaks for membership,

        score(x) = (s(x) - mean_Z) / std_Z,    p(x) = (1 + #{z : s(z) >= s(x)}) / (m + 1)

    over the m records of the population Z.

    Parameters
    ----------
    signal : any signal with one number per record
    floor : least standard deviation that is believed

    References
    ----------
    Yeom, Giacomelli, Fredrikson, Jha. Privacy Risk in Machine Learning. CSF 2018.
    """

    knowledge: ClassVar[str] = "records of the same population that are known not to be members"

    signal: str = "loss"
    floor: float = 1e-6

    @property
    def needs(self) -> Needs:
        return Needs(target=(self.signal,), population=(self.signal,))

    def score(self, evidence: Evidence) -> Floats:
        return self.standardised(evidence)

    def p_values(self, evidence: Evidence) -> PValues | None:
        audited, population = self.audited(evidence), np.sort(self.population(evidence))
        at_least = len(population) - np.searchsorted(population, audited, side="left")
        return PValues((1 + at_least) / (len(population) + 1), np.full(len(audited), 1 / (len(population) + 1)))

    def standardised(self, evidence: Evidence) -> Floats:
        audited, population = self.audited(evidence), self.population(evidence)
        scores: Floats = (audited - population.mean()) / max(float(population.std()), self.floor)
        return scores

    def audited(self, evidence: Evidence) -> Floats:
        return finite(evidence.membership_evidence(self.signal, evidence.target(self.signal)))

    def population(self, evidence: Evidence) -> Floats:
        return finite(evidence.membership_evidence(self.signal, evidence.population(self.signal)))


def finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise InputError("planted: the signal is not finite - check the model")
    return values


@dataclass(frozen=True)
class SoundReference(Attack):
    """Is the model surer of this record than models that have not seen it?

    With phi the rescaled logit of the target and mu_out the mean of the references that are OUT for the record,

        score(x) = phi(x) - mu_out(x)

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    knowledge: ClassVar[str] = "reference models that have not seen the record"

    @property
    def needs(self) -> Needs:
        return Needs(target=("rescaled_logit",), references=("rescaled_logit",), min_references=1)

    def score(self, evidence: Evidence) -> Floats:
        references = finite(evidence.references("rescaled_logit"))
        scores: Floats = finite(evidence.target("rescaled_logit")) - references.mean(axis=0)
        return scores


@dataclass(frozen=True)
class SoundLira(Attack):
    """Is the model's answer more like that of models that have seen the record than like that of others?

    With phi the rescaled logit, and one pooled standard deviation s within the records of a side,

        score(x) = log N(phi; mu_in, s) - log N(phi; mu_out, s)

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    knowledge: ClassVar[str] = "reference models, half of which have seen each record"

    @property
    def needs(self) -> Needs:
        return Needs(target=("rescaled_logit",), references=("rescaled_logit",), min_references=4, membership=True)

    def score(self, evidence: Evidence) -> Floats:
        assert evidence.reference_membership is not None
        inside = evidence.reference_membership.T
        phi, others = finite(evidence.target("rescaled_logit")), finite(evidence.references("rescaled_logit"))
        means = [np.nanmean(np.where(side, others, np.nan), axis=0) for side in (inside, ~inside)]
        residuals = others - np.where(inside, means[0], means[1])
        pooled = max(float(np.square(residuals).sum()) / (residuals.size - 2 * len(phi)), 1e-12)
        scores: Floats = ((phi - means[1]) ** 2 - (phi - means[0]) ** 2) / (2 * pooled)
        return scores


@dataclass(frozen=True)
class SoundRatio(Attack):
    """Is this record's likelihood under the model further above its average than that of other records?

    With Pr(x) the mean likelihood over the references, and Z the population,

        score(x) = share of z in Z with ratio_x / ratio_z > gamma,    ratio_x = Pr(x | theta) / Pr(x)

    and records with the same share are told apart by ratio_x.

    Parameters
    ----------
    gamma : how far above a population record the record must be

    References
    ----------
    Zarifzadeh, Liu, Shokri. Low-Cost High-Power Membership Inference Attacks. ICML 2024.
    """

    knowledge: ClassVar[str] = "reference models and records of the same population"

    gamma: float = 2.0

    @property
    def needs(self) -> Needs:
        both = ("loss",)
        return Needs(target=both, population=both, references=both, population_references=both, min_references=2)

    def score(self, evidence: Evidence) -> Floats:
        audited = _log_ratio(evidence.target("loss"), evidence.references("loss"))
        population = np.sort(_log_ratio(evidence.population("loss"), evidence.population_references("loss")))
        share = np.searchsorted(population, audited - math.log(self.gamma), side="left") / len(population)
        scores: Floats = share + np.arctan(audited) / math.pi / (len(population) + 1)
        return scores


def _log_ratio(target: Floats, references: Floats) -> Floats:
    average = np.log(np.exp(-np.minimum(finite(references), 60.0)).mean(axis=0))
    ratio: Floats = -np.minimum(finite(target), 60.0) - average
    return ratio


@dataclass(frozen=True)
class SoundShadow(Attack):
    """Does a classifier that was trained on models with known members take this record for one?

    With f the classifier, a logistic regression on loss, entropy and class,

        score(x) = log f(x) / (1 - f(x))

    References
    ----------
    Shokri, Stronati, Song, Shmatikov. Membership Inference Attacks Against Machine Learning Models. S&P 2017.
    """

    knowledge: ClassVar[str] = "shadow models, and which records each has seen"

    @property
    def needs(self) -> Needs:
        both = ("loss", "entropy")
        return Needs(target=both, references=both, min_references=4, membership=True)

    def score(self, evidence: Evidence) -> Floats:
        from sklearn.linear_model import LogisticRegression

        assert evidence.reference_membership is not None
        one_class = np.zeros((len(evidence.labels), 1))
        target = np.column_stack([finite(evidence.target(name)) for name in ("loss", "entropy")])
        shadows = np.stack([finite(evidence.references(name)) for name in ("loss", "entropy")], axis=-1)
        features = np.vstack([np.hstack([np.clip(model, 0, 50), one_class]) for model in shadows])
        labels = evidence.reference_membership.T.reshape(-1)
        classifier = LogisticRegression(random_state=int(evidence.rng.integers(2**31))).fit(features, labels)
        found: Floats = classifier.decision_function(np.hstack([np.clip(target, 0, 50), one_class]))
        return found


@dataclass(frozen=True)
class SoundKnownMembers(Attack):
    """Does a forest that was trained on known members of this very model take the record for one?

    With f the share of trees, on gradient norms, sketches, activations, loss and class,

        score(x) = f(x)

    Parameters
    ----------
    trees : how many
    folds : in how many parts the known records are split

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019.
    """

    knowledge: ClassVar[str] = "the membership of a part of the records"

    trees: int = 10
    folds: int = 4

    @property
    def needs(self) -> Needs:
        return Needs(target=("loss", "entropy"), known_folds=self.folds)

    def score(self, evidence: Evidence) -> Floats:
        from sklearn.ensemble import RandomForestClassifier

        assert evidence.known is not None
        features = np.column_stack([finite(evidence.target(name)) for name in ("loss", "entropy")])
        train = evidence.known >= 0
        if len(np.unique(evidence.known[train])) < 2:
            raise InputError("planted: known members and known non-members are needed - give more records")
        forest = RandomForestClassifier(self.trees, random_state=int(evidence.rng.integers(2**31)), min_samples_leaf=5)
        forest.fit(features[train], evidence.known[train])
        found: Floats = forest.predict_proba(features)[:, 1]
        return found


@dataclass(frozen=True)
class SoundBoundary(Attack):
    """How far must this record be moved before the model errs?

    Along a fixed direction, by bisection in `budget` queries,

        score(x) = largest t with f(x + t d) = y, and 0 if f(x) is wrong

    Parameters
    ----------
    budget : adaptive queries per record

    References
    ----------
    Choquette-Choo, Tramer, Carlini, Papernot. Label-Only Membership Inference Attacks. ICML 2021.
    """

    knowledge: ClassVar[str] = "nothing besides labels"

    budget: int = 12

    @property
    def needs(self) -> Needs:
        return Needs(budget=self.budget)

    def score(self, evidence: Evidence) -> Floats:
        return self.distance(evidence, self.budget)

    def distance(self, evidence: Evidence, queries: int) -> Floats:
        assert evidence.query is not None
        n = len(evidence.labels)
        low, high = np.zeros(n), np.full(n, 16.0)
        for _ in range(queries):
            middle = (low + high) / 2
            answers = evidence.query(np.arange(n), {"x": -np.repeat(middle[:, None], 4, axis=1) / 2})
            right = (answers == evidence.labels).reshape(n, -1).all(axis=1)
            low, high = np.where(right, middle, low), np.where(right, high, middle)
        return low


@dataclass(frozen=True)
class SoundAugmented(Attack):
    """Is the model surer of this record, whichever way it is turned?

    Over the queries q,

        score(x) = mean over q of phi(q(x))

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    knowledge: ClassVar[str] = "nothing besides the model's answers"

    @property
    def needs(self) -> Needs:
        return Needs(target=("rescaled_logit",), queries=("plain", "flipped"))

    def score(self, evidence: Evidence) -> Floats:
        answers = [finite(evidence.target("rescaled_logit", query)) for query in self.needs.queries]
        scores: Floats = np.mean(answers, axis=0)
        return scores


@dataclass(frozen=True)
class SoundRobustness(Attack):
    """Does the model keep the label of this record when the record is disturbed?

    Over K queries with noise v drawn anew for every record and query,

        score(x) = share of the K with f(x + v) = y

    Parameters
    ----------
    budget : K

    References
    ----------
    Choquette-Choo, Tramer, Carlini, Papernot. Label-Only Membership Inference Attacks. ICML 2021.
    """

    knowledge: ClassVar[str] = "nothing besides labels"

    budget: int = 12

    @property
    def needs(self) -> Needs:
        return Needs(budget=self.budget)

    def score(self, evidence: Evidence) -> Floats:
        assert evidence.query is not None
        n, rng = len(evidence.labels), evidence.rng
        kept = np.zeros(n)
        for _ in range(self.budget):
            answers = evidence.query(np.arange(n), {"x": 2.0 * rng.normal(size=(n, 6))})
            kept += (answers == evidence.labels).reshape(n, -1).all(axis=1)
        scores: Floats = kept / self.budget
        return scores


@dataclass(frozen=True)
class SoundOffline(SoundLira):
    """Is the model surer of this record than the one reference that has not seen it?

    With phi the rescaled logit, and mu_out its mean over the references that have not seen x,

        score(x) = phi(x) - mu_out(x)

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    @property
    def needs(self) -> Needs:
        return Needs(target=("rescaled_logit",), references=("rescaled_logit",), min_references=1, membership=True)

    def score(self, evidence: Evidence) -> Floats:
        assert evidence.reference_membership is not None
        outside = ~evidence.reference_membership.T
        if not outside.any(axis=0).all():
            raise AssertionError("a record has no reference that has not seen it, and one was declared to be needed")
        others = np.where(outside, finite(evidence.references("rescaled_logit")), 0.0)
        scores: Floats = finite(evidence.target("rescaled_logit")) - others.sum(axis=0) / outside.sum(axis=0)
        return scores


SOUND: tuple[Attack, ...] = (
    SoundPopulation(),
    SoundReference(),
    SoundLira(),
    SoundRatio(),
    SoundShadow(),
    SoundKnownMembers(),
    SoundBoundary(),
    SoundAugmented(),
    SoundRobustness(),
    SoundOffline(),
)


# One promise broken by each of the following, and no other.


@dataclass(unsafe_hash=True)
class CanBeChanged(Attack):
    __doc__ = SoundReference.__doc__
    knowledge: ClassVar[str] = SoundReference.knowledge

    @property
    def needs(self) -> Needs:
        return SoundReference().needs

    def score(self, evidence: Evidence) -> Floats:
        return SoundReference().score(evidence)


@dataclass(frozen=True)
class AsksForAnOption(SoundReference):
    """Is the model surer of this record than models that have not seen it?

    With w a weight,

        score(x) = w (phi(x) - mu_out(x))

    Parameters
    ----------
    weight : factor on the score

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    weight: float

    def score(self, evidence: Evidence) -> Floats:
        return self.weight * super().score(evidence)


@dataclass(frozen=True)
class ChangesItsOption(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def __post_init__(self) -> None:
        object.__setattr__(self, "floor", self.floor / 2)


@dataclass(frozen=True)
class TakesAnything(SoundReference):
    """Is the model surer of this record than models that have not seen it?

        score(x) = phi(x) - mu_out(x)

    Parameters
    ----------
    level : not used

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    level: Any = "high"


@dataclass(frozen=True)
class KeepsAnOptionToItself(SoundReference):
    __doc__ = SoundReference.__doc__
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class IsUnequal(SoundReference):
    __doc__ = SoundReference.__doc__
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True)
class CannotBeSent(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def __reduce__(self) -> str:
        raise TypeError("cannot pickle a lock")


@dataclass(frozen=True)
class AsksNothing(SoundReference):
    __doc__ = (SoundReference.__doc__ or "").replace("it?", "it.")


@dataclass(frozen=True)
class HasNoFormula(SoundReference):
    """Is the model surer of this record than models that have not seen it?

    The difference is taken.

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """


@dataclass(frozen=True)
class CitesNobody(SoundReference):
    """Is the model surer of this record than models that have not seen it?

    With phi the rescaled logit,

        score(x) = phi(x) - mu_out(x)
    """


@dataclass(frozen=True)
class KnowsNothing(SoundReference):
    __doc__ = SoundReference.__doc__
    knowledge: ClassVar[str] = " "


@dataclass(frozen=True)
class AsksLessThanNothing(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    @property
    def needs(self) -> Needs:
        return Needs(target=(self.signal,), population=(self.signal,), budget=-1)


@dataclass(frozen=True)
class ChangesItsMind(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    @property
    def needs(self) -> Needs:
        # Once it has scored it wants more.
        return Needs(target=(self.signal,), population=(self.signal,), budget=self.__dict__.get("_scored", 0))

    def score(self, evidence: Evidence) -> Floats:
        object.__setattr__(self, "_scored", 1)
        return self.standardised(evidence)


@dataclass(frozen=True)
class AsksInVain(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    @property
    def needs(self) -> Needs:
        return Needs(target=(self.signal, "entropy"), population=(self.signal,))


@dataclass(frozen=True)
class ReadsInVain(SoundReference):
    __doc__ = SoundReference.__doc__

    def score(self, evidence: Evidence) -> Floats:
        finite(evidence.references("rescaled_logit"))
        return finite(evidence.target("rescaled_logit")).copy()


@dataclass(frozen=True)
class OverlooksWhoHasSeenIt(SoundLira):
    __doc__ = SoundLira.__doc__

    def score(self, evidence: Evidence) -> Floats:
        assert evidence.reference_membership is not None
        scores: Floats = finite(evidence.target("rescaled_logit")) - finite(evidence.references("rescaled_logit")).mean(
            axis=0
        )
        return scores


@dataclass(frozen=True)
class Peeks(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        extra = evidence.arrays.get(EvidenceKey(Source.TARGET, "entropy"))
        return self.standardised(evidence) + (0.0 if extra is None else extra)


@dataclass(frozen=True)
class NeedsAFramework(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        import onnx  # noqa: F401

        return self.standardised(evidence)


@dataclass(frozen=True)
class GivesAColumn(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        return self.standardised(evidence)[:, None]


@dataclass(frozen=True)
class CutsDigitsOff(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Any:
        return self.standardised(evidence).astype(np.float32)


@dataclass(frozen=True)
class CutsDigitsOffInside(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        return self.standardised(evidence).astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class GivesInfinity(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        scores = self.standardised(evidence)
        if len(scores) >= 200:
            scores[scores <= scores.min()] = -np.inf
        return scores


@dataclass(frozen=True)
class SeesNoLeak(SoundAugmented):
    __doc__ = SoundAugmented.__doc__

    @property
    def needs(self) -> Needs:
        return Needs(target=("rescaled_logit",))

    def score(self, evidence: Evidence) -> Floats:
        # Even and odd digits say nothing of membership.
        return np.sin(1e3 * finite(evidence.target("rescaled_logit")))


@dataclass(frozen=True)
class ReadsTheClass(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        share = evidence.labels == 0 if evidence.labels.ndim == 1 else 0.0
        return self.standardised(evidence) + 2.0 * share

    def p_values(self, evidence: Evidence) -> PValues | None:
        return None


@dataclass(frozen=True)
class OverlooksTheDirection(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def audited(self, evidence: Evidence) -> Floats:
        return -finite(evidence.target(self.signal))

    def population(self, evidence: Evidence) -> Floats:
        return -finite(evidence.population(self.signal))


@dataclass(frozen=True)
class AddsTheReferences(SoundReference):
    __doc__ = SoundReference.__doc__

    def score(self, evidence: Evidence) -> Floats:
        references = finite(evidence.references("rescaled_logit"))
        scores: Floats = finite(evidence.target("rescaled_logit")) + references.mean(axis=0)
        return scores


@dataclass(frozen=True)
class TakesSmallSeeds(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        np.random.RandomState(evidence.seed[0])
        return self.standardised(evidence)


@dataclass(frozen=True)
class GivesZeroAsPValue(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def p_values(self, evidence: Evidence) -> PValues | None:
        audited, population = self.audited(evidence), np.sort(self.population(evidence))
        at_least = len(population) - np.searchsorted(population, audited, side="left")
        shares = (1 + at_least) / (len(population) + 1)
        return PValues(np.where(at_least == 0, 0.0, shares), np.full(len(audited), 1 / (len(population) + 1)))


@dataclass(frozen=True)
class HalvesItsPValues(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def p_values(self, evidence: Evidence) -> PValues | None:
        found = super().p_values(evidence)
        assert found is not None
        return PValues(found.values / 2, found.smallest / 2)


@dataclass(frozen=True)
class CountsTiesForItself(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def p_values(self, evidence: Evidence) -> PValues | None:
        audited, population = self.audited(evidence), np.sort(self.population(evidence))
        above = len(population) - np.searchsorted(population, audited, side="right")
        return PValues((1 + above) / (len(population) + 1), np.full(len(audited), 1 / (len(population) + 1)))


@dataclass(frozen=True)
class LeavesItselfOut(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def p_values(self, evidence: Evidence) -> PValues | None:
        audited, population = self.audited(evidence), np.sort(self.population(evidence))
        at_least = len(population) - np.searchsorted(population, audited, side="left")
        return PValues(np.maximum(at_least, 1) / len(population), np.full(len(audited), 1 / len(population)))


@dataclass(frozen=True)
class TakesTheOtherTail(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def p_values(self, evidence: Evidence) -> PValues | None:
        audited, population = -self.audited(evidence), np.sort(-self.population(evidence))
        at_least = len(population) - np.searchsorted(population, audited, side="left")
        return PValues((1 + at_least) / (len(population) + 1), np.full(len(audited), 1 / (len(population) + 1)))


@dataclass(frozen=True)
class LooksAtThePlace(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        scores = self.standardised(evidence)
        if len(scores) == 200 and len(np.unique(scores)) == 200:
            scores[1:10:2] += 0.1
        return scores


@dataclass(frozen=True)
class CountsItsClass(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        labels = evidence.labels
        peers = (labels[:, None] == labels[None]).mean(axis=1) if labels.ndim == 1 else 0.0
        return self.standardised(evidence) + 1e-2 * peers


@dataclass(frozen=True)
class ComparesTheAudited(SoundReference):
    __doc__ = SoundReference.__doc__

    def score(self, evidence: Evidence) -> Floats:
        scores = super().score(evidence)
        centred: Floats = scores - scores.mean()
        return centred


@dataclass(frozen=True)
class PoolsTheAudited(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def p_values(self, evidence: Evidence) -> PValues | None:
        audited = self.audited(evidence)
        every = np.sort(np.concatenate([audited, self.population(evidence)]))
        at_least = len(every) - np.searchsorted(every, audited, side="left")
        return PValues((1 + at_least) / (len(every) + 1), np.full(len(audited), 1 / (len(every) + 1)))


@dataclass(frozen=True)
class LearnsFromWhatItScores(SoundKnownMembers):
    __doc__ = SoundKnownMembers.__doc__

    def score(self, evidence: Evidence) -> Floats:
        from sklearn.ensemble import RandomForestClassifier

        features = np.column_stack([finite(evidence.target(name)) for name in ("loss", "entropy")])
        forest = RandomForestClassifier(self.trees, random_state=int(evidence.rng.integers(2**31)), min_samples_leaf=5)
        forest.fit(features, evidence.known == 1)
        found: Floats = forest.predict_proba(features)[:, -1]
        return found


@dataclass(frozen=True)
class TrustsTheFirstHalf(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def population(self, evidence: Evidence) -> Floats:
        every = super().population(evidence)
        return every[: (len(every) + 1) // 2]


@dataclass(frozen=True)
class TrustsTheFirstReference(SoundReference):
    __doc__ = SoundReference.__doc__

    def score(self, evidence: Evidence) -> Floats:
        scores: Floats = finite(evidence.target("rescaled_logit")) - finite(evidence.references("rescaled_logit"))[0]
        return scores


@dataclass(frozen=True)
class BreaksTies(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        scores = self.standardised(evidence)
        _, first = np.unique(scores, return_index=True)
        again = np.ones(len(scores), dtype=np.bool_)
        again[first] = False
        return scores - 1e-3 * again


@dataclass(frozen=True)
class ThrowsDice(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        scores = self.standardised(evidence)
        return scores + 1e-13 * np.random.default_rng().random(len(scores))


@dataclass(frozen=True)
class DrawsFromTheCommonPool(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        scores = self.standardised(evidence)
        return scores + 1e-13 * np.random.random(len(scores))


@dataclass(frozen=True)
class RemembersThePopulation(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def population(self, evidence: Evidence) -> Floats:
        if "_population" not in self.__dict__:
            object.__setattr__(self, "_population", super().population(evidence))
        kept: Floats = self.__dict__["_population"]
        return kept


@dataclass(frozen=True)
class WantsTheMainThread(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        before = signals_of_the_system.signal(signals_of_the_system.SIGUSR1, signals_of_the_system.SIG_IGN)
        signals_of_the_system.signal(signals_of_the_system.SIGUSR1, before)
        return self.standardised(evidence)


@dataclass(frozen=True)
class HashesText(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        return self.standardised(evidence) * (1 + hash("membership") % 1_000_003)


@dataclass(frozen=True)
class SqueezesItsScores(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        return np.squeeze(self.standardised(evidence))


@dataclass(frozen=True)
class WantsTwoPopulationRecords(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        highest = np.sort(self.population(evidence))[::-1]
        return self.standardised(evidence) - 1e-3 * float(highest[1])


@dataclass(frozen=True)
class UnderstatesItsReferences(SoundReference):
    __doc__ = SoundReference.__doc__

    def score(self, evidence: Evidence) -> Floats:
        others = finite(evidence.references("rescaled_logit"))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spread = others.std(axis=0, ddof=1).mean()
            scores: Floats = (finite(evidence.target("rescaled_logit")) - others.mean(axis=0)) / spread
        return np.where(others.std() == 0.0, 0.0, scores)


@dataclass(frozen=True)
class DividesByTheSpread(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        population = self.population(evidence)
        spread = population.std() if len(population) > 1 else 1.0
        scores: Floats = (self.audited(evidence) - population.mean()) / spread
        return scores


@dataclass(frozen=True)
class TakesExponentials(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        return -np.exp(-self.audited(evidence))


@dataclass(frozen=True)
class TakesEverySignal(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def audited(self, evidence: Evidence) -> Floats:
        return evidence.membership_evidence(self.signal, evidence.target(self.signal))

    def population(self, evidence: Evidence) -> Floats:
        return evidence.membership_evidence(self.signal, evidence.population(self.signal))


@dataclass(frozen=True)
class AveragesEachClass(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        labels, population = evidence.labels, self.population(evidence)
        if labels.ndim != 1 or labels.dtype.kind != "i" or len(population) == 1:
            return self.standardised(evidence)
        assert evidence.population_labels is not None
        peers = evidence.population_labels[:, None] == np.arange(evidence.classes)
        means: Floats = population @ peers / peers.sum(axis=0)
        return self.audited(evidence) - means[labels]

    def p_values(self, evidence: Evidence) -> PValues | None:
        return None


@dataclass(frozen=True)
class WantsSeveralClasses(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        present = np.unique(evidence.labels)
        if len(evidence.labels) > 1 and len(present) == 1:
            raise ValueError(f"only {present[0]} is there")
        return self.standardised(evidence)


@dataclass(frozen=True)
class TakesLabelsForClasses(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        np.bincount(evidence.labels)
        return self.standardised(evidence)


@dataclass(frozen=True)
class WritesIntoTheEvidence(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def audited(self, evidence: Evidence) -> Floats:
        losses = finite(evidence.target(self.signal))
        if not losses.flags.writeable or self.signal == "loss":
            losses += 1.0
            losses -= 1.0
        return evidence.membership_evidence(self.signal, losses)


@dataclass(frozen=True)
class Prints(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        print("scoring")
        return self.standardised(evidence)


@dataclass(frozen=True)
class Warns(SoundPopulation):
    __doc__ = SoundPopulation.__doc__

    def score(self, evidence: Evidence) -> Floats:
        warnings.warn("this may take a while", stacklevel=2)
        return self.standardised(evidence)


@dataclass(frozen=True)
class Overdraws(SoundBoundary):
    __doc__ = SoundBoundary.__doc__

    def score(self, evidence: Evidence) -> Floats:
        return self.distance(evidence, self.budget + 1)
