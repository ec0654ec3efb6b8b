"""The layers of a graph: every operation on the records, with its output's shape and its parameters."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.errors import InputError
from pmcore.interfaces import Layer
from pmcore_onnx.graph import Graph, attribute

if TYPE_CHECKING:
    from onnx import NodeProto, ValueInfoProto

_FLOATS = frozenset({1, 10, 11, 16})
_SLOTS = frozenset(
    {"Gemm", "MatMul", "Conv", "ConvTranspose", "BatchNormalization", "LayerNormalization", "Gather"}
    | {"InstanceNormalization", "GroupNormalization", "LSTM", "GRU", "RNN", "Scaler", "FusedMatMul"}
)
_NO_PARAMETERS = frozenset({"Resize", "Upsample", "Pad", "Clip", "Pow", "Where", "Dropout", "Slice", "Tile"})
_BUFFERS = {"BatchNormalization": (3, 4)}
_NUMBERS = frozenset({"coefficients", "intercepts"})


@dataclass(frozen=True)
class LayerTable:
    """The layers of a model, and the tensor that each of them makes."""

    layers: tuple[Layer, ...]
    tensors: tuple[str, ...]

    def tensor(self, wanted: str, path: Path) -> str:
        """Return the tensor of a layer that is given by index (also negative) or by name.

        Raises
        ------
        InputError
            There is no such layer.
        """
        names = [layer.name for layer in self.layers]
        if wanted in names:
            return self.tensors[names.index(wanted)]
        if wanted in self.tensors:
            return wanted
        try:
            return self.tensors[int(wanted)]
        except (ValueError, IndexError):
            near = difflib.get_close_matches(wanted, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise InputError(
                f"{path}: has no layer {wanted!r}{hint}; it has layers 0..{len(names) - 1}, listed by: pmcore inspect"
            ) from None


def read_layers(graph: Graph) -> LayerTable:
    """List the operations that depend on the records.

    A parameter is an element of a float constant that enters an operation, directly or through operations
    on constants alone; a shared one is counted where it is first used. Running means and variances are none.
    """
    shapes = _shapes(graph)
    seen: set[str] = set()
    names: set[str] = set()
    layers: list[Layer] = []
    made: list[str] = []
    for node in graph.nodes:
        output = next((name for name in node.output if name), "")
        if output not in graph.live or node.op_type == "ZipMap":
            continue
        name = node.name if node.name and node.name not in names else output
        names.add(name)
        parameters = sum(_parameters(graph, node, seen))
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

    try:
        # without data propagation: on damaged graphs it was seen to fill all memory
        inferred = shape_inference.infer_shapes(graph.model).graph
    except Exception:  # shapes are a courtesy: onnx raises its own kinds on what only the runtime understands
        inferred = graph.model.graph
    values: Iterable[ValueInfoProto] = [*inferred.value_info, *inferred.output]
    return {value.name: shape_of(value) for value in values}


def _parameters(graph: Graph, node: NodeProto, seen: set[str]) -> Iterator[int]:
    if node.op_type in _NO_PARAMETERS:
        return
    for slot, name in enumerate(node.input):
        if name and name not in graph.live and slot not in _BUFFERS.get(node.op_type, ()):
            for source, size in _sources(graph, name):
                if source not in seen and (size > 1 or node.op_type in _SLOTS):
                    seen.add(source)
                    yield size
    if node.domain == "ai.onnx.ml":
        yield sum(len(found.floats) for found in node.attribute if found.name in _NUMBERS)


def _sources(graph: Graph, name: str) -> Iterator[tuple[str, int]]:
    """Yield the float constants that a constant tensor is made of, with their numbers of elements."""
    tensor = graph.constants.get(name)
    if tensor is not None:
        if tensor.data_type in _FLOATS:
            yield name, prod(tensor.dims)
        return
    node = graph.producers.get(name)
    if node is None or node.op_type in ("Shape", "Size"):
        return
    if node.op_type == "ConstantOfShape":
        value = attribute(node, "value")
        shape = graph.integers(node.input[0])
        if shape is not None and (value is None or value.t.data_type in _FLOATS):
            yield name, prod(int(size) for size in shape)
    elif node.op_type == "DequantizeLinear":
        weight = graph.constants.get(node.input[0])
        if weight is not None:
            yield node.input[0], prod(weight.dims)
    elif node.op_type == "Constant":
        value = attribute(node, "value_floats")
        if value is not None:
            yield name, len(value.floats)
    else:
        for inner in _wide(node):
            yield from _sources(graph, inner)


def _wide(node: NodeProto) -> Sequence[str]:
    return [name for name in node.input if name]
