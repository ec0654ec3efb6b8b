"""The records that references are trained on: read, checked against the target, hashed, in the order of the files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore import registry
from pmcore.data import Digests, Progress, Records, Role, read_records, reader_for
from pmcore.digests import canonical_types, digest, shared
from pmcore.discovery import discover
from pmcore.errors import Complaints, InputError, PluginError
from pmcore.feed import Feed
from pmcore.installed import Plugin, PluginPolicy, list_plugins
from pmcore.interfaces import Array, Model, ModelDescription, Reader
from pmcore.labels import check_labels
from pmcore.numerals import count
from pmcore.outputs import CLASSIFICATION
from pmcore.plugin_failures import answerable
from pmcore.reference_training.settings import ReferenceSettings


@dataclass(frozen=True)
class Sides:
    """What the files are to the target: paths of its members and of records that it has not seen.

    Parameters
    ----------
    members, others : paths, () for none
    """

    members: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Pool:
    """The n records of the pool, and what else the target is measured on.

    Parameters
    ----------
    feeds : path -> the records of one file, on their way to the model
    files : the paths of the pool itself, in its order
    types : types in which records were hashed, by sorted input and last the label
    description : the target
    """

    feeds: Mapping[str, Feed]
    files: tuple[str, ...]
    sides: Sides
    types: tuple[str, ...]
    description: ModelDescription

    def __len__(self) -> int:
        return sum(len(self.feeds[path]) for path in self.files)

    @property
    def digests(self) -> Digests:
        """Return the hashes of the records, shape (n, 2)."""
        return np.concatenate([self.feeds[path].records.digests for path in self.files])

    @property
    def labels(self) -> Array:
        """Return the labels, shape (n, ...)."""
        labels: Array = np.concatenate([self.feeds[path].records.labels for path in self.files])
        return labels

    @property
    def sources(self) -> NDArray[np.int64]:
        """Return which file each record comes from, shape (n,)."""
        return np.repeat(np.arange(len(self.files)), [len(self.feeds[path]) for path in self.files])

    @property
    def single_labels(self) -> bool:
        """Return whether each record has one class."""
        return self.description.task in CLASSIFICATION


def sides_of(settings: ReferenceSettings) -> Sides:
    """Return which files hold the target's members, and which hold records that it has not seen.

    Where a pool is audited its first file is taken for the members and the next for the others, unless they are
    named; a population holds no member.
    """
    if settings.assign == "out-only":
        members = (settings.members,) if settings.members is not None else ()
        return Sides(members, (settings.non_members,) if settings.non_members is not None else settings.pool)
    left = [path for path in settings.pool if path not in (settings.members, settings.non_members)]
    chosen = settings.members or (left.pop(0) if left else None)
    others = settings.non_members or (left.pop(0) if left else None)
    return Sides(*(() if path is None else (path,) for path in (chosen, others)))


def read_pool(settings: ReferenceSettings, policy: PluginPolicy, complaints: Complaints) -> dict[str, Records]:
    """Read every file, by path; what does not read is noted in `complaints`."""
    readers: dict[str, Reader] = {}
    owners: dict[int, Plugin] = {}
    for plugin in list_plugins("readers", policy):
        # a broken reader costs nobody else anything; `pmcore plugins` explains it
        with suppress(PluginError), answerable(plugin):
            reader = registry.load("readers", plugin.name, policy)()
            readers[plugin.name] = reader
            owners[id(reader)] = plugin
    found = {}
    sides = sides_of(settings)
    for path in dict.fromkeys((*settings.pool, *sides.members, *sides.others)):
        with complaints.collect():
            with answerable(owners[id(reader_for(path, readers))]):
                records = read_records(path, Role.POPULATION, readers, settings.x_keys, settings.y_key)
            if not len(records):
                raise InputError(f"{path}: holds no records - give a file with at least one")
            found[path] = records
    return found


def make_pool(
    tables: Mapping[str, Records],
    model: Model,
    source: Path | None,
    settings: ReferenceSettings,
    progress: Progress | None = None,
) -> Pool:
    """Check the records against the target, prepare it, and hash them.

    Raises
    ------
    AuditError
        Records do not fit the target, or population records are members of it.
    """
    first = tables[settings.pool[0]]
    description = model.describe()
    if description.classes == 0:  # known only from answers
        found = discover(description, source, first.inputs, first.path, settings.preprocessing)
        model.prepare(Feed(first, found).sample())
        description = model.describe()
    complaints = Complaints()
    feeds = {}
    for path, records in tables.items():
        with complaints.collect():
            feeds[path] = _feed(records, description, source, settings)
    complaints.raise_any()
    model.prepare(feeds[settings.pool[0]].sample())
    types = canonical_types([feed.records for feed in feeds.values()])
    hashed = {
        path: replace(feed, records=replace(feed.records, digests=digest(feed.records, types, progress)))
        for path, feed in feeds.items()
    }
    sides = sides_of(settings)
    if settings.assign == "out-only":
        _keep_members_out(hashed, settings.pool, sides.members)
    return Pool(hashed, settings.pool, sides, tuple(map(str, types)), model.describe())


def _feed(records: Records, description: ModelDescription, source: Path | None, settings: ReferenceSettings) -> Feed:
    checked = check_labels(records.labels, description.task, description.classes, records.path, settings.y_key)
    found = discover(description, source, records.inputs, records.path, settings.preprocessing)
    return Feed(replace(records, labels=checked.labels), found)


def _keep_members_out(feeds: Mapping[str, Feed], pool: tuple[str, ...], members: tuple[str, ...]) -> None:
    for path in pool:
        for others in members:
            both = len(shared(feeds[path].records, feeds[others].records))
            if both:
                raise InputError(
                    f"{path}: {count(both)} of {count(len(feeds[path]))} records are members of the target "
                    f"({others}) - with out-only references see none of them; leave them out"
                )
