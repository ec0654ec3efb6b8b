"""ONNX files read into the neutral graph: functions written out, constants apart, the rest in order of computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.errors import InputError
from pmcore.interfaces import Array
from pmcore.quoting import quoted
from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.known import refuse_unknown
from pmcore_autograd.onnx_files import open_model
from pmcore_autograd.onnx_inlining import inlined
from pmcore_autograd.onnx_linear import Rewritten, is_linear, rewrite
from pmcore_autograd.onnx_nodes import bare_node, choice, dialect_of, is_constant, versions_of
from pmcore_autograd.onnx_values import attributes_of, constant_of, dense_value, tensor_value
from pmcore_autograd.ordering import ordered
from pmcore_autograd.telling import naming
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

_FLOATS = frozenset({1, 10, 11, 16})
_NO_LIMIT = 1024
"""Bytes of a constant that stay in what is handed to onnx: shapes and axes fit, weights do not."""


def read_graph(path: Path, outputs: Sequence[str] | None = None) -> Graph:
    """Read what some tensors of a model are computed by.

    Parameters
    ----------
    path : the .onnx file; external weights stand in its folder or below it
    outputs : names of tensors, hidden ones too, and scores of a linear classifier under the name of its output with
        "_before_transform" behind it; None for those outputs of the file that are real numbers

    Raises
    ------
    InputError, UntrustedError
        The file is missing, damaged, foreign or not to be trusted, or has no such tensor.
    ModelError
        The graph goes round in a circle, or reads what nobody makes.
    Unsupported
        An operator is not known here, such as trees and control flow; all kinds of them are named.
    """
    original = open_model(path)
    model = inlined(structure_of(original), path) if original.functions else original
    versions = versions_of(model)
    protos = [node for node in model.graph.node if not is_constant(node)]
    nodes = [_node(node, versions, path) for node in protos]
    unsaid = next((node for node in nodes if node.dialect in ("onnx", "ai.onnx.ml") and not node.version), None)
    if unsaid is not None:
        raise InputError(f"{path}: does not say by which version of ONNX it means {unsaid.title}; export it again")
    attributed = _Attributes(protos, nodes, path)
    linear = Rewritten()
    plain: list[Node] = []
    wanted = _wanted(model, nodes, outputs, path)
    for place, node in enumerate(nodes):
        if is_linear(node):
            with naming(path):
                rewrite(replace(node, attributes=attributes_of(protos[place], path)), linear)
        else:
            plain.append(node)
    held = {tensor.name: tensor for tensor in original.graph.initializer}
    sparse = {tensor.values.name: tensor for tensor in original.graph.sparse_initializer}
    small = {node.output[0]: node for node in model.graph.node if is_constant(node)}
    fed = {value.name: value for value in model.graph.input if value.name not in held}
    given = {*held, *sparse, *small, *linear.constants, *fed}
    kept = ordered([*plain, *linear.nodes], given, wanted, str(path))
    refuse_unknown(kept, str(path))
    kept = tuple(attributed.of(node) for node in kept)
    refuse_unknown(kept, str(path))
    needed = {name for node in kept for name in node.inputs} | set(wanted)
    constants: dict[str, Array] = {}
    for name in needed:
        if name in held:
            constants[name] = tensor_value(held[name], path)
        elif name in sparse:
            constants[name] = dense_value(sparse[name], path)
        elif name in linear.constants:
            constants[name] = linear.constants[name]
        elif name in small:
            constants[name] = _constant(small[name], path)
    inputs = {name: _type(value) for name, value in fed.items() if name in needed or _type(value)}
    unread = next((name for name, kind in inputs.items() if not kind), None)
    if unread is not None:
        raise Unsupported(f"{path}: the input {quoted(unread)} is no tensor of numbers - no gradients of this file")
    shapes = {value.name: _shape(value) for value in (*model.graph.input, *model.graph.output)}
    layers = {**_layers(original, kept), **linear.layers}
    return Graph(kept, constants, tuple(inputs), tuple(wanted), inputs, shapes, layers)


def structure_of(model: ModelProto) -> ModelProto:
    """Return a copy of a model without its weights; what is as small as a shape stays."""
    from onnx import ModelProto as Proto

    copy = Proto(ir_version=model.ir_version, producer_name=model.producer_name)
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    copy.graph.name = model.graph.name
    for part in ("node", "input", "output"):
        getattr(copy.graph, part).extend(getattr(model.graph, part))
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= _NO_LIMIT:
            copy.graph.initializer.add().CopyFrom(tensor)
        else:
            copy.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return copy


class _Attributes:
    """The attributes of nodes, read where they are asked for."""

    def __init__(self, protos: Sequence[NodeProto], nodes: Sequence[Node], path: Path) -> None:
        self._protos = {id(node): proto for node, proto in zip(nodes, protos, strict=True)}
        self._path = path

    def of(self, node: Node) -> Node:
        """Return a node with its attributes."""
        proto = self._protos.get(id(node))
        return node if proto is None or node.attributes else replace(node, attributes=attributes_of(proto, self._path))


def _node(node: NodeProto, versions: Mapping[str, int], path: Path) -> Node:
    """Return a node without its attributes, but for a choice between graphs that can be made here."""
    if node.op_type == "If" and dialect_of(node.domain) == "onnx":
        with suppress(Unsupported):  # and is told of as an If, should the graph need it
            return choice(node, versions, path)
    return bare_node(node, versions)


def _wanted(model: ModelProto, nodes: Sequence[Node], outputs: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    """Return the names of the tensors to be computed; a list of dictionaries is read before it becomes one."""
    zipped = [node for node in nodes if node.kind == "ZipMap" and node.outputs]
    torn = next((node for node in zipped if not node.inputs), None)
    if torn is not None:
        raise InputError(f"{path}: is damaged ({torn.title} lacks inputs); copy or export it again")
    behind = {node.outputs[0]: node.inputs[0] for node in zipped}
    declared = {value.name: value for value in model.graph.output}
    if outputs is None:
        found = [behind.get(name, name) for name, value in declared.items() if name in behind or _is_real(value)]
        if not found:
            raise InputError(f"{path}: returns no real numbers, such as scores; name a tensor that does")
        return tuple(dict.fromkeys(found))
    known = {name for node in nodes for name in node.outputs} | declared.keys()
    known |= {value.name for value in model.graph.input}
    known |= {f"{name}_before_transform" for node in nodes if is_linear(node) for name in node.outputs[1:2]}
    for name in outputs:
        if name not in known:
            raise InputError(f"{path}: has no tensor {quoted(name)}; name an output or a layer that it has")
    return tuple(behind.get(name, name) for name in outputs)


def _is_real(value: ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is None or (kind == "tensor_type" and value.type.tensor_type.elem_type in _FLOATS)


def _constant(node: NodeProto, path: Path) -> Array:
    value = constant_of(node, path)
    if value is None:
        raise Unsupported(f"{path}: the constant {quoted(node.output[0])} is no number - no gradients of this file")
    return value


def _type(value: ValueInfoProto) -> str:
    """Return the numpy type of an input, or "" where it is no tensor of numbers."""
    from onnx import TensorProto, helper

    number = value.type.tensor_type.elem_type
    if number in (TensorProto.UNDEFINED, TensorProto.STRING):
        return ""
    try:
        return str(helper.tensor_dtype_to_np_dtype(number).name)
    except KeyError:
        return ""


def _shape(value: ValueInfoProto) -> tuple[int | str | None, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in value.type.tensor_type.shape.dim
    )


def _layers(original: ModelProto, nodes: Sequence[Node]) -> Mapping[str, str]:
    """Return the tensors that a function makes inside -> the layer of the file that calls it."""
    if not original.functions:
        return {}
    first = {name: next(filter(None, node.output)) for node in original.graph.node for name in node.output if name}
    readers: dict[str, Node] = {}
    for node in reversed(nodes):
        readers.update((name, node) for name in node.inputs)
    found: dict[str, str] = {}
    for node in reversed(nodes):
        made = list(filter(None, node.outputs))
        layer = next((first[name] for name in made if name in first), None)
        if layer is None:
            behind = next((readers[name] for name in made if name in readers), None)
            layer = found.get(behind.outputs[0]) if behind is not None else None
        if layer is not None:
            found.update(dict.fromkeys(made, layer))
    return found
