"""One hash per record, equal for equal values of any type: overlap of roles, duplicates, seeded splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Digests, Progress, Records, Role
from pmcore.draws import mixed
from pmcore.errors import InputError
from pmcore.mapped import take
from pmcore.outputs import Array

Type = np.dtype[np.generic]
CHUNK = 2**18
"""Bytes hashed at a time: fits into the cache of a core."""
ROUNDED_BITS = 3
"""Bits of a float32 that rounding clears: 20 of its 23 stay, a relative precision of 1e-6."""


def with_digests(roles: Mapping[Role, Records], progress: Progress | None = None) -> dict[Role, Records]:
    """Return the records of all roles with their digests, comparable between these roles.

    Where an input (or the label) holds whole numbers in every role, their exact values count; elsewhere all
    are taken as float32 and rounded, so that the same record matches whether it was stored as uint8, float32
    or float64. Values that differ by a rounding error match unless a rounding edge lies between them.
    """
    types = canonical_types(list(roles.values()))
    return {role: replace(records, digests=digest(records, types, progress)) for role, records in roles.items()}


def canonical_types(tables: Sequence[Records]) -> list[Type]:
    """Return the type to compare each input in, by sorted name, and last the label."""
    columns = [[*(r.inputs[name] for name in sorted(r.inputs)), r.labels] for r in tables]
    width = max(len(column) for column in columns)
    return [_common([c[i - width].dtype for c in columns if len(c) + i >= width]) for i in range(width)]


def digest(records: Records, types: Sequence[Type], progress: Progress | None = None) -> Digests:
    """Return 128 bits of the SHA-256 of each record's inputs, by sorted name, and label, shape (n, 2).

    Parameters
    ----------
    types : type in which each input and last the label are hashed; see `canonical_types`
    """
    arrays = [records.inputs[name] for name in sorted(records.inputs)]
    kinds = list(types)[len(types) - len(arrays) - 1 :]
    width = sum(_values(array) * kind.itemsize for array, kind in zip([*arrays, records.labels], kinds, strict=True))
    in_order = all(array.flags.c_contiguous for array in arrays)
    step = max(1, (CHUNK if in_order else 64 * CHUNK) // width)
    result = np.empty((len(records), 2), dtype=np.uint64)
    for start in range(0, len(records), step):
        stop = min(start + step, len(records))
        where = records.where(start, stop)
        parts = [*(take(array, where) for array in arrays), records.labels[start:stop]]
        rows = np.hstack([_bytes(part, kind) for part, kind in zip(parts, kinds, strict=True)])
        whole = rows.reshape(-1).data
        hashes = b"".join([sha256(whole[i : i + width]).digest() for i in range(0, len(whole), width)])
        result[start:stop] = np.frombuffer(hashes, dtype=np.uint64).reshape(-1, 4)[:, :2]
        records.release_passed(start, stop)
        if progress is not None:
            progress(f"hashing {records.role}", stop, len(records))
    records.release()
    return result


def shared(records: Records, others: Records) -> NDArray[np.int64]:
    """Return the indices of those of `records` that also occur in `others`, ascending."""
    known = np.sort(others.digests[:, 0])
    likely = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(records), CHUNK):
        keys = records.digests[start : start + CHUNK, 0]
        places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        likely.append(np.flatnonzero(known[places] == keys) + start)
    rows = np.concatenate(likely)
    del known, likely
    return rows[_occur(records.digests[rows], others.digests)] if len(rows) else rows


def duplicates(records: Records) -> int:
    """Return how many records repeat an earlier one of the same role."""
    keys = np.sort(records.digests[:, 0])
    repeated = np.unique(keys[1:][keys[1:] == keys[:-1]])
    if not len(repeated):
        return 0
    places = np.minimum(np.searchsorted(repeated, records.digests[:, 0]), len(repeated) - 1)
    groups = _sorted(records.digests[repeated[places] == records.digests[:, 0]])
    return int((groups[1:] == groups[:-1]).all(axis=1).sum())


def overlaps(roles: Mapping[Role, Records]) -> dict[str, int]:
    """Return how many records of the second of two roles also occur in the first, by "first & second"."""
    order = [role for role in Role if role in roles]
    return {
        f"{first} & {second}": len(shared(roles[second], roles[first]))
        for place, first in enumerate(order)
        for second in order[place + 1 :]
    }


@dataclass(frozen=True)
class Dropped:
    """Roles without the records that they shared, and how many each lost."""

    roles: dict[Role, Records]
    counts: dict[Role, int]


def drop_overlap(roles: Mapping[Role, Records]) -> Dropped:
    """Leave out what roles share: non-members lose what members have, the population what either has.

    A record that is among the members did train the model, whatever else it is among.

    Raises
    ------
    InputError
        Nothing is left of a role.
    """
    order = [role for role in Role if role in roles]
    kept, counts = dict(roles), dict.fromkeys(order, 0)
    for place, role in enumerate(order):
        stays = np.ones(len(roles[role]), dtype=bool)
        for first in order[:place]:
            stays[shared(roles[role], roles[first])] = False
        counts[role] = int((~stays).sum())
        if not stays.any():
            raise InputError(f"{roles[role].path}: every record is also in another role - give other {role}")
        if counts[role]:
            kept[role] = roles[role].select(np.flatnonzero(stays))
    return Dropped(kept, counts)


@dataclass(frozen=True)
class Split:
    """Non-members in two: those that are audited and those that serve as population."""

    audited: Records
    population: Records


def split_population(nonmembers: Records, share: float, seed: int) -> Split:
    """Set a seeded share of the non-members apart as population.

    Systematic sampling: records are put in the order of their class and, within it, of a seeded hash, and every
    (1 / share)-th is taken from a seeded start. So each record has the same chance, in classes of any size, and
    so has each copy of one: population and audited non-members are exchangeable, on which the p-values rest.
    (Keeping copies together would break that: p <= .05 was then seen for .44 of the non-members of a table with
    60 distinct rows.) A class gives its share to within one record; labels that are not single classes are taken
    together. What is chosen depends on the digests and the seed, not on the order of the records, except for
    which of several equal ones it is.

    Raises
    ------
    InputError
        Too few records to have some on both sides.
    """
    seeded = mixed(np.array([seed % 2**64], dtype=np.uint64))
    keys = mixed(nonmembers.digests[:, 0] ^ seeded)
    labels = nonmembers.labels
    classes = labels if labels.ndim == 1 and labels.dtype.kind in "bui" else np.zeros(len(labels), np.int8)
    order = np.lexsort((keys, classes))
    place = np.arange(1, len(order) + 1)
    start = float(seeded[0]) / 2.0**64
    taken = np.floor(place * share + start) > np.floor((place - 1) * share + start)
    chosen = np.zeros(len(nonmembers), dtype=bool)
    chosen[order] = taken
    if not chosen.any() or chosen.all():
        raise InputError(
            f"{nonmembers.path}: {len(nonmembers)} non-members are too few to set a population apart - "
            "give more, or a population of its own with --population"
        )
    population = replace(nonmembers.select(np.flatnonzero(chosen)), role=Role.POPULATION)
    return Split(nonmembers.select(np.flatnonzero(~chosen)), population)


def _common(types: Sequence[Type]) -> Type:
    common = np.result_type(*types) if all(kind.kind in "bui" for kind in types) else np.dtype(np.float32)
    return common if common.kind in "bui" else np.dtype(np.float32)


def _bytes(part: Array, kind: Type) -> NDArray[np.uint8]:
    """Return b records as bytes, shape (b, width)."""
    return _canonical(part, kind).reshape(len(part), -1).view(np.uint8)


def _canonical(part: Array, kind: Type) -> Array:
    if kind.kind != "f":
        return np.ascontiguousarray(part, dtype=kind)
    with np.errstate(over="ignore"):
        values = np.array(part, dtype=np.float32, order="C", ndmin=1)
    values += np.float32(0.0)  # -0.0 becomes 0.0
    bits = values.view(np.uint32)
    bits += np.uint32(1 << (ROUNDED_BITS - 1))
    bits &= np.uint32(2**32 - (1 << ROUNDED_BITS))
    return values


def _values(array: Array) -> int:
    """Return the number of values per record."""
    return int(np.prod(array.shape[1:], dtype=np.int64))


def _occur(wanted: Digests, known: Digests) -> NDArray[np.bool_]:
    """Return which digests occur among the known; the first halves of all of them do, shape (n,)."""
    known = _sorted(known)
    first, second = np.ascontiguousarray(known[:, 0]), known[:, 1]
    places = np.searchsorted(first, wanted[:, 0])
    found: NDArray[np.bool_] = second[places] == wanted[:, 1]
    for row in np.flatnonzero(~found):  # next to never: digests that share their first half only
        end = np.searchsorted(first, wanted[row, 0], side="right")
        found[row] = (second[places[row] : end] == wanted[row, 1]).any()
    return found


def _sorted(digests: Digests) -> Digests:
    result: Digests = digests[np.lexsort((digests[:, 1], digests[:, 0]))]
    return result
