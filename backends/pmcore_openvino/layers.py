"""The layers of a model: every operation on the records, with its output's shape and its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from pmcore.interfaces import Layer
from pmcore.layers import LayerTable
from pmcore_openvino.graph import STRUCTURE, Graph

_SLOTS = frozenset(
    {"MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"}
    | {"BatchNormInference", "Gather", "LSTMSequence", "GRUSequence", "RNNSequence", "GroupNormalization"}
)
_NO_PARAMETERS = frozenset(
    {"Interpolate", "Pad", "Clamp", "Power", "Select", "StridedSlice", "Slice", "Tile", "FakeQuantize", "Broadcast"}
)
_BUFFERS = {"BatchNormInference": (3, 4)}
_STATES = {"LSTMSequence": (1, 2), "GRUSequence": (1,), "RNNSequence": (1,)}
"""Slots of the states that recurrent layers start from: mostly a nought, which is no parameter."""
_FIRST = frozenset({"FakeQuantize", "Reshape", "Transpose", "Convert", "Squeeze", "Unsqueeze", "Broadcast", "Gather"})
"""Operations on constants whose first input alone holds the weight; the others are shapes, axes, limits."""
_SCALED = frozenset({"Multiply", "Subtract"})
"""Those of which the same is true if the weight is kept in integers: the others are scales and zero points."""


def read_layers(graph: Graph) -> LayerTable:
    """List the operations that depend on the records.

    A parameter is an element of a constant of weights that enters an operation, directly or through operations
    on constants alone; a shared one is counted where it is first used. Running means and variances are none.
    """
    counted: set[str] = set()
    names: set[str] = set()
    layers: list[Layer] = []
    made: list[str] = []
    for node in graph.nodes:
        kind = str(node.get_type_name())
        if kind in STRUCTURE or node.get_name() not in graph.live or not node.get_output_size():
            continue
        tensor = graph.made_by(node.output(0))
        friendly = str(node.get_friendly_name())
        name = friendly if friendly and friendly not in names else tensor.name
        names.add(name)
        layers.append(Layer(len(layers), name, kind, tensor.shape, sum(_parameters(graph, node, counted))))
        made.append(tensor.name)
    return LayerTable(tuple(layers), tuple(made))


def _parameters(graph: Graph, node: Any, counted: set[str]) -> Iterator[int]:
    kind = node.get_type_name()
    if kind in _NO_PARAMETERS:
        return
    for slot, value in enumerate(node.input_values()):
        if value.get_node().get_name() in graph.live or slot in _BUFFERS.get(kind, ()):
            continue
        for source in _sources(value.get_node()):
            size = prod(source.get_output_shape(0))
            alone = kind in _SLOTS and slot not in _STATES.get(kind, ())
            if source.get_name() not in counted and (size > 1 or alone):
                counted.add(source.get_name())
                yield size


def _sources(node: Any) -> Iterator[Any]:
    """Yield the constants of weights that a constant tensor is made of: floats, or integers that floats are made of."""
    seen: set[str] = set()
    waiting = [(node, False)]
    while waiting:
        node, made_floats = waiting.pop()
        if node.get_name() in seen or not node.get_output_size():
            continue
        seen.add(node.get_name())
        kind = node.get_type_name()
        if kind == "Constant":
            if node.get_element_type().is_real() or made_floats:
                yield node
        elif kind != "ShapeOf" and node.get_output_element_type(0).is_real():
            reads = [value.get_node() for value in node.input_values()]
            if kind in _FIRST or (kind in _SCALED and _is_low(reads[0])):
                reads = reads[:1]
            waiting.extend((below, made_floats or kind == "Convert") for below in reversed(reads))


def _is_low(node: Any) -> bool:
    """Tell whether a constant tensor is kept in integers and made floats of."""
    while node.get_type_name() in _SCALED | {"Convert", "Reshape"}:
        node = node.input_value(0).get_node()
        if node.get_type_name() == "Constant":
            return not node.get_element_type().is_real()
    return False
