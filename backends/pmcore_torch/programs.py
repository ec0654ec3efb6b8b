"""TorchScript programs as networks: frozen, and cut where an answer is wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pmcore.errors import ModelError
from pmcore.heads import Head
from pmcore.interfaces import TensorSpec
from pmcore.last_layer import LastLayer
from pmcore.layers import LayerTable
from pmcore_torch.differentiable import Differentiable
from pmcore_torch.endings import find_ending
from pmcore_torch.last_layer import PRODUCTS, find_last_layer
from pmcore_torch.nesting import SINGLE, leaves
from pmcore_torch.script_layers import read_layers
from pmcore_torch.script_steps import read_steps

if TYPE_CHECKING:
    import torch

_LOOKED_UP = frozenset({"embedding", "embedding_bag"})
_FORWARDED = frozenset({"to", "long", "int", "contiguous", "view", "reshape", "flatten"})
_INTEGERS = re.compile(r"(?:_|\b)(?:ids?|mask|tokens?|indices|index|positions?)$")
_BEFORE = "before the activation of "
_LAYER = "layer:"
_INTO = "what enters layer:"


class ScriptNetwork:
    """A TorchScript module; where it can be frozen, its graph is known and every answer is a function of its own."""

    def __init__(self, module: Any) -> None:
        self._module: Any = module.eval()
        self._self: Any = module._c
        self._graph: Any = None
        self.notes: tuple[str, ...] = ()
        self._freeze()
        self._values: dict[str, Any] = _output_values(self._graph) if self._graph is not None else {}
        self._names: dict[str, tuple[int | str | None, ...]] | None = dict.fromkeys(self._values, ()) or None
        self._functions: dict[tuple[str, ...], Any] = {}
        self._table: LayerTable | None = None
        self._last: dict[str, LastLayer | str] = {}

    @property
    def module(self) -> torch.nn.Module:
        """Return the module that holds the weights."""
        found: torch.nn.Module = self._module
        return found

    def inputs(self, floats: str) -> tuple[TensorSpec, ...]:
        """Return the inputs; a program does not say of which shape, and hardly ever of which type.

        Parameters
        ----------
        floats : the type of inputs that are no indices
        """
        graph = self._graph if self._graph is not None else self._module.inlined_graph
        values = list(graph.inputs())[1:]
        arguments = [argument.name for argument in self._module.forward.schema.arguments][1:]
        return tuple(
            TensorSpec(name, (), "int64" if _is_index(name, value) else floats)
            for name, value in zip(arguments, values, strict=True)
        )

    def outputs(self) -> Mapping[str, tuple[int | str | None, ...]] | None:
        """Return the names of the outputs; the program does not say of which shape."""
        return self._names

    def look(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Ask once, and name what comes back."""
        import torch

        if self._names is None:
            found = leaves(self._module(*inputs.values()))
            self._names = {name: () for name, value in found if isinstance(value, torch.Tensor)}

    def head(self, output: str) -> Head:
        """Walk back from an output to the activation that made it."""
        if output not in self._values:
            return Head(output)
        found = find_ending(self._values[output], _operator, _source)
        return Head(output) if found is None else Head(output, f"{_BEFORE}{output}", found.ending)

    def run(self, inputs: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> list[torch.Tensor]:
        """Return outputs by name, values before them, or values of layers."""
        import torch

        with torch.jit._fuser.optimized_execution(
            False
        ):  # else the first answers differ from later ones in the last bits
            if self._graph is None:
                named = dict(leaves(self._module(*inputs.values())))
                return [named[name] for name in wanted]
            key = tuple(wanted)
            if key not in self._functions:
                if len(self._functions) > 3:
                    self._functions.clear()
                self._functions[key] = self._function_of(key)
            found = self._functions[key](self._self, *inputs.values())
            return [found] if isinstance(found, torch.Tensor) else list(found)

    def layers(self) -> LayerTable:
        """Return the operations on the records, in order of computation."""
        if self._table is None:
            self._table = LayerTable((), ()) if self._graph is None else read_layers(self._graph, self._module)
        return self._table

    def last_layer(self, tensor: str) -> LastLayer | str | None:
        """Return the linear layer that a tensor of predictions leaves, or why there is none."""
        if tensor not in self._last:
            self._last[tensor] = self._find_last_layer(tensor)
        return self._last[tensor]

    def differentiable(self, tensor: str) -> Differentiable:
        """Return the program as it was before it was frozen, with the parameters that each submodule has of its own.

        Raises
        ------
        ModelError
            The tensor is one that only the frozen program gives, in which weights are constants.
        """
        if tensor.startswith(_BEFORE):
            raise ModelError(
                "a TorchScript program that ends in an activation cannot be differentiated before it; "
                "export the model with torch.export"
            )

        def forward(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            found: torch.Tensor = dict(leaves(self._module(*inputs.values())))[tensor]
            return found

        layers: dict[str, list[torch.Tensor]] = {layer.name: [] for layer in self.layers().layers}
        for name, parameter in self._module.named_parameters():
            layers.setdefault(name.rpartition(".")[0], []).append(parameter)
        return Differentiable(self._module, forward, layers)

    def _find_last_layer(self, tensor: str) -> LastLayer | str:
        if self._graph is None:
            return "the program cannot be frozen, so that its last layer is not known"
        parameters = dict(self._module.named_parameters())
        output = self._values[tensor.removeprefix(_BEFORE)]
        ending = find_ending(output, _operator, _source) if tensor.startswith(_BEFORE) else None
        found = find_last_layer(read_steps(self._graph, parameters, output if ending is None else ending.before))
        return found if isinstance(found, str) else found.named(_INTO + found.step.name, _LAYER + found.step.name)

    def _freeze(self) -> None:
        import torch

        try:
            frozen = torch.jit.freeze(self._module, optimize_numerics=False)
        except RuntimeError:
            self.notes = ("The program cannot be frozen: its layers are not known.",)
            return
        self._self, self._graph = frozen._c, frozen.graph

    def _function_of(self, wanted: Sequence[str]) -> Any:
        """Return the program up to these values as a function of the frozen module and the inputs."""
        import torch

        graph = self._graph.copy()
        values = _output_values(graph)
        nodes = list(graph.nodes())
        returned: list[Any] = []
        for name in wanted:
            if name.startswith(_LAYER):
                returned.append(_copied(graph, nodes[int(name.removeprefix(_LAYER))].outputsAt(0)))
            elif name.startswith(_INTO):
                returned.append(_copy_of_given(graph, nodes[int(name.removeprefix(_INTO))]))
            elif name.startswith(_BEFORE):
                found = find_ending(values[name.removeprefix(_BEFORE)], _operator, _source)
                returned.append(values[name.removeprefix(_BEFORE)] if found is None else _copied(graph, found.before))
            else:
                returned.append(values[name])
        while list(graph.outputs()):
            graph.eraseOutput(0)
        for value in returned:
            graph.registerOutput(value)
        if len(returned) > 1:
            graph.makeMultiOutputIntoTuple()
        torch._C._jit_pass_dce(graph)
        return torch._C._create_function_from_graph("forward", graph)


def _copied(graph: Any, value: Any) -> Any:
    """Return a copy of a value, made at once: what follows may change it in place."""
    node = graph.create("aten::clone", [value], 1)
    node.insertAfter(value.node())
    with graph.insert_point_guard(node):
        nothing = graph.insertConstant(None)
    node.addInput(nothing)
    return node.output()


def _copy_of_given(graph: Any, node: Any) -> Any:
    """Return a copy of what enters a linear operation, made just before it."""
    value = list(node.inputs())[PRODUCTS[_operator(node.output())][0]]
    copy = graph.create("aten::clone", [value], 1)
    copy.insertBefore(node)
    with graph.insert_point_guard(copy):
        nothing = graph.insertConstant(None)
    copy.addInput(nothing)
    return copy.output()


def _output_values(graph: Any) -> dict[str, Any]:
    """Return the tensors that a graph returns, by name, or nothing where its structure is not plain."""
    outputs = list(graph.outputs())
    return dict(_unpacked(outputs[0], "")) if len(outputs) == 1 else {}


def _unpacked(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    node, kind = value.node(), value.type().kind()
    if kind == "TensorType":
        yield prefix or SINGLE, value
    elif node.kind() in ("prim::TupleConstruct", "prim::ListConstruct"):
        parts = list(node.inputs())
        for place, part in enumerate(parts):
            name = SINGLE if len(parts) == 1 and not prefix else f"{prefix}.{place}" if prefix else f"{SINGLE}{place}"
            yield from _unpacked(part, name)
    elif node.kind() == "prim::DictConstruct":
        parts = list(node.inputs())
        for key, part in zip(parts[::2], parts[1::2], strict=True):
            name = str(key.toIValue())
            yield from _unpacked(part, f"{prefix}.{name}" if prefix else name)


def _operator(value: Any) -> str:
    namespace, _, name = value.node().kind().partition("::")
    return str(name) if namespace == "aten" else ""


def _source(value: Any) -> Any:
    return next(iter(value.node().inputs()), None)


def _is_index(name: str, value: Any) -> bool:
    """Tell whether an input is looked up in a table: by how it is used, or by its name."""
    waiting = [value]
    for _ in range(20):
        if not waiting:
            break
        for use in waiting.pop().uses():
            kind = use.user.kind().partition("::")[2]
            if kind in _LOOKED_UP and use.offset == 1:
                return True
            if kind in _FORWARDED:
                waiting.extend(use.user.outputs())
    return _INTEGERS.search(name) is not None
