"""All evidence of an audit in one order, and of it exactly what an attack declares, with any model as the target."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Role
from pmcore.evidence import Evidence, EvidenceKey, LabelQueries, Source
from pmcore.gather import Gathered
from pmcore.interfaces import Array, Direction, Floats, ModelDescription
from pmcore.option_docs import resolved_options
from pmcore.plan import Plan
from pmcore.reference_set import AUDITED
from pmcore.selection import PlannedAttack, signal_names

Answers = Mapping[tuple[Role, str], Gathered]
"""What the target answered about the records of a role, in a query."""


@dataclass(frozen=True, eq=False)
class Stand:
    """What was gathered, as seen from one model that is audited, its r references and their memberships.

    Records stand in the order of their digests: an attack can neither see where the members end nor give a result that
    depends on the order of the files.

    Parameters
    ----------
    description : the target as it is after `prepare`
    arrays : from the target (n, ...) and (m, ...), from references (r, n, ...) and (r, m, ...)
    truth : (n,) bool, which audited records trained the target
    membership : (n, r) bool, which trained which reference; None without references
    population_membership : (m, r) bool; None without references or population
    population_labels : (m, ...), or None without a population
    features, population_features : most columns -> (n, d), (m, d)
    queries : attack -> its adaptive queries
    """

    plan: Plan
    description: ModelDescription
    arrays: Mapping[EvidenceKey, Floats]
    truth: NDArray[np.bool_]
    labels: Array
    population_labels: Array | None = None
    membership: NDArray[np.bool_] | None = None
    population_membership: NDArray[np.bool_] | None = None
    features: Mapping[int, Floats] = field(default_factory=dict)
    population_features: Mapping[int, Floats] = field(default_factory=dict)
    queries: Mapping[str, LabelQueries] = field(default_factory=dict)

    @cached_property
    def unseen(self) -> Unseen:
        """Return the references that did not see each audited record."""
        assert self.membership is not None
        return Unseen.of(self.membership, None)

    @cached_property
    def unseen_of_both(self) -> Unseen:
        """Return as many references that did not see it for each audited and each population record."""
        assert self.membership is not None
        return Unseen.of(self.membership, self.population_membership)


@dataclass(frozen=True, eq=False)
class Unseen:
    """Of every record, as many references as all records have that did not see it, in the references' order.

    Parameters
    ----------
    audited : (r', n) numbers of references
    population : (r', m), or None without a population
    """

    audited: NDArray[np.intp]
    population: NDArray[np.intp] | None

    @classmethod
    def of(cls, membership: NDArray[np.bool_], population: NDArray[np.bool_] | None) -> Unseen:
        """Return them from the memberships (n, r) and (m, r)."""
        several = [membership] if population is None else [membership, population]
        fewest = min(int((~one).sum(axis=1).min(initial=one.shape[1])) for one in several)
        found = [np.argsort(one, axis=1, kind="stable")[:, :fewest].T for one in several]
        return cls(found[0], None if population is None else found[1])

    def take(self, source: Source, array: Floats) -> Floats:
        """Return (r', n, ...) of (r, n, ...), or (r', m, ...) of (r, m, ...)."""
        chosen = self.audited if source is Source.REFERENCES else self.population
        assert chosen is not None
        if len(chosen) == len(array):
            return array
        result: Floats = array[chosen, np.arange(array.shape[1])[None, :]]
        return result


def target_arrays(plan: Plan, answers: Answers) -> dict[EvidenceKey, Floats]:
    """Return what the target answered, by address, in the order in which attacks see the records."""
    order = plan.roles.evidence_order()
    arrays: dict[EvidenceKey, Floats] = {}
    for query in plan.every_query():
        for name in plan.signals_of(Role.MEMBERS, query):
            sides = [answers[role, query].signals[name] for role in AUDITED]
            arrays[EvidenceKey(Source.TARGET, name, query)] = np.concatenate(sides)[order]
        if Role.POPULATION in plan.roles.feeds:
            by_digest = plan.roles.population_order()
            for name in plan.signals_of(Role.POPULATION, query):
                found = answers[Role.POPULATION, query].signals[name]
                arrays[EvidenceKey(Source.POPULATION, name, query)] = found[by_digest]
    return arrays


def make_stand(
    plan: Plan,
    description: ModelDescription,
    arrays: Mapping[EvidenceKey, Floats],
    features: Mapping[tuple[Role, int], Floats],
    queries: Mapping[str, LabelQueries],
) -> Stand:
    """Return everything as seen from the audited model.

    Parameters
    ----------
    arrays : of the target and of its references
    features : role and most columns -> (n, d) in the order of the file
    queries : attack -> its adaptive queries
    """
    roles = plan.roles
    order = roles.evidence_order()
    sizes = [len(roles.feeds[role]) for role in AUDITED]
    truth = (np.arange(sum(sizes)) < sizes[0])[order]
    population = roles.feeds.get(Role.POPULATION)
    by_digest = None if population is None else roles.population_order()
    placed = plan.references
    of_population = None if placed is None else placed.membership.get(Role.POPULATION)
    for array in arrays.values():
        array.flags.writeable = False
    return Stand(
        plan=plan,
        description=description,
        arrays=arrays,
        truth=truth,
        labels=roles.audited_labels()[order],
        population_labels=None if population is None else population.records.labels[by_digest],
        membership=None if placed is None else np.concatenate([placed.membership[role] for role in AUDITED])[order],
        population_membership=None if of_population is None else of_population[by_digest],
        features={
            columns: np.concatenate([features[role, columns] for role in AUDITED])[order]
            for columns in {columns for _, columns in features}
        },
        population_features={
            columns: found[by_digest] for (role, columns), found in features.items() if role is Role.POPULATION
        },
        queries=queries,
    )


def make_evidence(planned: PlannedAttack, stand: Stand) -> Evidence:
    """Return exactly what an attack declared.

    One that does not read the membership of the references is given, of every record, those that did not see it.
    """
    needs, plan = planned.needs, stand.plan
    arrays = {}
    for source, names in needs.signals().items():
        for key in (EvidenceKey(source, name, query) for name in names for query in needs.queries):
            array = stand.arrays[key]
            of_references = source in (Source.REFERENCES, Source.POPULATION_REFERENCES)
            if of_references and not needs.membership:
                unseen = stand.unseen_of_both if needs.population_references else stand.unseen
                array = unseen.take(source, array)
                array.flags.writeable = False
            arrays[key] = array
    reads_population = bool(needs.population or needs.population_references)
    return Evidence(
        arrays=arrays,
        labels=stand.labels,
        population_labels=stand.population_labels if reads_population else None,
        lower_is_member={
            name: direction is Direction.LOWER
            for name in signal_names(needs)
            if (direction := plan.signals[name].signal.direction) is not Direction.NEITHER
        },
        task=stand.description.task,
        classes=stand.description.classes,
        seed=seed_of(plan.settings.seed, planned),
        reference_membership=stand.membership if needs.membership else None,
        population_membership=stand.population_membership if needs.membership and reads_population else None,
        query=stand.queries.get(planned.name),
        features=stand.features.get(needs.features),
        population_features=stand.population_features.get(needs.features) if reads_population else None,
    )


def seed_of(seed: int, planned: PlannedAttack) -> tuple[int, ...]:
    """Return entropy for one attack with its options: the same whatever else runs beside it."""
    purpose = f"{planned.plugin.name} {sorted(resolved_options(planned.attack).items())}"
    return (seed, zlib.crc32(purpose.encode("utf-8", "backslashreplace")))


def seen_from(stand: Stand, model: int) -> Stand:
    """Return everything as seen from one reference: it is the target now, and others are its references.

    The reference that was trained on the rest of the pool is left out with it, and the former target too: of every
    record as many of the references that stay saw it as before, whether it trained the new target or not. Were it one
    less, that would tell members. Population records that trained the new target are left out: they are none to it.

    Parameters
    ----------
    model : number of the reference
    """
    assert stand.membership is not None
    membership = stand.membership
    complement = (membership != membership[:, model : model + 1]).all(axis=0)
    others = np.flatnonzero(~complement & (np.arange(membership.shape[1]) != model))
    return _turned(stand, model, others, with_target=False)


def among_all(stand: Stand, model: int | None) -> Stand:
    """Return everything as seen from one model (None: the target), with all models as its references, itself too.

    For comparing models on one record: what is computed from references is then the same for each of them.
    """
    assert stand.membership is not None
    return _turned(stand, model, np.arange(stand.membership.shape[1]), with_target=True)


def _turned(stand: Stand, model: int | None, others: NDArray[np.intp], *, with_target: bool) -> Stand:
    """Return everything as seen from `model`, with some references and, if asked, the former target after them."""
    assert stand.membership is not None
    of_population = stand.population_membership
    kept: slice | NDArray[np.bool_] = slice(None)
    if model is not None and of_population is not None:
        kept = ~of_population[:, model]
    arrays: dict[EvidenceKey, Floats] = {}
    for key, array in stand.arrays.items():
        if key.source in _OF_REFERENCES:
            rows = slice(None) if key.source is Source.REFERENCES else kept
            own = EvidenceKey(_OF_REFERENCES[key.source], key.signal, key.query)
            parts = [array[others], stand.arrays[own][None]] if with_target else [array[others]]
            arrays[key] = np.concatenate(parts)[:, rows]
            arrays[own] = stand.arrays[own][rows] if model is None else array[model][rows]
    memberships = [stand.membership[:, others]] + ([stand.truth[:, None]] if with_target else [])
    turned = None
    if of_population is not None:
        left = of_population[kept]
        nobody = np.zeros((len(left), 1), dtype=np.bool_)
        turned = np.hstack([left[:, others]] + ([nobody] if with_target else []))
    labels = stand.population_labels
    return replace(
        stand,
        arrays=arrays,
        truth=stand.truth if model is None else stand.membership[:, model],
        membership=np.hstack(memberships),
        population_membership=turned,
        population_labels=None if labels is None else labels[kept],
        population_features={columns: found[kept] for columns, found in stand.population_features.items()},
        queries={},
    )


_OF_REFERENCES = {Source.REFERENCES: Source.TARGET, Source.POPULATION_REFERENCES: Source.POPULATION}
