"""What a constant operand is: the constant of the file that it is made of, its shape, and who else reads that."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from pmcore_openvino.graph import Graph, shape_of

_TURNS = frozenset({"Convert", "Reshape", "Transpose", "Squeeze", "Unsqueeze"})
_SHAPES = frozenset({"ShapeOf"})
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

    source: Any
    shape: tuple[int, ...]


def find_operand(graph: Graph, output: Any) -> Operand | str:
    """Step back from a constant tensor, over what only turns it, to the constant of the file.

    Returns
    -------
    Operand or str
        What was found, or in one phrase why the numbers are not those of a constant of the file.
    """
    sizes = shape_of(output.get_partial_shape())
    node = output.get_node()
    for _ in range(_STEPS):
        kind = node.get_type_name()
        if kind == "Constant":
            break
        if kind == "FakeQuantize" or (kind == "Convert" and not node.get_input_element_type(0).is_real()):
            return QUANTISED
        if kind in _TURNS:
            node = node.input_value(0).get_node()
        elif kind == "Multiply" and (kept := _but_for_one(node)) is not None:
            node = kept
        else:
            return QUANTISED if _was_integers(node) else COMPUTED
    known = tuple(size for size in sizes or () if isinstance(size, int))
    if node.get_type_name() != "Constant" or sizes is None or len(known) != len(sizes):
        return COMPUTED
    return Operand(node, known) if node.get_element_type().is_real() else QUANTISED


def number(output: Any) -> float | None:
    """Return the value of a constant of one number, or None."""
    node = output.get_node()
    if node.get_type_name() == "Convert" and node.get_output_element_type(0).is_real():
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or prod(node.get_output_shape(0)) != 1:
        return None
    return float(node.get_vector()[0])


def times_read(graph: Graph, source: Any, tensor: str) -> int:
    """Return how often operations on the records read a constant, among those that a tensor is made of."""
    needed = {graph.tensors[tensor].node.get_name()}
    for node in reversed(graph.nodes):
        if node.get_name() in needed:
            needed.update(value.get_node().get_name() for value in node.input_values())
    derived = {source.get_name()}
    times = 0
    for node in graph.nodes:
        found = sum(value.get_node().get_name() in derived for value in node.input_values())
        if node.get_name() not in needed or not found:
            continue
        if node.get_name() in graph.live:
            times += found
        elif node.get_type_name() not in _SHAPES:
            derived.add(node.get_name())
    return times


def _but_for_one(node: Any) -> Any:
    """Return what a Multiply multiplies by one, or None if it is no such thing."""
    left, right = node.input_values()
    if number(right) == 1.0:
        return left.get_node()
    return right.get_node() if number(left) == 1.0 else None


def _was_integers(node: Any) -> bool:
    """Tell whether a constant tensor is scaled from integers."""
    for _ in range(_STEPS):
        if node.get_type_name() == "Constant":
            return not node.get_element_type().is_real()
        if not node.get_input_size():
            return False
        node = node.input_value(0).get_node()
    return False
