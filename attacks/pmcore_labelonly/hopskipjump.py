"""HopSkipJump (Chen, Jordan, Wainwright 2020): towards the nearest point with another label, by labels alone.

All records of a group take their steps together; none depends on what the others find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.draws import Keys, derived, gaussians
from pmcore.interfaces import Array, Floats
from pmcore_labelonly.moved import Group, Rows, lengths
from pmcore_labelonly.search import searched
from pmcore_labelonly.starts import Starts

AT_ONCE = 16
"""Directions that are drawn together: always as many, so that sums come out the same in any company."""
FEWEST_HALVINGS = 6
"""Of a search for the boundary: it ends within 2**-6 of the distance."""
SHARPNESS = 3.0
"""How many times the radius of the directions the distance is at the least."""
SHORTENED = 8
"""Times that a step which leads back to the right label is halved before it is given up."""
LAST_HALVINGS = 6
"""Of a last search, in the outermost sixteenth of the distance, for which there may be queries left."""

LEAST = 1e-30
"""A distance that counts as none: the radius of directions would vanish in float32."""


def boundary_distances(group: Group, starts: Starts, keys: Keys, norm: float, samples: int) -> Floats:
    """Return how far the nearest point with a wrong label was found to be, (g,); infinity without a start.

    Parameters
    ----------
    keys : (g,) what each record draws its directions from
    norm : 2 or inf
    samples : directions in the first round; sqrt(t) times as many in round t
    """
    halvings = halvings_for(group.origin.shape[1])
    reached, distances = starts.points.copy(), np.full(len(group), np.inf)
    rows = np.flatnonzero(starts.found)
    reached[rows] = searched(group, rows, reached[rows], norm, halvings)
    distances[rows] = lengths(reached[rows] - group.origin[rows], norm)
    for turn in range(1, int(group.left.max(initial=0)) + 1):
        count = int(samples * math.sqrt(turn))
        rows = np.flatnonzero((group.left > count + halvings) & _may_fall(distances))
        if not len(rows):
            break
        normals = _normals(group, rows, reached[rows], derived(keys[rows], np.array([turn], dtype=np.uint64)), count)
        directions = np.sign(normals) if norm == math.inf else normals
        stepped = _stepped(group, rows, reached[rows], directions, distances[rows] / math.sqrt(turn), halvings)
        ends = searched(group, stepped.rows, stepped.points, norm, halvings)
        _keep_nearer(group, stepped.rows, ends, reached, distances, norm)
    rows = np.flatnonzero((group.left >= LAST_HALVINGS) & _may_fall(distances))
    ends = searched(group, rows, reached[rows], norm, LAST_HALVINGS, right=15 / 16)
    _keep_nearer(group, rows, ends, reached, distances, norm)
    return distances


def _may_fall(distances: Floats) -> NDArray[np.bool_]:
    """Return which records have a start, and are not on the boundary themselves, (g,)."""
    return np.isfinite(distances) & (distances > LEAST)


def _keep_nearer(group: Group, rows: Rows, ends: Array, reached: Array, distances: Floats, norm: float) -> None:
    """Enter, for some records, points that are nearer than those that were reached before."""
    found = lengths(ends - group.origin[rows], norm)
    nearer = found < distances[rows]
    reached[rows[nearer]], distances[rows[nearer]] = ends[nearer], found[nearer]


def halvings_for(width: int) -> int:
    """Return how many queries a search for the boundary takes, in a space of so many dimensions.

    What it leaves open must be little beside the radius along any one axis, or all directions end on one side.
    """
    return max(FEWEST_HALVINGS, math.ceil(math.log2(SHARPNESS * math.sqrt(width))))


def _normals(group: Group, rows: Rows, points: Array, keys: Keys, count: int) -> Array:
    """Return which way the wrong side lies of points on the boundary, (b, d), each of length 1.

    The mean of random directions, counted for or against by the label at their ends, with the mean label taken off
    (equation 16 of the paper). The radius grows with what a search leaves open, as in the paper.
    """
    width = points.shape[1]
    distances = lengths(points - group.origin[rows], 2.0)
    radii = (math.sqrt(width) * 2.0 ** -halvings_for(width) * distances).astype(points.dtype)[:, None]
    toward, total = np.zeros_like(points), np.zeros_like(points)
    votes = np.zeros(len(rows), dtype=points.dtype)
    for start in range(0, count, AT_ONCE):
        numbers = np.arange(start, min(start + AT_ONCE, count), dtype=np.uint64)
        drawn = gaussians(derived(keys[:, None], numbers), width).astype(points.dtype, copy=False)
        drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
        ends = group.inside(points[:, None] + radii[:, None] * drawn)
        asked = np.repeat(rows, len(numbers))
        wrong = group.is_wrong(asked, ends.reshape(-1, width)).reshape(len(rows), -1)
        for number in range(len(numbers)):
            vote = np.where(wrong[:, number], 1.0, -1.0).astype(points.dtype)
            direction = (ends[:, number] - points) / radii  # what is left of it within the bounds
            toward += vote[:, None] * direction
            total += direction
            votes += vote
    mean = votes / count
    one_sided = np.abs(mean) == 1.0
    summed = np.where(one_sided[:, None], toward, toward - mean[:, None] * total)
    size = np.linalg.norm(summed, axis=1, keepdims=True)
    normals: Array = np.divide(summed, size, out=np.zeros_like(summed), where=size > 0.0)
    return normals


@dataclass(frozen=True, eq=False)
class _Stepped:
    """Where steps led that ended on the wrong side; rows (b,), points (b, d)."""

    rows: Rows
    points: Array


def _stepped(group: Group, rows: Rows, points: Array, directions: Array, sizes: Floats, halvings: int) -> _Stepped:
    """Return the ends of steps, halved until the label is wrong there; `halvings` queries stay for what comes next."""
    ends = points.copy()
    done = np.zeros(len(rows), dtype=np.bool_)
    for _ in range(SHORTENED):
        trying = np.flatnonzero(~done & (group.left[rows] > halvings))
        if not len(trying):
            break
        steps = sizes[trying, None].astype(points.dtype) * directions[trying]
        tried = group.inside(points[trying] + steps)
        wrong = group.is_wrong(rows[trying], tried)
        ends[trying[wrong]] = tried[wrong]
        done[trying[wrong]] = True
        sizes = sizes / 2.0
    return _Stepped(rows[done], ends[done])
