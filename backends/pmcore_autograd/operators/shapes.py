"""Operators that arrange the same elements in another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import (
    axis_of,
    flag,
    given,
    integers,
    optional,
    refusal,
    version,
    whole,
    wholes,
    word,
)

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def identity(node: Node, values: Values) -> torch.Tensor:
    """Return the input."""
    return given(node, values, 0)


def shape(node: Node, values: Values) -> torch.Tensor:
    """Return the shape, or a part of it, as a tensor of numbers that are known before a record is read."""
    value = given(node, values, 0)
    sizes = list(value.shape)[whole(node, "start", 0) : node.attributes.get("end")]
    return torch.tensor(sizes, dtype=torch.int64, device=value.device)


def size(node: Node, values: Values) -> torch.Tensor:
    """Return the number of elements."""
    value = given(node, values, 0)
    return torch.tensor(value.numel(), dtype=torch.int64, device=value.device)


def reshape(node: Node, values: Values) -> torch.Tensor:
    """Return the elements in a given shape: 0 keeps a dimension, -1 stands for what is left."""
    value = given(node, values, 0)
    wanted = wholes(node, "shape") if version(node) < 5 else tuple(integers(node, given(node, values, 1)))
    if not flag(node, "allowzero"):
        if any(length == 0 and place >= value.dim() for place, length in enumerate(wanted)):
            raise refusal(node, "the shape keeps a dimension that the tensor does not have")
        wanted = tuple(length or value.shape[place] for place, length in enumerate(wanted))
    return value.reshape(wanted)


def flatten(node: Node, values: Values) -> torch.Tensor:
    """Return a matrix: the dimensions before an axis make the rows."""
    value = given(node, values, 0)
    axis = whole(node, "axis", 1)
    axis = axis + value.dim() if axis < 0 else axis
    rows = value.shape[:axis].numel()
    return value.reshape(rows, value.shape[axis:].numel())


def transpose(node: Node, values: Values) -> torch.Tensor:
    """Return the tensor with its dimensions in another order, reversed by default."""
    value = given(node, values, 0)
    return value.permute(wholes(node, "perm") or tuple(range(value.dim()))[::-1])


def squeeze(node: Node, values: Values) -> torch.Tensor:
    """Return the tensor without the named dimensions, which have length one."""
    value = given(node, values, 0)
    axes = _axes(node, values)
    if axes is None:
        return value.reshape([length for length in value.shape if length != 1])
    away = {axis_of(node, axis, value.dim()) for axis in axes}
    if any(value.shape[axis] != 1 for axis in away):
        raise refusal(node, "a dimension to be dropped is longer than one")
    return value.reshape([length for axis, length in enumerate(value.shape) if axis not in away])


def unsqueeze(node: Node, values: Values) -> torch.Tensor:
    """Return the tensor with dimensions of length one at the named places of the result."""
    value = given(node, values, 0)
    axes = _axes(node, values) or ()
    rank = value.dim() + len(axes)
    added = {axis_of(node, axis, rank) for axis in axes}
    if len(added) != len(axes):
        raise refusal(node, "a dimension is added twice")
    lengths = iter(value.shape)
    return value.reshape([1 if axis in added else next(lengths) for axis in range(rank)])


def expand(node: Node, values: Values) -> torch.Tensor:
    """Return the tensor repeated to a shape, by the rule by which shapes fit each other."""
    value = given(node, values, 0)
    wanted = integers(node, given(node, values, 1))
    wanted = [1] * (value.dim() - len(wanted)) + wanted
    have = [1] * (len(wanted) - value.dim()) + list(value.shape)
    return value.expand([there if length == 1 else length for length, there in zip(wanted, have, strict=True)])


def depth_to_space(node: Node, values: Values) -> torch.Tensor:
    """Return blocks of channels laid out in the plane."""
    value = given(node, values, 0)
    block = whole(node, "blocksize", 0)
    n, channels, height, width = value.shape
    if block < 1 or channels % (block * block):
        raise refusal(node, f"blocks of {block} do not divide {channels} channels")
    if word(node, "mode", "DCR CRD") == "DCR":
        parts = value.reshape(n, block, block, -1, height, width).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = value.reshape(n, -1, block, block, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, -1, height * block, width * block)


def space_to_depth(node: Node, values: Values) -> torch.Tensor:
    """Return blocks of the plane stacked as channels."""
    value = given(node, values, 0)
    block = whole(node, "blocksize", 0)
    n, channels, height, width = value.shape
    if block < 1 or height % block or width % block:
        raise refusal(node, f"blocks of {block} do not divide a plane of {height} x {width}")
    parts = value.reshape(n, channels, height // block, block, width // block, block)
    if word(node, "mode", "DCR CRD") == "DCR":
        return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // block, width // block)
    return parts.permute(0, 1, 3, 5, 2, 4).reshape(n, -1, height // block, width // block)


def _axes(node: Node, values: Values) -> tuple[int, ...] | None:
    """Return the axes from the attribute, where they stood before opset 13, or from the second input."""
    if "axes" in node.attributes:
        return wholes(node, "axes")
    axes = optional(values, 1)
    return None if axes is None else tuple(integers(node, axes))


TABLE = {
    "Identity": Known(identity),
    "Shape": Known(shape, "start end"),
    "Size": Known(size),
    "Reshape": Known(reshape, "allowzero shape consumed_inputs"),
    "Flatten": Known(flatten, "axis"),
    "Transpose": Known(transpose, "perm"),
    "Squeeze": Known(squeeze, "axes"),
    "Unsqueeze": Known(unsqueeze, "axes"),
    "Expand": Known(expand),
    "DepthToSpace": Known(depth_to_space, "blocksize mode"),
    "SpaceToDepth": Known(space_to_depth, "blocksize mode"),
}
