"""Exported programs as networks: the graph is cut where an answer is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pmcore.heads import Head
from pmcore.interfaces import Layer, TensorSpec
from pmcore.layers import LayerTable
from pmcore_torch.endings import find_ending
from pmcore_torch.nesting import leaves

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule, Node

_NO_LAYERS_WORDS = "getitem sym_size sym_numel _assert_tensor_metadata _assert_scalar copy_ add_ arange zeros ones full"
_NO_LAYERS = frozenset(_NO_LAYERS_WORDS.split())
_LAYER = "layer:"
_TRAINED = frozenset({"train", "training"})
_FORGET = "Parts of it were exported in training mode: dropout and batch statistics are switched to evaluation."
_CHANGES = "The program changes buffers of its own while it is asked: answers may depend on what was asked before."


class ExportedNetwork:
    """A program of torch.export; every answer is a graph of its own, made once and kept."""

    def __init__(self, program: Any) -> None:
        self._module: GraphModule = program.module(check_guards=False)
        notes = [_FORGET] if _switch_to_evaluation(self._module.graph) else []
        if not notes and program.graph_signature.buffers_to_mutate:
            notes.append(_CHANGES)
        self.notes: tuple[str, ...] = tuple(notes)
        self._fixed = _constants(program, self._module.graph)
        self._nodes = {node.name: node for node in self._module.graph.nodes}
        self._outputs = _named_outputs(program, self._module.graph)
        self._cut: dict[tuple[str, ...], GraphModule] = {}
        self._table: LayerTable | None = None

    @property
    def module(self) -> torch.nn.Module:
        """Return the module that holds the weights."""
        return self._module

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the inputs that are fed, with the shapes that the program insists on."""
        return tuple(
            TensorSpec(str(node.target), _shape(node) or (), _type(node))
            for node in self._module.graph.nodes
            if node.op == "placeholder" and node.name not in self._fixed
        )

    def outputs(self) -> Mapping[str, tuple[int | str | None, ...]]:
        """Return the shapes of the floating-point outputs, or of all where none is."""
        floats = {name: node for name, node in self._outputs.items() if _type(node).startswith(("float", "bfloat"))}
        return {name: _shape(node) or () for name, node in (floats or self._outputs).items()}

    def look(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Do nothing: the graph declares its outputs."""

    def head(self, output: str) -> Head:
        """Walk back from an output to the activation that made it."""
        found = find_ending(self._outputs[output], operator_name, _source)
        if found is None:
            return Head(output)
        name = found.before.name
        return Head(output, f"{_LAYER}{name}" if name in self._outputs else name, found.ending)

    def run(self, inputs: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> list[torch.Tensor]:
        """Return outputs by name, or the values of nodes."""
        key = tuple(wanted)
        if key not in self._cut:
            if len(self._cut) > 3:
                self._cut.clear()
            self._cut[key] = self._graph_of(key)
        graph = self._cut[key]
        placed = [
            self._fixed[node.name] if node.name in self._fixed else inputs[str(node.target)]
            for node in self._module.graph.nodes
            if node.op == "placeholder"
        ]
        answers: list[torch.Tensor] = list(graph(*placed))
        return answers

    def layers(self) -> LayerTable:
        """Return the operations on the records, in order of computation."""
        if self._table is None:
            self._table = _read_layers(self._module)
        return self._table

    def _graph_of(self, wanted: Sequence[str]) -> GraphModule:
        """Return the part of the graph that makes these values, as a module that shares the weights.

        Inner values are copied where they are made: what follows may change them in place.
        """
        import torch
        from torch.fx import Graph, GraphModule

        graph = Graph()
        copies: dict[Node, Node] = {}
        graph.graph_copy(self._module.graph, copies)
        returned: list[Node] = []
        for name in wanted:
            node = copies[self._outputs.get(name) or self._nodes[name.removeprefix(_LAYER)]]
            if name not in self._outputs:
                with graph.inserting_after(node):
                    node = graph.call_function(torch.ops.aten.clone.default, (node,))
            returned.append(node)
        graph.output(tuple(returned))
        graph.eliminate_dead_code()
        return GraphModule(self._module, graph)


def operator_name(node: Node) -> str:
    """Return the name of the operator that a node calls, "" for anything else."""
    if node.op != "call_function":
        return ""
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet or node.target, "__name__", ""))


def _source(node: Node) -> Node | None:
    from torch.fx import Node

    first = node.args[0] if node.args else None
    return first if isinstance(first, Node) else None


def _switch_to_evaluation(graph: Any) -> bool:
    """Set the training flags of all operators to False, in place; tell whether any was set."""
    changed = False
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for place, argument in enumerate(schema.arguments if schema is not None else ()):
            if argument.name in _TRAINED and place < len(node.args) and node.args[place] is True:
                node.update_arg(place, False)
                changed = True
            elif argument.name in _TRAINED and node.kwargs.get(argument.name) is True:
                node.update_kwarg(argument.name, False)
                changed = True
    return changed


def _constants(program: Any, graph: Any) -> dict[str, Any]:
    """Return the placeholders that stand for constants, with what they stand for."""
    values = list(program.graph_signature.user_inputs)
    import torch

    found: dict[str, Any] = {}
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, value in zip(placeholders, values, strict=True):
        if not isinstance(node.meta.get("val"), torch.Tensor):
            found[node.name] = (
                None if isinstance(value, str) and node.meta.get("val") is None else node.meta.get("val", value)
            )
    return found


def _named_outputs(program: Any, graph: Any) -> dict[str, Node]:
    """Return the outputs by the names that the program's structure gives them."""
    import torch
    from torch.fx import Node
    from torch.utils import _pytree

    (returned,) = next(node for node in graph.nodes if node.op == "output").args
    flat = list(returned) if isinstance(returned, tuple | list) else [returned]
    structure = _pytree.tree_unflatten(flat, program.call_spec.out_spec)
    return {
        name: node
        for name, node in leaves(structure)
        if isinstance(node, Node) and isinstance(node.meta.get("val"), torch.Tensor)
    }


def _read_layers(module: GraphModule) -> LayerTable:
    layers: list[Layer] = []
    tensors: list[str] = []
    live: set[str] = set()
    counted: set[str] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder":
            live.add(node.name)
            continue
        sources = [source.name for source in node.all_input_nodes]
        if node.op != "call_function" or live.isdisjoint(sources):
            continue
        live.add(node.name)
        maker = node
        if operator_name(node) == "getitem" and node.args[1] == 0:
            maker = node.all_input_nodes[0]
        kind = operator_name(maker)
        shape = _shape(node)
        if kind in _NO_LAYERS or shape is None:
            continue
        parameters = 0
        for source in maker.all_input_nodes:
            if source.op == "get_attr" and str(source.target) not in counted:
                counted.add(str(source.target))
                parameters += _parameters(module, str(source.target))
        layers.append(Layer(len(layers), maker.name, kind, shape, parameters))
        tensors.append(f"{_LAYER}{node.name}")
    return LayerTable(tuple(layers), tuple(tensors))


def _parameters(module: GraphModule, target: str) -> int:
    import torch

    found: Any = module
    for name in target.split("."):
        found = getattr(found, name, None)
    return found.numel() if isinstance(found, torch.nn.Parameter) else 0


def _shape(node: Node) -> tuple[int | str | None, ...] | None:
    import torch

    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    return tuple(
        size if isinstance(size, int) else "batch" if place == 0 else None for place, size in enumerate(value.shape)
    )


def _type(node: Node) -> str:
    return str(node.meta["val"].dtype).removeprefix("torch.")
