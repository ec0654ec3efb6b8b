"""The structure of an OpenVINO model: the names of its tensors, who makes them, what depends on the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pmcore.errors import ModelError
from pmcore.intake import Shape
from pmcore_autograd.openvino_importing import import_openvino

STRUCTURE = frozenset({"Parameter", "Result", "Constant"})
"""Nodes that compute nothing."""
_SHAPES = frozenset({"ShapeOf"})
_SINK = "/sink_port_"
_CARRIED = frozenset({"f16", "f32", "f64"})
"""Floating-point types that numpy has."""


@dataclass(frozen=True)
class Tensor:
    """One output of a node.

    Parameters
    ----------
    name : its name in this model, which no other tensor has
    aliases : every name by which somebody may call it
    """

    name: str
    aliases: frozenset[str]
    output: Any

    @property
    def node(self) -> Any:
        """Return the node that makes it."""
        return self.output.get_node()

    @property
    def kind(self) -> str:
        """Return the type of the node that makes it, such as "Softmax"."""
        return str(self.node.get_type_name())

    @property
    def shape(self) -> Shape | None:
        """Return its shape, None for what is open; None if not even the number of dimensions is known."""
        return shape_of(self.output.get_partial_shape())

    @property
    def is_real(self) -> bool:
        """Tell whether it holds floating-point numbers."""
        return bool(self.output.get_element_type().is_real())


@dataclass(frozen=True)
class Graph:
    """A model with the look-ups that reading it needs; the model itself is never changed."""

    model: Any

    @cached_property
    def nodes(self) -> tuple[Any, ...]:
        """Return the nodes in order of computation."""
        return tuple(self.model.get_ordered_ops())

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Return name -> tensor, for every tensor of the model.

        A tensor is called by the name that the file gives it, else by its node.
        """
        results = self._result_names
        found: dict[str, Tensor] = {}
        for node in self.nodes:
            if node.get_type_name() == "Result":
                continue
            for index in range(node.get_output_size()):
                output = node.output(index)
                friendly = str(node.get_friendly_name())
                place = friendly if index == 0 else f"{friendly}:{index}"
                names = {str(name) for name in output.get_names()} | results.get(key_of(output), set())
                names = {name for name in names if not _invented(name)}
                first = next((name for name in (*sorted(names, key=_unlikely), place) if name not in found), None)
                name = first or f"{place} ({node.get_name()})"
                found[name] = Tensor(name, frozenset({name, place, *names}), output)
        return found

    @cached_property
    def names(self) -> Mapping[tuple[str, int], str]:
        """Return the key of an output (see `key_of`) -> its name."""
        return {key_of(tensor.output): name for name, tensor in self.tensors.items()}

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """Return the tensors that the model returns, in its order."""
        return tuple(self.made_by(result.input_value(0)) for result in self.model.get_results())

    @cached_property
    def live(self) -> frozenset[str]:
        """Return the nodes whose values (not merely whose shapes) depend on the records, by unique name."""
        found: set[str] = set()
        for node in self.nodes:
            kind = node.get_type_name()
            fed = any(value.get_node().get_name() in found for value in node.input_values())
            if kind == "Parameter" or (fed and kind not in _SHAPES):
                found.add(node.get_name())
        return frozenset(found)

    def made_by(self, output: Any) -> Tensor:
        """Return the tensor of a node's output."""
        return self.tensors[self.names[key_of(output)]]

    def read_by(self, tensor: Tensor, index: int = 0) -> Tensor:
        """Return the tensor that the maker of a tensor reads."""
        return self.made_by(tensor.node.input_value(index))

    def origin(self, tensor: Tensor, through: frozenset[str]) -> Tensor:
        """Step back from a tensor over nodes of these types."""
        while tensor.kind in through and tensor.node.get_input_size():
            tensor = self.read_by(tensor)
        return tensor

    def with_outputs(self, names: tuple[str, ...]) -> Any:
        """Return a model that returns the named tensors, in this order; it shares the nodes of this one.

        What numpy cannot carry (bfloat16) is returned as float32.
        """
        openvino = import_openvino()
        ops = openvino.opset13

        wanted = [self.tensors[name].output for name in names]
        carried = [
            ops.convert(output, "f32").output(0)
            if output.get_element_type().is_real() and output.get_element_type().get_type_name() not in _CARRIED
            else output
            for output in wanted
        ]
        return openvino.Model(carried, list(self.model.get_parameters()), self.model.get_friendly_name())

    @cached_property
    def _result_names(self) -> Mapping[tuple[str, int], set[str]]:
        """Return the key of an output -> the names that the model's results give it."""
        found: dict[tuple[str, int], set[str]] = {}
        for result in self.model.get_results():
            names = {str(name) for name in result.output(0).get_names()}
            friendly, sink, _ = str(result.get_friendly_name()).partition(_SINK)
            names |= {friendly} if sink else set()
            names -= {str(result.get_friendly_name())}
            found.setdefault(key_of(result.input_value(0)), set()).update(names)
        return found


def refuse_state(model: Any, path: Path) -> None:
    """Refuse a model whose answer about a record depends on what it was asked before."""
    if model.get_sinks() or model.get_variables():
        raise ModelError(
            f"{path}: keeps state from one query to the next, so that records are not answered by themselves; "
            "export the model without state"
        )


def key_of(output: Any) -> tuple[str, int]:
    """Return what tells an output of a node from all others of its model."""
    return str(output.get_node().get_name()), int(output.get_index())


def shape_of(partial: Any) -> Shape | None:
    """Return a shape of OpenVINO, None for what is open."""
    if partial.rank.is_dynamic:
        return None
    return tuple(int(size.get_length()) if size.is_static else None for size in partial)


def _invented(name: str) -> bool:
    """Tell whether a name is one that OpenVINO gives to results without one."""
    return name.startswith("Result_") and name[len("Result_") :].isdigit()


def _unlikely(name: str) -> tuple[bool, bool, str]:
    return name.isdigit(), "logit" not in name.lower(), name
