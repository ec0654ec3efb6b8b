"""OpenVINO models read into the neutral graph, from IR files or from what the openvino backend compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pmcore.errors import InputError
from pmcore.interfaces import Array
from pmcore.quoting import quoted
from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.known import refuse_unknown
from pmcore_autograd.openvino_constants import constant_value
from pmcore_autograd.openvino_files import open_model
from pmcore_autograd.openvino_names import Key, Names, key_of, name_tensors
from pmcore_autograd.openvino_nodes import attributes_of, kind_of, read_places, version_of
from pmcore_autograd.operators.openvino_branches import Branch
from pmcore_autograd.unsupported import Unsupported

_TYPES: Mapping[str, str] = {
    "boolean": "bool",
    "bf16": "float32",
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    "u8": "uint8",
    "u16": "int32",  # torch only stores the wider unsigned ones
    "u32": "int64",
    "u64": "int64",
}
_SHOWN = 12
_DEEPEST = 8
"""How deep graphs may stand in nodes of each other."""


def read_graph(source: Any, outputs: Sequence[str] | None = None) -> Graph:
    """Read what some tensors of a model are computed by; the model is not changed.

    Parameters
    ----------
    source : path of an .xml file, or an ``openvino.Model``, whose weights are then shared
    outputs : names of tensors, hidden ones too, by any name that the file gives them; None for those outputs of the
        model that are real numbers

    Raises
    ------
    InputError, UntrustedError
        The file is missing, damaged, foreign or not to be trusted, or has no such tensor.
    ModelError
        OpenVINO does not take the file.
    Unsupported
        An operator is not known here, such as loops and what keeps state; all kinds of them are named.
    """
    if isinstance(source, Path):
        return _read(open_model(source), outputs, str(source), 0)
    return _read(source, outputs, "Model in memory", 0)


def _read(model: Any, outputs: Sequence[str] | None, where: str, depth: int) -> Graph:
    names = name_tensors(model)
    wanted = _wanted(model, names, outputs, where) if not depth else _returned(model, names)
    needed = _needed(model, {key for key, name in names.made.items() if name in wanted})
    read = {key_of(value) for node in needed for value in node.input_values()}
    constants: dict[str, Array] = {}
    nodes: list[Node] = []
    for node in needed:
        kind = str(node.get_type_name())
        if kind == "Constant":
            constants[names.of(node.output(0))] = constant_value(node)
        elif kind != "Parameter":
            nodes.append(_node(node, names, wanted, read, where, depth))
    refuse_unknown(nodes, where)
    inputs = {names.of(value): value for value in model.inputs}
    types = {name: str(value.get_element_type().get_type_name()) for name, value in inputs.items()}
    unknown = next((name for name, kind in types.items() if kind not in _TYPES), None)
    if unknown is not None:
        raise Unsupported(f"{where}: input {quoted(unknown)} is of a type that is not known here - no gradients of it")
    shapes = {name: _shape(value) for name, value in inputs.items()}
    shapes |= {
        names.of(output): _shape(output) for node in needed for output in node.outputs() if names.of(output) in wanted
    }
    return Graph(
        tuple(nodes),
        constants,
        tuple(inputs),
        wanted,
        {name: _TYPES[kind] for name, kind in types.items()},
        {name: shape for name, shape in shapes.items() if shape is not None},
    )


def _wanted(model: Any, names: Names, outputs: Sequence[str] | None, where: str) -> tuple[str, ...]:
    if outputs is None:
        real = _returned(model, names, real=True)
        if not real:
            raise Unsupported(f"{where}: returns no real numbers, so there is nothing to differentiate")
        return real
    for name in outputs:
        if name not in names.aliases:
            listed = ", ".join(map(quoted, _returned(model, names)[:_SHOWN]))
            raise InputError(f"{where}: has no tensor {quoted(name)}; its outputs are {listed}")
    return tuple(names.aliases[name] for name in outputs)


def _returned(model: Any, names: Names, real: bool = False) -> tuple[str, ...]:
    """Return the names of what a model returns, of real numbers alone if asked."""
    made = [result.input_value(0) for result in model.get_results()]
    return tuple(names.of(value) for value in made if not real or value.get_element_type().is_real())


def _needed(model: Any, wanted: set[Key]) -> list[Any]:
    """Return the nodes by which tensors are computed, in order of computation."""
    nodes = {name for name, _ in wanted}
    found = []
    for node in reversed(model.get_ordered_ops()):
        if node.get_name() in nodes and node.get_type_name() != "Result":
            found.append(node)
            nodes.update(value.get_node().get_name() for value in node.input_values())
    return found[::-1]


def _node(node: Any, names: Names, wanted: Sequence[str], read: set[Key], where: str, depth: int) -> Node:
    made = []
    for output in node.outputs():
        name = names.of(output)
        made.append(name if output.get_index() == 0 or name in wanted or key_of(output) in read else "")
    branches = _branches(node, where, depth) if node.get_type_name() == "If" else {}
    return Node(
        kind_of(node),
        tuple(names.of(node.input_value(place)) for place in read_places(node)),
        tuple(made),
        branches or attributes_of(node),
        str(node.get_friendly_name()),
        "openvino",
        version_of(node),
    )


def _branches(node: Any, where: str, depth: int) -> dict[str, Branch]:
    """Return the two graphs of a choice."""
    title = f"{where}: If {quoted(str(node.get_friendly_name()))}"
    if depth >= _DEEPEST:
        raise Unsupported(f"{title}: more than {_DEEPEST} graphs in each other - no gradients of this file")
    found = {}
    for index, word in enumerate(("then", "else")):
        graph = _read(node.get_function(index), None, where, depth + 1)
        if any(value.size > 1 and value.dtype.kind == "f" for value in graph.constants.values()):
            raise Unsupported(f"{title}: weights inside of a choice are not known here - no gradients of this file")
        fed = {told.body_parameter_index: told.input_index for told in node.get_input_descriptions(index)}
        made = {told.output_index: told.body_value_index for told in node.get_output_descriptions(index)}
        outputs = tuple(graph.outputs[made[place]] for place in range(node.get_output_size()))
        found[word] = Branch(
            Graph(graph.nodes, graph.constants, graph.inputs, outputs), tuple(fed[place] for place in range(len(fed)))
        )
    return found


def _shape(value: Any) -> tuple[int | None, ...] | None:
    partial = value.get_partial_shape()
    if partial.rank.is_dynamic:
        return None
    return tuple(int(size.get_length()) if size.is_static else None for size in partial)
