"""Weights rounded to the whole numbers by which a quantised file holds them, on the scales of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import ModelError
from pmcore.interfaces import Array
from pmcore.quoting import quoted
from pmcore_autograd.graph import Node

_HALF = 0.5 + 1e-3
"""Of a step: how far rounding may move a weight."""


def requantised(value: Array, before: Array, steps: Array, zero: Array | None, node: Node, where: Path) -> Array:
    """Return the whole numbers that a DequantizeLinear node turns into weights.

    Parameters
    ----------
    value : the weights
    before : the whole numbers of the file
    steps, zero : its scales and zero points: one, one per channel along the node's axis, or one per block

    Raises
    ------
    ModelError
        A weight lies beyond what the scales of the file reach, so that it would be another one.
    """
    if value.shape != before.shape:
        raise ModelError(f"{where}: {node.title} holds weights of another shape; load the file again")
    scale, offset = (_spread(part, value.shape, node) for part in (steps, zero))
    assert scale is not None
    exact = value / scale + (0.0 if offset is None else offset)
    lowest, highest = _bounds(before.dtype)
    whole = np.clip(np.rint(exact), lowest, highest)
    beyond = int((np.abs(exact - whole) > _HALF).sum()) + int((~np.isfinite(exact)).sum())
    if beyond:
        raise ModelError(
            f"{where}: {beyond} of {value.size} weights of {quoted(node.inputs[0])} are larger than its scales reach; "
            "clip them, or quantise a float model anew"
        )
    found: Array = whole.astype(before.dtype)
    return found


def _spread(part: Array | None, shape: tuple[int, ...], node: Node) -> Array | None:
    """Return scales or zero points as an array that fits the weights."""
    if part is None:
        return None
    wide: Array = part.astype(np.float64)
    if wide.size == 1:
        return wide.reshape(())
    axis = int(node.attributes.get("axis", 1)) % max(len(shape), 1)
    if wide.ndim == 1:
        return wide.reshape([-1 if place == axis else 1 for place in range(len(shape))])
    block = int(node.attributes.get("block_size", 1))
    return np.repeat(wide, block, axis=axis)[tuple(slice(0, size) for size in shape)]


def _bounds(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    if dtype.name in ("int4", "uint4", "int2", "uint2"):
        import ml_dtypes

        packed: Any = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
        return int(packed.min), int(packed.max)
    if dtype.kind not in "iu":
        raise ModelError(f"weights of type {dtype.name} cannot be rounded to; quantise a float model anew")
    limits: Any = np.iinfo(dtype.name)
    return int(limits.min), int(limits.max)
