"""The structure of an ONNX graph: who makes which tensor, what is constant, what depends on the records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Array
from pmcore_autograd.onnx_files import check_file, looks_like_onnx, tensors

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

SAME_SHAPE = frozenset({"Normalizer", "Scaler", "Imputer", "Binarizer"})
"""Operators of ai.onnx.ml that leave the shape as it is; shape inference does not know them."""
_SMALL = 1024
"""Bytes of a constant that are kept when the weights are dropped: shapes and axes fit, weights do not."""
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
SHAPES = frozenset({"Shape", "Size"})
"""Operators whose output depends on no value of their input."""
_READ_AT: Mapping[str, int] = {
    "Constant": 0,
    **dict.fromkeys(("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Expand", "Flatten", "Transpose"), 1),
    **dict.fromkeys(("Dropout", "Softmax", "LogSoftmax", "Sigmoid", "Exp", "ReduceSum", "ArgMax"), 1),
    **dict.fromkeys(("ConstantOfShape", "DequantizeLinear", "ZipMap", *SAME_SHAPE), 1),
    **dict.fromkeys(("Div", "Sub", "Gather", "ArrayFeatureExtractor"), 2),
}
"""Operators that are looked into -> how many of their inputs; each makes a first output."""


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from: the node that made it, under which name, and the types of the nodes since."""

    node: NodeProto | None
    name: str
    passed: frozenset[str]


@dataclass(frozen=True)
class Graph:
    """The structure of a model, with the look-ups that reading it needs."""

    model: ModelProto

    @cached_property
    def nodes(self) -> tuple[NodeProto, ...]:
        """Return the nodes in order of computation."""
        return tuple(self.model.graph.node)

    @cached_property
    def producers(self) -> Mapping[str, NodeProto]:
        """Return tensor name -> the node that makes it."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def constants(self) -> Mapping[str, TensorProto]:
        """Return tensor name -> its value, for initialisers and Constant nodes."""
        found = {tensor.name: tensor for tensor in self.model.graph.initializer}
        for node in self.nodes:
            value = attribute(node, "value")
            if node.op_type == "Constant" and value is not None and value.HasField("t"):
                found[node.output[0]] = value.t
        return found

    @cached_property
    def live(self) -> frozenset[str]:
        """Return the tensors whose values (not merely whose shapes) depend on the records."""
        found = {value.name for value in self.model.graph.input} - self.constants.keys()
        for node in self.nodes:
            if node.op_type not in SHAPES and any(name in found for name in reads(node)):
                found.update(name for name in node.output if name)
        return frozenset(found)

    def origin(self, name: str, through: frozenset[str]) -> Origin:
        """Step back from a tensor over nodes of these types; what goes round in a circle has no origin."""
        passed: dict[str, str] = {}
        while (node := self.producers.get(name)) is not None and node.op_type in through:
            if name in passed:
                return Origin(None, name, frozenset(passed.values()))
            passed[name] = node.op_type
            name = node.input[1 if node.op_type in ("ArrayFeatureExtractor", "Gather") else 0]
        return Origin(node, name, frozenset(passed.values()))

    def integers(self, name: str) -> Array | None:
        """Return the value of a constant of integers (a shape, axes), or None for anything else."""
        from onnx import TensorProto, numpy_helper

        tensor = self.constants.get(name)
        if tensor is not None and tensor.data_type in (TensorProto.INT64, TensorProto.INT32):
            if tensor.data_location != TensorProto.EXTERNAL and not is_dropped(tensor):
                try:
                    return numpy_helper.to_array(tensor)
                except Exception:  # onnx raises numpy's errors where bytes and shape do not agree
                    return None
            return None
        node = self.producers.get(name)
        if node is not None and node.op_type == "Constant":
            value = attribute(node, "value_ints")
            return None if value is None else np.asarray(value.ints, dtype=np.int64)
        return None


def read_model(path: Path) -> ModelProto:
    """Read a model file; weights in files of their own stay where they are.

    Raises
    ------
    InputError
        The file is missing, damaged or of another kind.
    UntrustedError
        The file is a pickle.
    """
    check_file(path)
    import onnx

    try:
        model: ModelProto = onnx.load(path, format="protobuf", load_external_data=False)
    except (OSError, MemoryError):
        raise
    except Exception:  # protobuf's DecodeError, wherever this version of it keeps it
        with path.open("rb") as file:
            ours = looks_like_onnx(file.read(16))
        if ours:
            raise InputError(f"{path}: is a damaged or truncated ONNX model; copy or export it again") from None
        raise InputError(f"{path}: is not an ONNX model; name a file that an ONNX exporter wrote") from None
    if not all(isinstance(name, str) for name in _names(model)):
        raise InputError(f"{path}: is a damaged ONNX model (names that are no text); copy or export it again")
    if not model.graph.node or not model.graph.output:
        raise InputError(
            f"{path}: holds no graph with nodes and outputs, so it is truncated or no ONNX model; "
            "copy or export it again"
        )
    torn = next(filter(_is_torn, model.graph.node), None)
    if torn is not None:
        raise InputError(
            f"{path}: is a damaged ONNX model (a node {torn.op_type!r} lacks inputs or outputs); "
            "copy or export it again"
        )
    return model


def drop_weights(model: ModelProto) -> None:
    """Empty the large constants of a model in place: their types and shapes stay, the memory goes."""
    for tensor in tensors(model):
        if len(tensor.raw_data) > _SMALL:
            tensor.ClearField("raw_data")
        for field in _TYPED:
            if len(getattr(tensor, field)) > _SMALL:
                tensor.ClearField(field)


def is_dropped(tensor: TensorProto) -> bool:
    """Tell whether a constant's value has been dropped (or is empty)."""
    return not any(len(getattr(tensor, field)) for field in ("raw_data", *_TYPED))


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """Return an attribute of a node, or None."""
    return next((found for found in node.attribute if found.name == name), None)


def reads(node: NodeProto) -> Iterator[str]:
    """Yield the names of the tensors that a node reads, those that its sub-graphs capture too."""
    yield from (name for name in node.input if name)
    for found in node.attribute:
        if found.HasField("g"):
            yield from _read_inside(found.g)
        for inner in found.graphs:
            yield from _read_inside(inner)


def _is_torn(node: NodeProto) -> bool:
    """Tell whether a node lacks a tensor that is read here, so that nothing else need ask."""
    least = _READ_AT.get(node.op_type)
    if least is None:
        return False
    return len(node.input) < least or not all(node.input[:least]) or not any(node.output[:1])


def _names(model: ModelProto) -> Iterator[object]:
    """Yield every name that is read here; protobuf hands out as bytes what is no text."""
    graph = model.graph
    yield from (model.producer_name, model.producer_version)
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (part for entry in model.metadata_props for part in (entry.key, entry.value))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (found.name for found in node.attribute)


def _read_inside(graph: GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from reads(node)
    yield from (value.name for value in graph.output)
