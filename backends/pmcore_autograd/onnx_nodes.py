"""Nodes of an ONNX file as nodes of the neutral graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.known import refuse_unknown
from pmcore_autograd.onnx_values import attributes_of, constant_of, tensor_value
from pmcore_autograd.operators.openvino_branches import Branch
from pmcore_autograd.ordering import ordered
from pmcore_autograd.slots import slots_of
from pmcore_autograd.tensors import is_real
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto


def versions_of(model: ModelProto) -> Mapping[str, int]:
    """Return dialect -> version of its operators."""
    return {dialect_of(entry.domain): entry.version for entry in model.opset_import}


def dialect_of(domain: str) -> str:
    """Return the dialect of a domain."""
    return "onnx" if domain in ("", "ai.onnx") else domain


def is_constant(node: NodeProto) -> bool:
    """Tell whether a node only holds a value."""
    return node.op_type == "Constant" and dialect_of(node.domain) == "onnx"


def bare_node(node: NodeProto, versions: Mapping[str, int]) -> Node:
    """Return a node without its attributes."""
    dialect = dialect_of(node.domain)
    return Node(node.op_type, tuple(node.input), tuple(node.output), {}, node.name, dialect, versions.get(dialect, 0))


def choice(proto: NodeProto, versions: Mapping[str, int], path: Path) -> Node:
    """Return an If node with both of its graphs; what they read from around them becomes inputs.

    Raises
    ------
    Unsupported
        A graph holds what is not known here, or weights.
    """
    graphs = {found.name.removesuffix("_branch"): found.g for found in proto.attribute if found.HasField("g")}
    parts = {name: _part(graph, versions, path) for name, graph in graphs.items()}
    captured = tuple(dict.fromkeys(name for part in parts.values() for name in part.inputs))
    branches = {
        name: Branch(part, tuple(1 + captured.index(outer) for outer in part.inputs)) for name, part in parts.items()
    }
    # the operator that chooses is the same for both formats; the graphs inside stay what they are
    inputs, outputs = (*proto.input[:1], *captured), tuple(proto.output)
    return Node("If", inputs, outputs, branches, proto.name, "openvino")


def _part(graph: GraphProto, versions: Mapping[str, int], path: Path) -> Graph:
    constants = {tensor.name: tensor_value(tensor, path) for tensor in graph.initializer}
    nodes = []
    for proto in graph.node:
        if is_constant(proto):
            value = constant_of(proto, path)
            if value is None:
                raise Unsupported(f"{path}: a constant of '{graph.name}' is no number - no gradients of this file")
            constants[proto.output[0]] = value
        elif proto.op_type == "If" and dialect_of(proto.domain) == "onnx":
            nodes.append(choice(proto, versions, path))
        else:
            node = bare_node(proto, versions)
            refuse_unknown([node], str(path))
            nodes.append(replace(node, attributes=attributes_of(proto, path)))
    made = {name for node in nodes for name in node.outputs}
    wanted = tuple(value.name for value in graph.output)
    read = [name for node in nodes for name in node.inputs if name]
    captured = tuple(dict.fromkeys(name for name in (*read, *wanted) if name not in made and name not in constants))
    for node in nodes:
        entering = slots_of(node.dialect).entering.get(node.kind, {})
        inside = [node.inputs[place] for place, slot in entering.items() if place < len(node.inputs)]
        if any(is_real(constants[name]) and constants[name].size > 1 for name in inside if name in constants):
            raise Unsupported(f"{path}: {node.title} has weights inside of a branch - no gradients of this file")
    kept = ordered(nodes, {*constants, *captured}, wanted, str(path))
    return Graph(kept, constants, captured, wanted)
