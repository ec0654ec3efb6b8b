"""Where HopSkipJump starts: a point with another label, of noise, or else another audited record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.draws import Keys, derived, uniforms
from pmcore.interfaces import Array, LabelQueries
from pmcore_labelonly.moved import Group, Rows, flat, keys_of_rows, lengths
from pmcore_labelonly.search import searched

TRIES = 20
"""Points of noise that are tried for each record, at the most."""
STARTS, ROUGHLY = 4, 4
"""Points of noise with a wrong label that are compared, and halvings of the search for the boundary on the way."""
MOST_PEERS = 256
VALUES = 2**24
"""Numbers of peers that are held at a time; of large records there are fewer peers."""


@dataclass(frozen=True, eq=False)
class Starts:
    """Points with a wrong label.

    Parameters
    ----------
    points : (g, d)
    found : (g,) whether a record has one
    """

    points: Array
    found: NDArray[np.bool_]


def noise_starts(group: Group, keys: Keys, norm: float) -> Starts:
    """Return, of some points of noise that the model labels wrongly, the one on whose way the boundary is nearest.

    Parameters
    ----------
    keys : (g,) what each record draws from
    norm : 2 or inf
    """
    points = group.origin.copy()
    distances = np.full(len(group), np.inf)
    wanted = np.full(len(group), STARTS)
    for turn in range(TRIES):
        rows = np.flatnonzero(wanted)
        if not len(rows):
            break
        drawn = uniforms(derived(keys[rows], np.array([turn], dtype=np.uint64)), points.shape[1])
        noise = drawn.astype(points.dtype, copy=False)
        tried = group.inside(group.low + noise * (group.high - group.low))
        wrong = group.is_wrong(rows, tried)
        rows, ends = rows[wrong], tried[wrong]
        ends = searched(group, rows, ends, norm, ROUGHLY)
        found = lengths(ends - group.origin[rows], norm)
        nearer = found < distances[rows]
        points[rows[nearer]], distances[rows[nearer]] = ends[nearer], found[nearer]
        wanted[rows] -= 1
    return Starts(points, np.isfinite(distances))


@dataclass(frozen=True, eq=False)
class Peers:
    """Audited records that the model labels rightly, (p, d), with their labels, (p, ...)."""

    points: Array
    labels: Array


def peers_among(query: LabelQueries, right: Rows, labels: Array, at_once: int) -> Peers:
    """Return some of the records that the model labels rightly, the same for any order of them.

    Parameters
    ----------
    right : (r,) which audited records these are
    labels : (n, ...) of all audited records
    at_once : records that are read at a time
    """
    keys = np.concatenate([keys_of_rows(flat(query.inputs(rows))) for rows in in_groups(right, at_once)])
    width = flat(query.inputs(right[:1])).shape[1]
    chosen = right[np.argsort(keys, kind="stable")[: max(1, min(MOST_PEERS, VALUES // width))]]
    return Peers(flat(query.inputs(chosen)), labels[chosen])


def peer_starts(group: Group, peers: Peers) -> Starts:
    """Return the nearest peer of another label for each record; what equals the record is none."""
    points = group.origin.copy()
    found = np.zeros(len(group), dtype=np.bool_)
    for row, (record, label) in enumerate(zip(group.origin, group.labels, strict=True)):
        far = lengths(peers.points - record, 2.0)
        other = (peers.labels != label).reshape(len(far), -1).any(axis=1) & (far > 0.0)
        if other.any():
            points[row] = peers.points[np.where(other, far, np.inf).argmin()]
            found[row] = True
    return Starts(points, found)


def in_groups(records: Rows, size: int) -> Iterator[Rows]:
    """Yield records, so many at a time."""
    for start in range(0, len(records), size):
        yield records[start : start + size]
