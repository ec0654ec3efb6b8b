"""Exported programs as networks: the graph is cut where an answer is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pmcore.heads import Head
from pmcore.interfaces import TensorSpec
from pmcore.last_layer import LastLayer
from pmcore.layers import LayerTable
from pmcore_torch.differentiable import Differentiable
from pmcore_torch.endings import find_ending
from pmcore_torch.graph_layers import LAYER, read_layers, shape_of
from pmcore_torch.graph_steps import operator_name, read_steps
from pmcore_torch.last_layer import entering, find_last_layer
from pmcore_torch.nesting import leaves
from pmcore_torch.steps import Step

if TYPE_CHECKING:
    import torch
    from torch.fx import Graph, GraphModule, Node

_INTO = "what enters layer:"
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
        self._steps: dict[str, Step] = {}
        self._last: dict[str, LastLayer | str] = {}

    @property
    def module(self) -> torch.nn.Module:
        """Return the module that holds the weights."""
        return self._module

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return the inputs that are fed, with the shapes that the program insists on."""
        return tuple(
            TensorSpec(str(node.target), shape_of(node) or (), _type(node))
            for node in self._module.graph.nodes
            if node.op == "placeholder" and node.name not in self._fixed
        )

    def outputs(self) -> Mapping[str, tuple[int | str | None, ...]]:
        """Return the shapes of the floating-point outputs, or of all where none is."""
        floats = {name: node for name, node in self._outputs.items() if _type(node).startswith(("float", "bfloat"))}
        return {name: shape_of(node) or () for name, node in (floats or self._outputs).items()}

    def look(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Do nothing: the graph declares its outputs."""

    def head(self, output: str) -> Head:
        """Walk back from an output to the activation that made it."""
        found = find_ending(self._outputs[output], operator_name, _source)
        if found is None:
            return Head(output)
        name = found.before.name
        return Head(output, f"{LAYER}{name}" if name in self._outputs else name, found.ending)

    def run(self, inputs: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> list[torch.Tensor]:
        """Return outputs by name, or the values of nodes."""
        key = tuple(wanted)
        if key not in self._cut:
            if len(self._cut) > 3:
                self._cut.clear()
            self._cut[key] = self._graph_of(key)
        answers: list[torch.Tensor] = list(self._cut[key](*self._placed(inputs)))
        return answers

    def layers(self) -> LayerTable:
        """Return the operations on the records, in order of computation."""
        if self._table is None:
            self._table = read_layers(self._module)
        return self._table

    def last_layer(self, tensor: str) -> LastLayer | str:
        """Return the linear layer that a tensor of predictions leaves, or why there is none."""
        if tensor not in self._last:
            self._steps = self._steps or read_steps(self._module, self._fixed)
            node = self._outputs.get(tensor) or self._nodes[tensor.removeprefix(LAYER)]
            found = find_last_layer(self._steps[node.name])
            named = found if isinstance(found, str) else found.named(_INTO + found.step.name, LAYER + found.step.name)
            self._last[tensor] = named
        return self._last[tensor]

    def differentiable(self, tensor: str) -> Differentiable:
        """Return the graph up to a tensor, with its parameters by the operations that use them first."""
        graph = self._graph_of((tensor,))
        owned = dict(graph.named_parameters())

        def forward(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            found: torch.Tensor = graph(*self._placed(inputs))[0]
            return found

        layers = {
            layer.name: [owned.pop(name) for name in self._uses(layer.name) if name in owned]
            for layer in self.layers().layers
        }
        return Differentiable(graph, forward, layers | {name: [value] for name, value in owned.items()})

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
            if name.startswith(_INTO):
                returned.append(self._entering(graph, copies, name.removeprefix(_INTO)))
                continue
            node = copies[self._outputs.get(name) or self._nodes[name.removeprefix(LAYER)]]
            if name not in self._outputs:
                with graph.inserting_after(node):
                    node = graph.call_function(torch.ops.aten.clone.default, (node,))
            returned.append(node)
        graph.output(tuple(returned))
        graph.eliminate_dead_code()
        return GraphModule(self._module, graph)

    def _placed(self, inputs: Mapping[str, torch.Tensor]) -> list[Any]:
        """Return what the graph takes, in order."""
        return [
            self._fixed[node.name] if node.name in self._fixed else inputs[str(node.target)]
            for node in self._module.graph.nodes
            if node.op == "placeholder"
        ]

    def _uses(self, layer: str) -> list[str]:
        """Return the attributes that an operation reads."""
        return [str(source.target) for source in self._nodes[layer].all_input_nodes if source.op == "get_attr"]

    def _entering(self, graph: Graph, copies: Mapping[Node, Node], name: str) -> Node:
        """Return a copy, made at the last moment, of what enters a linear operation."""
        import torch

        given = self._nodes[entering(self._steps[name]).name]
        with graph.inserting_before(copies[self._nodes[name]]):
            return graph.call_function(torch.ops.aten.clone.default, (copies[given],))


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


def _type(node: Node) -> str:
    return str(node.meta["val"].dtype).removeprefix("torch.")
