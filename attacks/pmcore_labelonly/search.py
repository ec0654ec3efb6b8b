"""The search for the decision boundary between a record and a point with another label."""

from __future__ import annotations

import math

import numpy as np

from pmcore.interfaces import Array, Floats
from pmcore_labelonly.moved import Group, Rows


def searched(group: Group, rows: Rows, ends: Array, norm: float, halvings: int, right: float = 0.0) -> Array:
    """Return the points with a wrong label nearest to their records on the way from these to `ends`, (b, d).

    Parameters
    ----------
    ends : (b, d) points with a wrong label
    right : the share of the way up to which labels are held to be right
    """
    inner, outer = np.full(len(rows), right), np.ones(len(rows))
    for _ in range(halvings):
        middle = (inner + outer) / 2.0
        wrong = group.is_wrong(rows, _between(group.origin[rows], ends, middle, norm))
        inner, outer = np.where(wrong, inner, middle), np.where(wrong, middle, outer)
    return _between(group.origin[rows], ends, outer, norm)


def _between(origin: Array, ends: Array, shares: Floats, norm: float) -> Array:
    """Return points at a share of the distance: on the line, or for the largest norm on the face of a smaller cube."""
    parts = shares.astype(origin.dtype)[:, None]
    if norm == math.inf:
        reach = parts * np.abs(ends - origin).max(axis=1, keepdims=True)
        inside: Array = np.clip(ends, origin - reach, origin + reach)
        return inside
    on_line: Array = origin + parts * (ends - origin)
    return on_line
