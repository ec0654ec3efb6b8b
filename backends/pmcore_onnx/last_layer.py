"""The linear layer that the predictions of a graph leave: found by walking back from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from pmcore.last_layer import WITH_TORCH, LastLayer, not_linear
from pmcore_onnx.graph import Graph, attribute
from pmcore_onnx.operands import Operand, find_operand, kind_of, number, times_read

if TYPE_CHECKING:
    from onnx import NodeProto

_FLOATS = frozenset({1, 10, 11, 16})
_SHAPING = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_ADDS = frozenset({"Add", "Sub"})
_SCALES = frozenset({"Mul", "Div"})
_FUSED = "com.microsoft.FusedMatMul"
_LONGEST = 64
"""Nodes between the layer and the predictions."""
_SCALED = f"the predictions are scaled by a constant that is not 1; {WITH_TORCH}"
_TIED = f"the weights of the last linear layer are used elsewhere in the model too; {WITH_TORCH}"


@dataclass(frozen=True)
class _Linear:
    """A linear layer as one node has it.

    Parameters
    ----------
    given : what enters it
    weights : the constants of the file that it reads
    after : axes that follow the one of the classes in its output
    """

    given: str
    features: int
    columns: int
    bias: bool
    weights: tuple[str, ...] = ()
    after: int = 0


def find_last_layer(graph: Graph, tensor: str, raw: str | None = None) -> LastLayer | str:
    """Walk back from the tensor that is read as predictions to the linear layer that made it.

    Parameters
    ----------
    tensor : its name in the file
    raw : the scores of a classifier, where they are read before its transform

    Returns
    -------
    LastLayer or str
        What was found, or in one phrase why the layer's gradient has no closed form.
    """
    name, node = tensor, None
    passed: list[NodeProto] = []
    for _ in range(_LONGEST):
        node = graph.producers.get(name)
        before = _passed_by(graph, node) if node is not None else None
        if node is None or before is None:
            break
        passed.append(node)
        name = before
    if node is None or name not in graph.live or len(passed) == _LONGEST:
        return f"the predictions are no output of a linear layer; {WITH_TORCH}"
    layer = _linear(graph, node, name, raw)
    if isinstance(layer, str):
        return layer
    if passed and kind_of(passed[-1]) == "ArrayFeatureExtractor":
        if len(passed) > 1 or node.op_type != "LinearClassifier":
            return not_linear("ArrayFeatureExtractor")
        return LastLayer(layer.given, None, layer.features, 1, layer.bias)
    whole = _with_biases(graph, layer, passed[::-1])
    if isinstance(whole, str):
        return whole
    if any(times_read(graph, source, tensor) > 1 for source in whole.weights):
        return _TIED
    return LastLayer(whole.given, name if passed else None, whole.features, whole.columns, whole.bias)


def _passed_by(graph: Graph, node: NodeProto) -> str | None:
    """Return what a node passes on with at most a constant added, or None if it does more."""
    kind = kind_of(node)
    if not node.input or node.input[0] == "":
        return None
    first = str(node.input[0])
    if kind in _SHAPING or (kind == "Cast" and _casts_to_floats(node)):
        return first
    if kind == "Transpose":
        order = attribute(node, "perm")
        return first if order is not None and list(order.ints[:1]) == [0] else None
    if kind == "Dropout":
        return first if not any(node.input[2:]) else None
    if kind == "ArrayFeatureExtractor" and len(node.input) == 2:
        place = graph.constants.get(node.input[1])
        return first if place is not None and prod(place.dims) == 1 else None
    if kind not in _ADDS | _SCALES or len(node.input) != 2:
        return None
    left, right = (str(name) for name in node.input)
    if right in graph.live:
        if left in graph.live or kind in ("Sub", "Div"):
            return None
        left, right = right, left
    return left if kind in _ADDS or number(graph, right) == 1.0 else None


def _casts_to_floats(node: NodeProto) -> bool:
    target = attribute(node, "to")
    return target is not None and target.i in _FLOATS


def _linear(graph: Graph, node: NodeProto, output: str, raw: str | None) -> _Linear | str:
    """Return the linear layer that a node is, or why it is none."""
    kind = kind_of(node)
    if kind in _SCALES and any(name not in graph.live for name in node.input[kind == "Div" :]):
        return _SCALED
    if node.domain == "ai.onnx.ml":
        return _coefficients(node, output, raw)
    if kind not in ("Gemm", "MatMul", "Conv", _FUSED) or len(node.input) < 2 or output != node.output[0]:
        return not_linear(kind)
    if node.input[1] in graph.live:
        if node.input[0] in graph.live:
            return f"the predictions come from {kind} of two tensors that both depend on the records; {WITH_TORCH}"
        return f"the weight of the last linear layer stands on the left of its input; {WITH_TORCH}"
    weight = find_operand(graph, node.input[1])
    if isinstance(weight, str):
        return f"the weight of the last linear layer {weight}; {WITH_TORCH}"
    layer = _convolution(node, weight) if kind == "Conv" else _product(node, weight)
    if isinstance(layer, str) or len(node.input) < 3 or not node.input[2]:
        return layer
    added = _added(graph, node.input[2], layer.columns, 0)
    return added if isinstance(added, str) else _joined(layer, added)


def _product(node: NodeProto, weight: Operand) -> _Linear | str:
    """Return the layer that Gemm or MatMul is."""
    turned = {name: _integer(node, name) for name in ("transA", "transB", "transBatchA", "transBatchB")}
    factors = [found.f for found in node.attribute if found.name in ("alpha", "beta")]
    if any(factor != 1.0 for factor in factors):
        return _SCALED
    if turned.pop("transB"):
        weight = replace(weight, shape=weight.shape[::-1])
    if any(turned.values()) or len(weight.shape) not in (1, 2):
        return f"the predictions come from {node.op_type} of turned or stacked matrices; {WITH_TORCH}"
    return _Linear(node.input[0], weight.shape[0], prod(weight.shape[1:]), False, (weight.source,))


def _convolution(node: NodeProto, weight: Operand) -> _Linear | str:
    """Return the layer that a convolution is which sees each of its inputs once."""
    kernel = weight.shape[2:]
    plain = all(size == 1 for size in kernel)
    mode = attribute(node, "auto_pad")
    padded = any(_integers(node, "pads")) or (mode is not None and mode.s not in (b"NOTSET", b"VALID") and not plain)
    spread = any(step != 1 for step in _integers(node, "dilations")) and not plain
    if _integer(node, "group", 1) != 1 or padded or spread or len(weight.shape) < 3:
        return f"the predictions come from a convolution with groups, padding or dilation; {WITH_TORCH}"
    columns, features = weight.shape[0], prod(weight.shape[1:])
    return _Linear(node.input[0], features, columns, False, (weight.source,), after=len(kernel))


def _coefficients(node: NodeProto, output: str, raw: str | None) -> _Linear | str:
    """Return the layer that a linear model of scikit-learn is, whose weights are attributes.

    Its exporter always writes intercepts: nothing but noughts stand for none.
    """
    regressor = node.op_type == "LinearRegressor"
    scores = node.output[0 if regressor else 1 : 1 if regressor else 2]
    if node.op_type not in ("LinearRegressor", "LinearClassifier") or output not in scores or not node.input:
        return not_linear(node.op_type)
    transform = attribute(node, "post_transform")
    if transform is not None and transform.s not in (b"", b"NONE") and output != raw:
        return f"the predictions are read after the transform of {node.op_type}; {WITH_TORCH}"
    weights, biases = attribute(node, "coefficients"), attribute(node, "intercepts")
    offsets = list(biases.floats) if biases is not None else []
    if regressor:
        columns = _integer(node, "targets", 1)
    else:
        labels = (attribute(node, name) for name in ("classlabels_ints", "classlabels_strings"))
        columns = len(offsets) or sum(len(found.ints) or len(found.strings) for found in labels if found is not None)
    count = len(weights.floats) if weights is not None else 0
    if columns < 1 or count < 1 or count % columns:
        return f"the coefficients of the {node.op_type} do not fit its columns; {WITH_TORCH}"
    return _Linear(node.input[0], count // columns, columns, any(offsets))


def _with_biases(graph: Graph, layer: _Linear, following: Sequence[NodeProto]) -> _Linear | str:
    """Return a layer with the constants that are added to its output further on."""
    after: int | None = layer.after
    for node in following:
        kind = kind_of(node)
        if kind in _ADDS:
            name = next(name for name in node.input if name not in graph.live)
            added = _added(graph, name, layer.columns, after)
            if isinstance(added, str):
                return added
            layer = _joined(layer, added)
        elif kind == "Flatten":
            after = 0
        elif kind in _SHAPING | {"Transpose"} and kind != "Identity":
            after = None
    return layer


def _joined(layer: _Linear, added: Operand | None) -> _Linear:
    return layer if added is None else replace(layer, bias=True, weights=(*layer.weights, added.source))


def _added(graph: Graph, name: str, columns: int, after: int | None) -> Operand | str | None:
    """Return the bias that a constant is, None for a number that is no parameter, or why it is neither.

    Parameters
    ----------
    after : axes that follow the one of the classes where it is added; None where that is the last or not known
    """
    if name in graph.live:
        return f"what the last linear layer adds depends on the records; {WITH_TORCH}"
    found = find_operand(graph, name)
    if isinstance(found, str):
        return f"the bias of the last linear layer {found}; {WITH_TORCH}"
    if prod(found.shape) == 1 and (columns > 1 or not found.shape):
        return None
    place = len(found.shape) - 1 - (after or 0)
    if prod(found.shape) != columns or (columns > 1 and (place < 0 or found.shape[place] != columns)):
        shown = ",".join(map(str, found.shape))
        return f"a constant of shape [{shown}] is added, not one number for each of {columns} columns; {WITH_TORCH}"
    return found


def _integer(node: NodeProto, name: str, default: int = 0) -> int:
    found = attribute(node, name)
    return default if found is None else int(found.i)


def _integers(node: NodeProto, name: str) -> Sequence[int]:
    found = attribute(node, name)
    return () if found is None else list(found.ints)
