"""What reference models answer about the records of an audit, gathered one model at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Progress, Role
from pmcore.errors import InputError
from pmcore.evidence import PLAIN, EvidenceKey, Source
from pmcore.gather import Batching, Gathered, gather, gather_recorded
from pmcore.installed import PluginPolicy
from pmcore.interfaces import Floats, ModelDescription, Signal, Task
from pmcore.plan import Plan
from pmcore.plugin_failures import answerable
from pmcore.reference_set import AUDITED, PlacedReferences, check_description, rows_of
from pmcore.signals import Correctness

_CORRECT = "correctness, for the report"
"""The name under which correctness is gathered, whatever attacks read."""

_Ask = Callable[[Role, str, Mapping[str, Signal]], Gathered]
"""Asks one reference about the records of a role, in a query, for signals by name."""


@dataclass(frozen=True)
class Accuracy:
    """How often one reference was right on the audited records that trained it, and on the others."""

    inside_right: int
    inside: int
    outside_right: int
    outside: int


@dataclass(frozen=True, eq=False)
class ReferenceAnswers:
    """The answers of r references.

    Parameters
    ----------
    arrays : address -> (r, n, ...) in the order of `Roles.evidence_order`, (r, m, ...) in that of `population_order`
    accuracy : of each reference; () for a regression
    """

    arrays: Mapping[EvidenceKey, Floats]
    accuracy: tuple[Accuracy, ...]


def gather_references(
    plan: Plan, description: ModelDescription, policy: PluginPolicy, progress: Progress | None = None
) -> ReferenceAnswers:
    """Ask every reference about the records, and reduce the answers to signals.

    Parameters
    ----------
    description : the target as it is after `prepare`

    Raises
    ------
    AuditError
        A reference cannot be asked, or is not of the target's kind.
    """
    assert plan.references is not None
    store = _Store(plan)
    accuracy = []
    for index in range(len(plan.references.set)):
        with _opened(plan, plan.references, index, description, policy, progress) as ask:
            right = {}
            for role in plan.roles.feeds:
                wanted = plan.reference_signals(role)
                for query, signals in wanted.items():
                    counted = {_CORRECT: Correctness()} if _counts(role, query, description) else {}
                    gathered = ask(role, query, {**signals, **counted}).signals
                    if counted:
                        right[role] = gathered.pop(_CORRECT) > 0
                    store.add(index, role, query, gathered)
            if right:
                accuracy.append(_accuracy(plan.references, index, right))
    return ReferenceAnswers(store.arrays, tuple(accuracy))


def refuse_copies_of_the_target(
    references: PlacedReferences, target: Mapping[EvidenceKey, Floats], answers: Mapping[EvidenceKey, Floats]
) -> None:
    """Refuse a reference that answers exactly as the target does on every audited record.

    Raises
    ------
    InputError
        It is the target in another file.
    """
    for key, of_references in answers.items():
        of_target = target.get(EvidenceKey(Source.TARGET, key.signal, key.query))
        if key.source is not Source.REFERENCES or of_target is None or len(np.unique(of_target)) < len(of_target) // 2:
            continue  # what takes few values may be the same by chance
        for title, one in zip(references.set.titles, of_references, strict=True):
            if np.array_equal(one, of_target):
                raise InputError(
                    f"{title}: answers exactly as the audited model - a model is never one of its own references; "
                    "leave it out"
                )


class _Store:
    """The arrays of all references, filled one reference and role at a time."""

    def __init__(self, plan: Plan) -> None:
        feeds = plan.roles.feeds
        self.arrays: dict[EvidenceKey, Floats] = {}
        assert plan.references is not None
        self._models = len(plan.references.set)
        audited = _ranks(plan.roles.evidence_order())
        members = len(feeds[Role.MEMBERS])
        self._places = {Role.MEMBERS: audited[:members], Role.NONMEMBERS: audited[members:]}
        if Role.POPULATION in feeds:
            self._places[Role.POPULATION] = _ranks(plan.roles.population_order())
        self._sizes = {
            Source.REFERENCES: len(audited),
            Source.POPULATION_REFERENCES: len(feeds.get(Role.POPULATION, ())),
        }

    def add(self, index: int, role: Role, query: str, signals: Mapping[str, Floats]) -> None:
        source = Source.REFERENCES if role in AUDITED else Source.POPULATION_REFERENCES
        for name, values in signals.items():
            key = EvidenceKey(source, name, query)
            if key not in self.arrays:
                self.arrays[key] = np.empty((self._models, self._sizes[source], *values.shape[1:]))
            if self.arrays[key].shape[2:] != values.shape[1:]:
                raise InputError(
                    f"signal {name!r}: reference {index} gives {values.shape[1:]} numbers per record, and others "
                    f"{self.arrays[key].shape[2:]} - give references of one architecture"
                )
            self.arrays[key][index, self._places[role]] = values


@contextmanager
def _opened(
    plan: Plan,
    references: PlacedReferences,
    index: int,
    target: ModelDescription,
    policy: PluginPolicy,
    progress: Progress | None,
) -> Iterator[_Ask]:
    """Open one reference for as long as it is asked."""
    title = f"reference {index + 1} of {len(references.set)}"
    recorded = references.set.recorded
    if recorded is not None:
        rows = rows_of(plan.roles.feeds, recorded.logits.shape[1], f"{recorded.path}: logits")
        yield lambda role, query, signals: gather_recorded(
            recorded, index, rows[role], plan.roles.feeds[role], signals, target.task
        )
        return
    loaded = references.set.files[index].load(policy)
    batching = Batching(plan.settings.batch_size)

    def ask(role: Role, query: str, signals: Mapping[str, Signal]) -> Gathered:
        def told(what: str, done: int, of: int) -> None:
            if progress is not None:
                progress(f"{title}, {what}", done, of)

        return gather(loaded.model, plan.feed(role, query), signals, batching, told)

    try:
        with answerable(loaded.plugin):
            loaded.model.prepare(plan.roles.sample())
            check_description(loaded.model.describe(), target, loaded.path)
            yield ask
    finally:
        loaded.model.close()


def _counts(role: Role, query: str, description: ModelDescription) -> bool:
    return role in AUDITED and query == PLAIN and description.task is not Task.REGRESSION


def _accuracy(references: PlacedReferences, index: int, right: Mapping[Role, NDArray[np.bool_]]) -> Accuracy:
    inside = np.concatenate([references.membership[role][:, index] for role in AUDITED])
    correct = np.concatenate([right[role] for role in AUDITED])
    return Accuracy(
        inside_right=int(correct[inside].sum()),
        inside=int(inside.sum()),
        outside_right=int(correct[~inside].sum()),
        outside=int((~inside).sum()),
    )


def _ranks(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where each record stands in an order, shape (n,)."""
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks
