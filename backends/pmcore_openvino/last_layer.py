"""The linear layer that the predictions of a model leave: found by walking back from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from pmcore.last_layer import WITH_TORCH, LastLayer, not_linear
from pmcore_openvino.graph import Graph, Tensor
from pmcore_openvino.operands import Operand, find_operand, number, times_read

_SHAPING = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Identity"})
_ADDS = frozenset({"Add", "Subtract"})
_SCALES = frozenset({"Multiply", "Divide"})
_LONGEST = 64
"""Nodes between the layer and the predictions."""
_SCALED = f"the predictions are scaled by a constant that is not 1; {WITH_TORCH}"
_TIED = f"the weights of the last linear layer are used elsewhere in the model too; {WITH_TORCH}"


@dataclass(frozen=True)
class _Linear:
    """A linear layer as one node has it; `weights` are the constants of the file that it reads."""

    features: int
    columns: int
    bias: bool
    weights: tuple[Any, ...]


def find_last_layer(graph: Graph, name: str) -> LastLayer | str:
    """Walk back from the tensor that is read as predictions to the linear layer that made it.

    Returns
    -------
    LastLayer or str
        What was found, or in one phrase why the layer's gradient has no closed form.
    """
    tensor = graph.tensors[name]
    passed: list[Tensor] = []
    while len(passed) < _LONGEST and (before := _passed_by(graph, tensor)) is not None:
        passed.append(tensor)
        tensor = before
    if tensor.node.get_name() not in graph.live or tensor.kind == "Parameter" or len(passed) == _LONGEST:
        return f"the predictions are no output of a linear layer; {WITH_TORCH}"
    layer = _linear(graph, tensor)
    for node in reversed(passed):
        if isinstance(layer, _Linear) and node.kind in _ADDS:
            layer = _with_bias(graph, layer, node)
    if isinstance(layer, str):
        return layer
    if any(times_read(graph, source, name) > 1 for source in layer.weights):
        return _TIED
    given = graph.read_by(tensor).name
    return LastLayer(given, tensor.name if passed else None, layer.features, layer.columns, layer.bias)


def _passed_by(graph: Graph, tensor: Tensor) -> Tensor | None:
    """Return what the maker of a tensor passes on with at most a constant added, or None if it does more."""
    node, kind = tensor.node, tensor.kind
    if kind in _SHAPING or (kind == "Convert" and tensor.is_real and graph.read_by(tensor).is_real):
        return graph.read_by(tensor)
    if kind == "Transpose":
        order = node.input_value(1).get_node()
        first = order.get_type_name() == "Constant" and list(order.get_vector())[:1] == [0]
        return graph.read_by(tensor) if first else None
    if kind not in _ADDS | _SCALES:
        return None
    side = _live_side(graph, node)
    if side is None or (side == 1 and kind in ("Subtract", "Divide")):
        return None
    return graph.read_by(tensor, side) if kind in _ADDS or number(node.input_value(1 - side)) == 1.0 else None


def _live_side(graph: Graph, node: Any) -> int | None:
    """Return which of two operands depends on the records, None if both do, or neither."""
    left, right = (value.get_node().get_name() in graph.live for value in node.input_values())
    return None if left == right else int(right)


def _linear(graph: Graph, tensor: Tensor) -> _Linear | str:
    """Return the linear layer that the maker of a tensor is, or why it is none."""
    node, kind = tensor.node, tensor.kind
    if kind in _SCALES and _live_side(graph, node) == 0:
        return _SCALED
    if kind not in ("MatMul", "Convolution"):
        return not_linear(kind)
    if (side := _live_side(graph, node)) != 0:
        if side == 1:
            return f"the weight of the last linear layer stands on the left of its input; {WITH_TORCH}"
        return f"the predictions come from {kind} of two tensors that both depend on the records; {WITH_TORCH}"
    weight = find_operand(graph, node.input_value(1))
    if isinstance(weight, str):
        return f"the weight of the last linear layer {weight}; {WITH_TORCH}"
    return _convolution(node, weight) if kind == "Convolution" else _product(node, weight)


def _product(node: Any, weight: Operand) -> _Linear | str:
    attributes = node.get_attributes()
    shape = weight.shape[::-1] if attributes.get("transpose_b") else weight.shape
    if len(shape) not in (1, 2) or attributes.get("transpose_a"):
        return f"the predictions come from MatMul of turned or stacked matrices; {WITH_TORCH}"
    return _Linear(shape[0], prod(shape[1:]), False, (weight.source,))


def _convolution(node: Any, weight: Operand) -> _Linear | str:
    """Return the layer that a convolution is which sees each of its inputs once."""
    attributes = node.get_attributes()
    plain = all(size == 1 for size in weight.shape[2:])
    padded = any(attributes.get("pads_begin", ())) or any(attributes.get("pads_end", ()))
    padded |= str(attributes.get("auto_pad", "explicit")).lower() not in ("explicit", "valid", "notset") and not plain
    spread = any(step != 1 for step in attributes.get("dilations", ())) and not plain
    if padded or spread:
        return f"the predictions come from a convolution with groups, padding or dilation; {WITH_TORCH}"
    return _Linear(prod(weight.shape[1:]), weight.shape[0], False, (weight.source,))


def _with_bias(graph: Graph, layer: _Linear, tensor: Tensor) -> _Linear | str:
    """Return a layer with the constant that the maker of a tensor adds: its bias, or a number that is no parameter."""
    side = _live_side(graph, tensor.node) or 0
    found = find_operand(graph, tensor.node.input_value(1 - side))
    if isinstance(found, str):
        return f"the bias of the last linear layer {found}; {WITH_TORCH}"
    if prod(found.shape) == 1 and (layer.columns > 1 or not found.shape):
        return layer
    if not _fits(found.shape, graph.read_by(tensor, side).shape, layer.columns):
        shown = ",".join(map(str, found.shape))
        return (
            f"a constant of shape [{shown}] is added, not one number for each of {layer.columns} columns; {WITH_TORCH}"
        )
    return replace(layer, bias=True, weights=(*layer.weights, found.source))


def _fits(added: Sequence[int], data: Sequence[int | str | None] | None, columns: int) -> bool:
    """Tell whether a constant holds one number for each column of a tensor of rows."""
    if prod(added) != columns:
        return False
    place = next((axis - len(added) for axis, size in enumerate(added) if size == columns), -1)
    if data is None:
        return place == -1
    return columns == 1 or (-len(data) + (len(data) > 1) <= place and data[place] == columns)
