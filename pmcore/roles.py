"""The records of an audit by role: read, checked against the model, told apart, and ready to be queried."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore import registry
from pmcore.data import Progress, Records, Role, read_records, reader_for
from pmcore.digests import drop_overlap, duplicates, overlaps, split_population, with_digests
from pmcore.discovery import discover
from pmcore.errors import Complaints, InputError, PluginError
from pmcore.feed import Feed
from pmcore.installed import Plugin, PluginPolicy, list_plugins
from pmcore.interfaces import Array, Inputs, Model, ModelDescription, Reader, Task
from pmcore.labels import check_labels
from pmcore.numerals import count
from pmcore.plugin_failures import answerable
from pmcore.queries import InputFacts, facts_of
from pmcore.settings import AuditSettings

_CALLED = {Role.MEMBERS: "members", Role.NONMEMBERS: "non-members", Role.POPULATION: "population"}
SURVEYED = 1_000
"""Members that tell how far inputs spread, and what they look like."""
MINIMUM = 2
"""Records that every role needs: with one, no figure has an interval."""


@dataclass(frozen=True)
class Roles:
    """Members, non-members and, where an attack needs it, the population.

    Parameters
    ----------
    feeds : the records of each role, on their way to the model
    overlap : "members & nonmembers" -> number of records in both, before any were dropped
    dropped : role -> number of records dropped because of overlap
    population_from : how the population came about, in words, or None if there is none
    notes : what preprocessing and labels went through, for the report
    """

    feeds: Mapping[Role, Feed]
    overlap: Mapping[str, int]
    dropped: Mapping[str, int]
    population_from: str | None
    warnings: tuple[str, ...]

    def audited_labels(self) -> Array:
        """Return the labels of members, then of non-members, shape (n, ...)."""
        sides = [self.feeds[role].records.labels for role in (Role.MEMBERS, Role.NONMEMBERS)]
        labels: Array = np.concatenate(sides)
        return labels

    def evidence_order(self) -> NDArray[np.intp]:
        """Return the order of the audited records by digest, shape (n,): the same for any order of the files."""
        return _by_digest(*(self.feeds[role].records for role in (Role.MEMBERS, Role.NONMEMBERS)))

    def folds(self, count: int) -> NDArray[np.intp]:
        """Return the fold of every audited record in the order of `evidence_order`, shape (n,), in [0, count).

        Each side is dealt out in turn, so that every fold has its share of members and of non-members; equal
        records of both sides share a fold: who knows one of them knows the other.
        """
        members, nonmembers = (self.feeds[role].records.digests[:, 0] for role in (Role.MEMBERS, Role.NONMEMBERS))
        both = np.intersect1d(members, nonmembers)
        folds = []
        for digests in (members, nonmembers):
            distinct, which = np.unique(digests, return_inverse=True)
            dealt = np.arange(len(distinct)) % count
            shared = np.isin(distinct, both)
            dealt[shared] = np.searchsorted(both, distinct[shared]) % count
            folds.append(dealt[which])
        in_file_order: NDArray[np.intp] = np.concatenate(folds)
        return in_file_order[self.evidence_order()]

    def fewest_distinct(self) -> int:
        """Return how many different records the smaller side has that the other one lacks."""
        members, nonmembers = (
            set(self.feeds[role].records.digests[:, 0].tolist()) for role in (Role.MEMBERS, Role.NONMEMBERS)
        )
        return min(len(members - nonmembers), len(nonmembers - members))

    def population_order(self) -> NDArray[np.intp]:
        """Return the order of the population records by digest, shape (m,)."""
        return _by_digest(self.feeds[Role.POPULATION].records)

    def sample(self) -> Inputs:
        """Return model inputs of the first few members, for `Model.prepare`."""
        return self.feeds[Role.MEMBERS].sample()

    def facts(self) -> dict[str, InputFacts]:
        """Return what some audited records, the same for any order of the files, tell of the inputs."""
        members = self.feeds[Role.MEMBERS]
        first = np.sort(np.argsort(members.records.digests[:, 0], kind="stable")[:SURVEYED])
        return dict(facts_of(members.some(first)))

    def duplicates(self, role: Role) -> int:
        """Return how many records of a role repeat another one of it."""
        return duplicates(self.feeds[role].records)


@dataclass(frozen=True)
class Tables:
    """The records of all roles as they were read, and the readers that read them."""

    records: Mapping[Role, Records]
    readers: tuple[Plugin, ...]


def read_roles(settings: AuditSettings, policy: PluginPolicy, complaints: Complaints) -> Tables:
    """Read the files of all roles; what does not read is noted in `complaints`."""
    readers: dict[str, Reader] = {}
    owners: dict[int, Plugin] = {}
    for plugin in list_plugins("readers", policy):
        # a broken reader costs nobody else anything; `pmcore plugins` explains it
        with suppress(PluginError), answerable(plugin):
            reader = registry.load("readers", plugin.name, policy)()
            readers[plugin.name] = reader
            owners[id(reader)] = plugin
    paths = {
        Role.MEMBERS: settings.members,
        Role.NONMEMBERS: settings.non_members,
        Role.POPULATION: settings.population,
    }
    found: dict[Role, Records] = {}
    used: dict[Plugin, None] = {}
    for role, path in paths.items():
        if path is None:
            continue
        with complaints.collect():
            owner = owners[id(reader_for(path, readers))]
            with answerable(owner):
                records = read_records(path, role, readers, settings.x_keys, settings.y_key)
            used[owner] = None
            if not len(records):
                raise InputError(f"{path}: holds no records - give a file with at least one")
            found[role] = records
    return Tables(found, tuple(used))


def prepare_roles(
    tables: Mapping[Role, Records],
    model: Model,
    source: Path | None,
    settings: AuditSettings,
    *,
    wants_population: bool,
    progress: Progress | None = None,
) -> Roles:
    """Check records against the model, find what roles share, and set the population aside.

    Parameters
    ----------
    tables : the records as read
    source : the model's file or folder, beside which preprocessing may be written down; None if it has none
    wants_population : whether some attack reads population records

    Raises
    ------
    AuditError
        Records do not fit the model; all of it together.
    """
    description = _described(model, tables[Role.MEMBERS], source, settings)
    complaints = Complaints()
    feeds: dict[Role, Feed] = {}
    warnings: dict[str, None] = {}
    for role, records in tables.items():
        if role is Role.POPULATION and not wants_population:
            continue
        with complaints.collect():
            feeds[role] = _feed(records, description, source, settings, warnings)
    if settings.expected_accuracy is not None and description.task is Task.REGRESSION:
        with complaints.collect():
            raise InputError("expected_accuracy: the model is a regression and has none - leave it out")
    complaints.raise_any()
    roles = with_digests({role: feed.records for role, feed in feeds.items()}, progress)
    overlap = overlaps(roles)
    dropped: dict[str, int] = {}
    if settings.drop_overlap and any(overlap.values()):
        kept = drop_overlap(roles)
        roles, dropped = kept.roles, {role.value: count for role, count in kept.counts.items() if count}
    population_from = None
    if Role.POPULATION in roles:
        population_from = f"from {settings.population}"
    elif wants_population:
        split = split_population(roles[Role.NONMEMBERS], settings.population_share, settings.seed)
        roles = {**roles, Role.NONMEMBERS: split.audited, Role.POPULATION: split.population}
        population_from = (
            f"{count(len(split.population))} of the non-members, drawn with seed {settings.seed}, are set aside "
            "and not audited"
        )
    for role, records in roles.items():
        if len(records) < MINIMUM:
            raise InputError(
                f"{records.path}: {len(records)} record{'s' if len(records) != 1 else ''} as {_CALLED[role]} - "
                f"an audit needs at least {MINIMUM} in every role; give more"
            )
    return Roles(
        feeds={role: replace(feeds.get(role, feeds[Role.NONMEMBERS]), records=one) for role, one in roles.items()},
        overlap=overlap,
        dropped=dropped,
        population_from=population_from,
        warnings=(*warnings, *_unlike(feeds)),
    )


def _by_digest(*several: Records) -> NDArray[np.intp]:
    keys = np.concatenate([records.digests[:, 0] for records in several])
    order: NDArray[np.intp] = np.argsort(keys, kind="stable")
    return order


def _described(model: Model, members: Records, source: Path | None, settings: AuditSettings) -> ModelDescription:
    """Return what the model is; one that does not know its number of classes is asked about a few records."""
    description = model.describe()
    if description.classes == 0:
        found = discover(description, source, members.inputs, members.path, settings.preprocessing)
        model.prepare(Feed(members, found).sample())
        description = model.describe()
    return description


def _feed(
    records: Records,
    description: ModelDescription,
    source: Path | None,
    settings: AuditSettings,
    warnings: dict[str, None],
) -> Feed:
    checked = check_labels(records.labels, description.task, description.classes, records.path, settings.y_key)
    found = discover(description, source, records.inputs, records.path, settings.preprocessing)
    warnings.update(dict.fromkeys(found.warnings))
    records = replace(records, labels=checked.labels, notes=(*records.notes, *checked.notes))
    return Feed(records, found)


def _unlike(feeds: Mapping[Role, Feed]) -> list[str]:
    """Return a warning for each input that the roles hold in different types: a sign of different preprocessing."""
    warnings = []
    for name in feeds[Role.MEMBERS].discovery.binding:
        types = {
            role.value: str(feed.records.inputs[feed.discovery.binding[name]].dtype) for role, feed in feeds.items()
        }
        if len(set(types.values())) > 1:
            held = ", ".join(f"{role} {dtype}" for role, dtype in types.items())
            warnings.append(f"input {name!r} differs in type between roles ({held}): prepared in the same way?")
    return warnings
