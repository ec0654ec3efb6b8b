"""A group of audited records as points of one space, and the model asked, within a budget, about points near them."""

from __future__ import annotations

from hashlib import sha256
from math import prod

import numpy as np
from numpy.typing import NDArray

from pmcore.draws import Keys
from pmcore.errors import InputError
from pmcore.interfaces import Array, Floats, Inputs, LabelQueries

Rows = NDArray[np.intp]


class Group:
    """Records whose inputs stand side by side, flat, as one row of numbers each.

    Letters: g records, d numbers in each.

    Parameters
    ----------
    query : counted queries about the audited records
    records : (g,) which of these
    labels : (n, ...) of all audited records
    budget : queries allowed per record

    Attributes
    ----------
    origin : (g, d) the records themselves
    labels : (g, ...)
    low, high : (d,) the least and the largest value that the input has in any audited record
    left : (g,) queries that are left
    """

    def __init__(self, query: LabelQueries, records: Rows, labels: Array, budget: int) -> None:
        self._query = query
        self._records = records
        inputs = query.inputs(records)
        self._parts = {name: inputs[name] for name in sorted(inputs)}
        self.origin = flat(inputs)
        self.labels = labels[records]
        widths = [prod(part.shape[1:]) for part in self._parts.values()]
        self._cuts = np.cumsum(widths)[:-1]
        bounds = np.array([query.bounds[name] for name in self._parts]).repeat(widths, axis=0)
        self.low, self.high = bounds.T.astype(self.origin.dtype)
        self.left = np.full(len(records), budget, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._records)

    def is_wrong(self, rows: Rows, points: Array) -> NDArray[np.bool_]:
        """Return whether the model gives points another label than their record has, (b,); one query for each.

        Parameters
        ----------
        rows : (b,) in [0, g)
        points : (b, d)
        """
        if not len(rows):
            return np.zeros(0, dtype=np.bool_)
        np.subtract.at(self.left, rows, 1)
        columns = np.split(points, self._cuts, axis=1)
        moved = {
            name: column.reshape(len(rows), *part.shape[1:]).astype(part.dtype, copy=False)
            for (name, part), column in zip(self._parts.items(), columns, strict=True)
        }
        differ = np.asarray(self._query(self._records[rows], moved)) != self.labels[rows]
        wrong: NDArray[np.bool_] = differ.reshape(len(rows), -1).any(axis=1)
        return wrong

    def inside(self, points: Array) -> Array:
        """Return points with every number within its bounds, (..., d)."""
        kept: Array = np.clip(points, self.low, self.high)
        return kept

    def farthest(self, norm: float) -> Floats:
        """Return how far from each record points within the bounds can be, (g,)."""
        return lengths(np.maximum(self.origin - self.low, self.high - self.origin), norm)


def flat(inputs: Inputs) -> Array:
    """Return inputs side by side, by sorted name, (g, d), in the widest of their types and float32 at least.

    Raises
    ------
    InputError
        An input takes whole numbers.
    """
    for name, part in inputs.items():
        if part.dtype.kind != "f":
            raise InputError(
                f"boundary: input {name!r} takes whole numbers, and cannot be moved a little - leave it out"
            )
    kind = np.result_type(np.float32, *(part.dtype for part in inputs.values()))
    parts = [inputs[name].reshape(len(inputs[name]), -1) for name in sorted(inputs)]
    return np.hstack([part.astype(kind, copy=False) for part in parts])


def keys_of_rows(points: Array) -> Keys:
    """Return a hash of the numbers of each row, (g,), so that what it draws does not depend on its place."""
    hashes = b"".join(sha256(row).digest()[:8] for row in np.ascontiguousarray(points))
    return np.frombuffer(hashes, dtype="<u8").astype(np.uint64)


def lengths(vectors: Array, norm: float) -> Floats:
    """Return the norm, 2 or inf, of each vector, (b,)."""
    found: Floats = np.linalg.norm(vectors.astype(np.float64, copy=False), ord=norm, axis=1)
    return found
