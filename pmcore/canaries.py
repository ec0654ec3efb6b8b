"""Canaries: records whose part in the training set a fair coin decides, made, written, and read again."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pmcore import registry
from pmcore.data import Records, Role, read_records, reader_for
from pmcore.dp_audit import Bools, checked_included
from pmcore.errors import InputError, PluginError
from pmcore.files import OutputFolder
from pmcore.installed import Plugin, PluginPolicy, list_plugins
from pmcore.interfaces import Array, Reader
from pmcore.mapped import map_array
from pmcore.numerals import count
from pmcore.plugin_failures import answerable
from pmcore.scores import write_arrays
from pmcore.tables import look

CANARIES, INCLUDED, TRAIN = "canaries.npz", "included.npy", "train.npz"
INCLUDED_KEY = "included"

Kind = Literal["mislabelled", "as-is"]


@dataclass(frozen=True, eq=False)
class CanarySet:
    """Canaries with their coins, and what a model is to be trained on.

    Parameters
    ----------
    inputs, labels : of the m canaries
    included : (m,) bool, whether the canary is among the training records
    train_inputs, train_labels : the records of the pool that are no canaries, and the included canaries, in drawn order
    """

    inputs: Mapping[str, Array]
    labels: Array
    included: Bools
    train_inputs: Mapping[str, Array]
    train_labels: Array


def read_pool(path: str, x_keys: tuple[str, ...], y_key: str, policy: PluginPolicy) -> Records:
    """Return the records of one file.

    Raises
    ------
    InputError
        No reader knows the file, or the reader refuses it.
    """
    readers: dict[str, Reader] = {}
    owners: dict[int, Plugin] = {}
    for plugin in list_plugins("readers", policy):
        # a broken reader costs nobody else anything; `pmcore plugins` explains it
        with suppress(PluginError), answerable(plugin):
            reader = registry.load("readers", plugin.name, policy)()
            readers[plugin.name] = reader
            owners[id(reader)] = plugin
    with answerable(owners[id(reader_for(path, readers))]):
        return read_records(path, Role.MEMBERS, readers, x_keys, y_key)


def make_canaries(pool: Records, number: int, rng: np.random.Generator, kind: Kind = "mislabelled") -> CanarySet:
    """Draw canaries out of a pool, and for each of them a fair coin.

    A canary leaves the pool: its record trains the model as a canary, or not at all. Mislabelled ones get another
    class of the pool, each with the same chance: a label that a model cannot infer, but only know by heart.

    Raises
    ------
    InputError
        The pool has fewer records, or its labels are not single classes and `kind` is "mislabelled".
    """
    n = len(pool)
    if not 1 <= number <= n:
        raise InputError(f"count: {number} - {pool.path} holds {count(n)} records; give a number from 1 to {n}")
    order = rng.permutation(n)
    drawn, others = np.sort(order[:number]), order[number:]
    labels = np.asarray(pool.labels)
    given = labels[drawn] if kind == "as-is" else _other_labels(labels, drawn, pool.path, rng)
    included = rng.random(number) < 0.5
    rows = np.concatenate([others, drawn[included]])
    shuffled = rng.permutation(rows.size)
    return CanarySet(
        inputs={name: array[drawn] for name, array in pool.inputs.items()},
        labels=given,
        included=included,
        train_inputs={name: array[rows[shuffled]] for name, array in pool.inputs.items()},
        train_labels=np.concatenate([labels[others], given[included]])[shuffled],
    )


def write_canaries(folder: Path, made: CanarySet, y_key: str = "y", force: bool = False) -> tuple[Path, ...]:
    """Write canaries, coins and training records together, or nothing; return the paths.

    Raises
    ------
    AuditError
        The folder is occupied, or the disk is full or fails.
    """
    with OutputFolder(folder, force) as output:
        with output.open(CANARIES) as stream:
            write_arrays(stream, {**made.inputs, y_key: made.labels})
        with output.open(INCLUDED) as stream:
            np.save(stream, made.included.astype(np.uint8), allow_pickle=False)
        with output.open(TRAIN) as stream:
            write_arrays(stream, {**made.train_inputs, y_key: made.train_labels})
    return tuple(folder / name for name in (CANARIES, INCLUDED, TRAIN))


def read_included(path: Path) -> Bools:
    """Return which canaries were included, shape (m,): from an .npy, an .npz or a .csv file.

    An archive or a table with several columns names the one that is meant "included".

    Raises
    ------
    InputError
        The file is missing or damaged, or holds other values than 0 and 1.
    """
    head = look(path)
    if path.suffix.lower() == ".csv":
        values: Array = _column(path)
    elif path.suffix.lower() == ".npz" or head.startswith(b"PK"):
        values = _from_archive(path)
    elif path.suffix.lower() == ".npy":
        values = map_array(path)
    else:
        raise InputError(f"{path}: included: nothing reads {path.suffix!r} - give .npy, .npz or .csv")
    try:
        return checked_included(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _other_labels(labels: Array, rows: NDArray[np.int64], path: str, rng: np.random.Generator) -> Array:
    """Return a wrong class for each of some records, of the type of the labels."""
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        raise InputError(
            f"{path}: labels {labels.dtype} {list(labels.shape)} - only single classes can be mislabelled; give "
            "--kind as-is"
        )
    classes, which = np.unique(labels, return_inverse=True)
    if classes.size < 2:
        raise InputError(f"{path}: every label is {classes[0]} - there is no other class; give --kind as-is")
    wrong: Array = classes[(which[rows] + rng.integers(1, classes.size, rows.size)) % classes.size]
    return wrong


def _from_archive(path: Path) -> Array:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive)
            name = INCLUDED_KEY if INCLUDED_KEY in names or len(names) != 1 else names[0]
            values: Array | None = archive[name] if name in names else None
    except Exception as error:  # numpy fails in many ways on foreign files
        raise InputError(f"{path}: cannot be read as an archive ({error}) - write it with numpy.savez") from None
    if values is None:
        raise InputError(f"{path}: no array {INCLUDED_KEY!r} - it has {', '.join(names) or 'nothing'}; name it so")
    return values


def _column(path: Path) -> Array:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV table ({error}) - save it as UTF-8 CSV") from None
    header = [name.strip() for name in rows[0]] if rows else []
    if len(header) == 1:
        place, first = 0, 0 if header[0] in ("0", "1") else 1
    elif INCLUDED_KEY in header:
        place, first = header.index(INCLUDED_KEY), 1
    else:
        raise InputError(f"{path}: no column {INCLUDED_KEY!r} - it has {', '.join(header) or 'nothing'}; name it so")
    cells = [row[place].strip() if place < len(row) else "" for row in rows[first:]]
    for line, cell in enumerate(cells):
        if cell not in ("0", "1"):
            raise InputError(f"{path}: included[{line}]: {cell[:40]!r} - give 0 or 1 for every canary")
    return np.array(cells, dtype=np.int64)
