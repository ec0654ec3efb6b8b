"""What is kept of the gradients of some records: norms per variable and sketches per layer, made within TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from pmcore.interfaces import Array, Floats, GradientRequest
from pmcore.sketches import parameter_sketch
from pmcore_tensorflow.parameters import Parameters


@dataclass(frozen=True)
class _Axis:
    """How the rows, or the columns, of a parameter are added up.

    Parameters
    ----------
    signs : (d,)
    groups : (d,) int32 in [0, count)
    count : groups that have any member
    """

    signs: Array
    groups: Array
    count: int


@dataclass(frozen=True)
class _Projection:
    """The sketch of one parameter in two steps, rows first: what is added up is long and lies together.

    Parameters
    ----------
    place : of the parameter among all
    shape : rows and columns
    buckets : (column groups * row groups,) int32 in [0, size)
    """

    place: int
    shape: tuple[int, int]
    rows: _Axis
    columns: _Axis
    buckets: Array


@dataclass(frozen=True)
class Reductions:
    """How the gradients of a chunk of c records are reduced, for some requests.

    Parameters
    ----------
    orders : of the norms that are wanted
    sketches : layer (None for all parameters) and size -> the projections of its parameters
    """

    tf: Any
    parameters: Parameters
    requests: tuple[GradientRequest, ...]
    orders: tuple[float, ...]
    sketches: Mapping[tuple[str | None, int], tuple[_Projection, ...]]

    @property
    def signature(self) -> tuple[Any, ...]:
        """Return what `compute` gives for one record."""
        sizes = [len(self.parameters.variables)] * len(self.orders) + [size for _, size in self.sketches]
        return tuple(self.tf.TensorSpec((size,), self.tf.float64) for size in sizes)

    def compute(self, gradients: Sequence[Any]) -> list[Any]:
        """Return norms per variable, (c, v) for each order, and sketches, (c, size) each, as float64.

        Parameters
        ----------
        gradients : symbolic tensors (c, ...), one per variable
        """
        tf = self.tf
        flat = [tf.reshape(_wide(tf, gradient), (tf.shape(gradient)[0], -1)) for gradient in gradients]
        found = [tf.stack([_norms(tf, gradient, order) for gradient in flat], axis=1) for order in self.orders]
        for (_, size), projections in self.sketches.items():
            parts = [_sketched(tf, flat[one.place], one, size) for one in projections]
            found.append(tf.add_n([tf.zeros((tf.shape(flat[0])[0], size), tf.float64), *parts]))
        return found

    def answers(self, found: Sequence[Array]) -> dict[GradientRequest, Floats]:
        """Return what `Model.gradients` returns, of what `compute` gave for n records."""
        norms = dict(zip(self.orders, found, strict=False))
        sketches = dict(zip(self.sketches, found[len(self.orders) :], strict=True))
        result = {}
        for request in self.requests:
            layers = request.layers or (None,)
            if request.reduction == "sketch":
                result[request] = np.hstack([sketches[layer, request.size] for layer in layers])
            else:
                by_variable = norms[request.order]
                columns = [_joined(by_variable[:, self.parameters.places(layer)], request.order) for layer in layers]
                result[request] = np.stack(columns, axis=1)
        return result


def reductions(tf: Any, parameters: Parameters, requests: Sequence[GradientRequest]) -> Reductions:
    """Say how gradients are reduced for some requests."""
    wanted = {(layer, r.size) for r in requests if r.reduction == "sketch" for layer in r.layers or (None,)}
    sketches = {
        (layer, size): tuple(
            _projection(parameters, place, size, position) for position, place in enumerate(parameters.places(layer))
        )
        for layer, size in sorted(wanted, key=repr)
    }
    orders = sorted({request.order for request in requests if request.reduction != "sketch"})
    return Reductions(tf, parameters, tuple(requests), tuple(orders), sketches)


def _projection(parameters: Parameters, place: int, size: int, position: int) -> _Projection:
    sketch = parameter_sketch(parameters.variables[place].shape.as_list(), size, position)
    row_buckets, rows = np.unique(sketch.row_bucket, return_inverse=True)
    column_buckets, columns = np.unique(sketch.column_bucket, return_inverse=True)
    return _Projection(
        place,
        (len(rows), len(columns)),
        _Axis(sketch.row_sign, rows.astype(np.int32), len(row_buckets)),
        _Axis(sketch.column_sign, columns.astype(np.int32), len(column_buckets)),
        ((column_buckets[:, None] + row_buckets) % size).reshape(-1).astype(np.int32),
    )


def _wide(tf: Any, gradients: Any) -> Any:
    return tf.cast(gradients, tf.float32) if gradients.dtype.size < 4 else gradients


def _norms(tf: Any, gradients: Any, order: float) -> Any:
    """Return the norms (c,) of rows; squares are taken of what is at most 1, so that none is too small a number."""
    sizes = tf.abs(gradients)
    if order == 1:
        return tf.cast(tf.reduce_sum(sizes, axis=1), tf.float64)
    largest = tf.reduce_max(sizes, axis=1)
    if order == inf:
        return tf.cast(largest, tf.float64)
    scaled = tf.math.divide_no_nan(gradients, largest[:, None])
    return tf.cast(largest * tf.sqrt(tf.reduce_sum(tf.square(scaled), axis=1)), tf.float64)


def _sketched(tf: Any, gradients: Any, projection: _Projection, size: int) -> Any:
    """Return sketches (c, size) of gradients (c, p)."""
    matrices = tf.transpose(tf.reshape(gradients, (-1, *projection.shape)), (1, 0, 2))
    added = _added(tf, matrices, projection.rows)  # (row groups, c, columns)
    added = _added(tf, tf.transpose(added, (2, 0, 1)), projection.columns)  # (column groups, row groups, c)
    flat = tf.reshape(added, (len(projection.buckets), -1))
    return tf.cast(tf.transpose(tf.math.unsorted_segment_sum(flat, projection.buckets, size)), tf.float64)


def _added(tf: Any, values: Any, axis: _Axis) -> Any:
    signs = tf.constant(axis.signs.reshape(-1, 1, 1), values.dtype)
    return tf.math.unsorted_segment_sum(values * signs, axis.groups, axis.count)


def _joined(norms: Floats, order: float) -> Floats:
    """Return the norm over several variables, (n, v) -> (n,); 0 over none."""
    if not norms.shape[1]:
        return np.zeros(len(norms))
    found: Floats = np.linalg.norm(norms, order, axis=1)
    return found
