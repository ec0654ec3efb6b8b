"""What a constant operand is: the constant of the file that it is made of, its shape, and who else reads that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from pmcore_onnx.graph import SHAPES, Graph, attribute, reads

if TYPE_CHECKING:
    from onnx import NodeProto

_FLOATS = frozenset({1, 10, 11, 16})
_SAME = frozenset({"Identity", "Cast"})
_STEPS = 64
QUANTISED = "is quantised"
COMPUTED = "is computed from other tensors"


@dataclass(frozen=True)
class Operand:
    """A constant tensor that enters an operation.

    Parameters
    ----------
    source : the constant of the file that holds its numbers
    shape : as it enters the operation
    """

    source: str
    shape: tuple[int, ...]


def kind_of(node: NodeProto) -> str:
    """Return the type of a node, with its domain where that is not ONNX's own."""
    return str(node.op_type) if node.domain in ("", "ai.onnx", "ai.onnx.ml") else f"{node.domain}.{node.op_type}"


def find_operand(graph: Graph, name: str) -> Operand | str:
    """Step back from a constant tensor, over what only turns it, to the constant of the file.

    Returns
    -------
    Operand or str
        What was found, or in one phrase why the numbers are not those of a constant of the file.
    """
    passed: list[NodeProto] = []
    shape = _shape(graph, name)
    while shape is None:
        node = graph.producers.get(name)
        if node is None or len(passed) > _STEPS or not node.input:
            return COMPUTED
        if kind_of(node) == "DequantizeLinear":
            return QUANTISED
        if kind_of(node) not in _SAME | {"Transpose", "Reshape"}:
            return COMPUTED
        passed.append(node)
        name = node.input[0]
        shape = _shape(graph, name)
    tensor = graph.constants.get(name)
    if tensor is not None and tensor.data_type not in _FLOATS:
        return QUANTISED
    for node in reversed(passed):
        turned = _turned(graph, node, shape)
        if turned is None:
            return COMPUTED
        shape = turned
    return Operand(name, shape)


def number(graph: Graph, name: str) -> float | None:
    """Return the value of a constant of one number that is kept in the model's own file, or None."""
    from onnx import numpy_helper

    node = graph.producers.get(name)
    single = attribute(node, "value_float") if node is not None and node.op_type == "Constant" else None
    if single is not None:
        return float(single.f)
    tensor = graph.constants.get(name)
    if tensor is None or prod(tensor.dims) != 1 or tensor.data_type not in _FLOATS:
        return None
    if tensor.data_location == tensor.EXTERNAL:
        return None
    try:
        return float(numpy_helper.to_array(tensor).reshape(()))
    except Exception:  # onnx raises numpy's errors where bytes and shape do not agree
        return None


def times_read(graph: Graph, source: str, tensor: str) -> int:
    """Return how often operations on the records read a constant, among those that a tensor is made of."""
    derived = {source}
    times = 0
    for node in _makers(graph, tensor):
        found = sum(name in derived for name in reads(node))
        if found and graph.live.isdisjoint(node.output):
            derived.update(node.output if node.op_type not in SHAPES else ())
        else:
            times += found
    return times


def _makers(graph: Graph, tensor: str) -> Iterator[NodeProto]:
    """Return the nodes that a tensor is made by, in order of computation."""
    needed = {tensor}
    makers: list[NodeProto] = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.output):
            makers.append(node)
            needed.update(reads(node))
    return reversed(makers)


def _shape(graph: Graph, name: str) -> tuple[int, ...] | None:
    """Return the shape of a constant of the file, or None for what is made of others."""
    tensor = graph.constants.get(name)
    if tensor is not None:
        return tuple(tensor.dims)
    node = graph.producers.get(name)
    if node is None:
        return None
    if node.op_type == "Constant":
        if attribute(node, "value_float") is not None:
            return ()
        several = attribute(node, "value_floats")
        return None if several is None else (len(several.floats),)
    if node.op_type == "ConstantOfShape":
        sizes = graph.integers(node.input[0])
        return None if sizes is None else tuple(int(size) for size in sizes.flat)
    return None


def _turned(graph: Graph, node: NodeProto, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape that a node makes of another, or None where it does not fit."""
    if node.op_type == "Transpose":
        order = attribute(node, "perm")
        axes = list(order.ints) if order is not None else list(range(len(shape)))[::-1]
        return tuple(shape[axis] for axis in axes) if sorted(axes) == list(range(len(shape))) else None
    if node.op_type == "Reshape":
        wanted = graph.integers(node.input[1]) if len(node.input) > 1 else None
        if wanted is None or wanted.ndim != 1:
            return None
        sizes = [int(size) or (shape[axis] if axis < len(shape) else 0) for axis, size in enumerate(wanted)]
        if sizes.count(-1) == 1:
            rest = -prod(sizes)
            sizes[sizes.index(-1)] = prod(shape) // rest if rest > 0 else 0
        return tuple(sizes) if prod(sizes) == prod(shape) else None
    return shape
