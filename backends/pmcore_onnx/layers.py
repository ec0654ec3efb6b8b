"""The layers of a graph: every operation on the records, with its output's shape and its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING

from pmcore.interfaces import Layer
from pmcore.layers import LayerTable
from pmcore_onnx.biases import products_of_biases
from pmcore_onnx.graph import SAME_SHAPE, Graph, attribute

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

_FLOATS = frozenset({1, 10, 11, 16})
_SLOTS = frozenset(
    {"Gemm", "MatMul", "Conv", "ConvTranspose", "BatchNormalization", "LayerNormalization", "Gather"}
    | {"InstanceNormalization", "GroupNormalization", "LSTM", "GRU", "RNN", "Scaler", "FusedMatMul"}
)
_NO_PARAMETERS = frozenset({"Resize", "Upsample", "Pad", "Clip", "Pow", "Where", "Dropout", "Slice", "Tile"})
_BUFFERS = {"BatchNormalization": (3, 4)}
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Slots of the states that recurrent layers start from: mostly a nought, which is no parameter."""
_NUMBERS = frozenset({"coefficients", "intercepts"})
_SOURCELESS = frozenset({"Shape", "Size", "ConstantOfShape", "DequantizeLinear", "Constant"})
_ROUNDS = 4
"""How often shapes are inferred anew, knowing those of ai.onnx.ml."""


def read_layers(graph: Graph) -> LayerTable:
    """List the operations that depend on the records.

    A parameter is an element of a float constant that enters an operation, directly or through operations
    on constants alone; a shared one is counted where it is first used. Running means and variances are none.
    A bias that is added to a product by itself counts with the product: the sum has no parameters then.
    """
    shapes = _shapes(graph)
    counted = _Counted()
    names: set[str] = set()
    layers: list[Layer] = []
    made: list[str] = []
    products = products_of_biases(graph, shapes)
    for node in graph.nodes:
        output = next((name for name in node.output if name), "")
        if output not in graph.live or node.op_type == "ZipMap":
            continue
        name = node.name if node.name and node.name not in names else output
        names.add(name)
        product = products.get(output)
        parameters = sum(_parameters(graph, node, counted, product is not None))
        if product in made:
            place = made.index(product)
            layers[place] = replace(layers[place], parameters=layers[place].parameters + parameters)
            parameters = 0
        layers.append(Layer(len(layers), name, node.op_type, shapes.get(output), parameters))
        made.append(output)
    return LayerTable(tuple(layers), tuple(made))


def shape_of(value: ValueInfoProto) -> tuple[int | str | None, ...] | None:
    """Return the declared shape of a tensor, or None if it has none."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else None if _invented(dim.dim_param) else dim.dim_param
        for dim in value.type.tensor_type.shape.dim
    )


def precision_of(graph: Graph) -> str:
    """Return the precision that most of a model's weights are kept in, such as "float16" or "int8 (QDQ)"."""
    kinds = {node.op_type for node in graph.nodes}
    if "DequantizeLinear" in kinds:
        return "int8 (QDQ)"
    if any(kind.startswith(("QLinear", "MatMulInteger", "ConvInteger", "DynamicQuantize")) for kind in kinds):
        return "int8"
    counts = {"float32": 0, "float16": 0, "float64": 0, "bfloat16": 0}
    types = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
    for tensor in graph.constants.values():
        if tensor.data_type in types:
            counts[types[tensor.data_type]] += prod(tensor.dims)
    if not any(counts.values()):
        declared = [value.type.tensor_type.elem_type for value in graph.model.graph.input]
        return next((types[kind] for kind in declared if kind in types), "float32")
    return max(counts, key=lambda kind: counts[kind])


def _invented(symbol: str) -> bool:
    """Tell whether a dimension has no name, or one that shape inference made up."""
    return not symbol or symbol.startswith("unk__")


def _shapes(graph: Graph) -> dict[str, tuple[int | str | None, ...] | None]:
    from onnx import shape_inference

    model = graph.model
    try:
        # without data propagation: on damaged graphs it was seen to fill all memory
        for _ in range(_ROUNDS):
            model = shape_inference.infer_shapes(model)
            if not _carry_shapes(model):
                break
    except Exception:  # shapes are a courtesy: onnx raises its own kinds on what only the runtime understands
        pass
    return {name: shape_of(value) for name, value in _values(model).items()}


def _carry_shapes(model: ModelProto) -> bool:
    """Give the outputs of nodes that keep shapes those of their inputs, in place; tell whether any was missing."""
    known = _values(model)
    carried = False
    for node in model.graph.node:
        if node.op_type in SAME_SHAPE and node.output[0] not in known and node.input[0] in known:
            value = model.graph.value_info.add()
            value.CopyFrom(known[node.input[0]])
            value.name = node.output[0]
            value.type.tensor_type.elem_type = 1
            known[value.name] = value
            carried = True
    return carried


def _values(model: ModelProto) -> dict[str, ValueInfoProto]:
    return {value.name: value for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}


@dataclass(frozen=True)
class _Counted:
    """What has been counted, and which constant tensors have been walked back from.

    `all_of` holds those whose every source counts, `wide_of` those of which numbers alone do not.
    """

    sources: set[str] = field(default_factory=set)
    all_of: set[str] = field(default_factory=set)
    wide_of: set[str] = field(default_factory=set)


def _parameters(graph: Graph, node: NodeProto, counted: _Counted, bias: bool) -> Iterator[int]:
    if node.op_type in _NO_PARAMETERS:
        return
    for slot, name in enumerate(node.input):
        alone = bias or (node.op_type in _SLOTS and slot not in _STATES.get(node.op_type, ()))
        walked = counted.all_of if alone else counted.wide_of
        if name and name not in graph.live and slot not in _BUFFERS.get(node.op_type, ()):
            for source in _sources(graph, name, walked):
                if source.name not in counted.sources and (source.size > 1 or alone):
                    counted.sources.add(source.name)
                    yield source.size
    if node.domain == "ai.onnx.ml":
        yield sum(len(found.floats) for found in node.attribute if found.name in _NUMBERS)


@dataclass(frozen=True)
class _Source:
    """A float constant and its number of elements."""

    name: str
    size: int


def _sources(graph: Graph, name: str, walked: set[str]) -> Iterator[_Source]:
    """Yield the float constants that a constant tensor is made of, but for what is reached from `walked`."""
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in walked:
            continue
        walked.add(name)
        node = graph.producers.get(name)
        source = _source(graph, name)
        if source is not None:
            yield source
        elif node is not None and name not in graph.constants and node.op_type not in _SOURCELESS:
            waiting.extend(inner for inner in reversed(node.input) if inner)


def _source(graph: Graph, name: str) -> _Source | None:
    tensor, node = graph.constants.get(name), graph.producers.get(name)
    if tensor is not None:
        return _Source(name, prod(tensor.dims)) if tensor.data_type in _FLOATS else None
    if node is None:
        return None
    if node.op_type == "ConstantOfShape":
        value, shape = attribute(node, "value"), graph.integers(node.input[0])
        if shape is not None and (value is None or value.t.data_type in _FLOATS):
            return _Source(name, prod(int(size) for size in shape.flat))
    elif node.op_type == "DequantizeLinear":
        weight = graph.constants.get(node.input[0])
        return None if weight is None else _Source(node.input[0], prod(weight.dims))
    elif node.op_type == "Constant":
        floats = attribute(node, "value_floats")
        return None if floats is None else _Source(name, len(floats.floats))
    return None
