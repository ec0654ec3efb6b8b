"""The layers of a model: every operation on the records, with its output's shape and its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

from pmcore.intake import Shape
from pmcore.interfaces import Layer
from pmcore.layers import LayerTable
from pmcore_openvino.graph import STRUCTURE, Graph, key_of, shape_of

_SLOTS = frozenset(
    {"MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"}
    | {"BatchNormInference", "Gather", "LSTMSequence", "GRUSequence", "RNNSequence", "GroupNormalization"}
)
_PRODUCTS = frozenset(kind for kind in _SLOTS if kind == "MatMul" or "Convolution" in kind)
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
    A bias that is added to a product by itself counts with the product: the sum has no parameters then.
    """
    products = _products_of_biases(graph)
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
        product = products.get(tensor.name)
        parameters = sum(_parameters(graph, node, counted, product is not None))
        if product in made:
            place = made.index(product)
            layers[place] = replace(layers[place], parameters=layers[place].parameters + parameters)
            parameters = 0
        layers.append(Layer(len(layers), name, kind, tensor.shape, parameters))
        made.append(tensor.name)
    return LayerTable(tuple(layers), tuple(made))


def _products_of_biases(graph: Graph) -> dict[str, str]:
    """Return what a sum makes -> what the product makes that it adds a bias to.

    A bias is one number for each output of a product with weights, and nobody else reads what the product makes.
    """
    readers = Counter(
        key_of(value) for node in graph.nodes if node.get_type_name() != "Result" for value in node.input_values()
    )
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.get_type_name() != "Add":
            continue
        for product, bias in (node.input_values(), reversed(node.input_values())):
            axis = _axis(graph, product.get_node())
            size, given = shape_of(product.get_partial_shape()), shape_of(bias.get_partial_shape())
            if axis is None or bias.get_node().get_name() in graph.live or readers[key_of(product)] != 1:
                continue
            if size is not None and given is not None and _spans(given, axis, size):
                found[graph.made_by(node.output(0)).name] = graph.made_by(product).name
    return found


def _axis(graph: Graph, node: Any) -> int | None:
    """Return the axis of a product's outputs, counted from the end, or None where it has no weights."""
    kind = node.get_type_name()
    if kind not in _PRODUCTS or node.get_name() not in graph.live:
        return None
    if node.input_value(1).get_node().get_name() in graph.live:
        return None
    shape = shape_of(node.get_output_partial_shape(0))
    return -1 if kind == "MatMul" else None if shape is None else 1 - len(shape)


def _spans(shape: Shape, axis: int, made: Shape) -> bool:
    """Tell whether a constant has one number for each place along an axis of what is made, and no other axis."""
    if min(len(shape), len(made)) < -axis or made[axis] is None or shape[axis] != made[axis]:
        return False
    return all(other == 1 for place, other in enumerate(shape) if place != len(shape) + axis)


def _parameters(graph: Graph, node: Any, counted: set[str], bias: bool) -> Iterator[int]:
    kind = node.get_type_name()
    if kind in _NO_PARAMETERS:
        return
    for slot, value in enumerate(node.input_values()):
        if value.get_node().get_name() in graph.live or slot in _BUFFERS.get(kind, ()):
            continue
        for source in _sources(value.get_node()):
            size = prod(source.get_output_shape(0))
            alone = bias or (kind in _SLOTS and slot not in _STATES.get(kind, ()))
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
