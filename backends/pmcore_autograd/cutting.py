"""The parameters of a graph: the real tensors that enter where weights do, traced back to where they can be changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pmcore.interfaces import Array
from pmcore_autograd.folding import Folding
from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.ordering import live_tensors, ordered, reached_tensors, reads_shape_only
from pmcore_autograd.parameters import Buffer, Cut, Origin, Parameter
from pmcore_autograd.plain_constants import is_trained, learnt_tensors
from pmcore_autograd.precision import working_precision
from pmcore_autograd.slots import Role, Slot, slots_of
from pmcore_autograd.telling import naming
from pmcore_autograd.tensors import HALVES, is_real, to_torch, widened
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    import torch


def cut(graph: Graph, where: str) -> Cut:
    """Take the parameters out of a graph.

    Parameters
    ----------
    where : the file, for messages

    Raises
    ------
    Unsupported
        The weights of an operator are whole numbers that no gradient reaches.
    """
    with naming(where):
        return _Cutting(graph, where).done()


@dataclass
class _Found:
    role: Role
    into: str
    fan_in: int
    origin: Origin


@dataclass
class _Cutting:
    """The state of one walk through a graph."""

    graph: Graph
    where: str
    found: dict[str, _Found] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    made: dict[Hashable, str] = field(default_factory=dict)
    walked: set[str] = field(default_factory=set)
    walked_plain: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        graph = self.graph
        self.makers = {name: node for node in graph.nodes for name in node.outputs if name}
        self.live = live_tensors(graph.nodes, graph.inputs)
        self.bound = reached_tensors(graph.nodes, graph.inputs)
        self.learnt = learnt_tensors(graph)
        self.readers = Counter(name for node in graph.nodes for name in node.inputs)
        self.working = working_precision(graph)
        self.values = {name: to_torch(value, name) for name, value in graph.constants.items()}
        self.folding = Folding(graph.nodes, _wide(self.values, self.working), self.working)
        self.nodes: list[Node] = []

    def done(self) -> Cut:
        """Walk and return what was found."""
        for node in self.graph.nodes:
            self._refuse(node)
            if any(name in self.bound for name in node.outputs):
                node = self._entered(node)
            self.nodes.append(node)
        kept, owners = self._kept()
        values = {name: self._value(name) for name in self._constants(kept)}
        parameters = tuple(
            Parameter(name, found.role, owner, found.into, found.fan_in, found.origin)
            for name, owner in owners.items()
            for found in [self.found[name]]
        )
        used = {name for node in kept for name in node.inputs}
        return Cut(
            replace(self.graph, nodes=kept, constants={}),
            parameters,
            tuple(buffer for name, buffer in self.buffers.items() if name in used),
            values,
            any(node.kind in slots_of(node.dialect).rounding for node in self.graph.nodes),
            any(parameter.origin.dtype in HALVES for parameter in parameters),
            self.working,
        )

    def _refuse(self, node: Node) -> None:
        if node.kind == "If" and not self.live.isdisjoint(node.inputs[:1]):
            raise Unsupported(
                f"{self.where}: {node.title} chooses by the values of a record - no gradients here; "
                "signals that need none still work"
            )
        if node.kind in slots_of(node.dialect).integers:
            raise Unsupported(
                f"{self.where}: {node.title} computes with weights of whole numbers, which no gradient reaches; "
                "quantise the model in the QDQ format, or audit it without gradients"
            )

    def _entered(self, node: Node) -> Node:
        """Note the parameters that enter a node, and return it as it reads its buffers."""
        inputs = list(node.inputs)
        alive = any(name in self.live for name in node.outputs)
        for place, slot in slots_of(node.dialect).entering.get(node.kind, {}).items():
            name = inputs[place] if place < len(inputs) else ""
            if not name or name in self.live:
                continue
            if slot.role.is_buffer:
                if name not in self.bound:
                    inputs[place] = self._buffer(node, place, name, slot.role)
            elif alive or not slot.role.is_plain:
                self._trace(node, place, slot)
        return replace(node, inputs=tuple(inputs)) if tuple(inputs) != node.inputs else node

    def _trace(self, node: Node, place: int, slot: Slot) -> None:
        """Find what a tensor that enters a node consists of."""
        waiting = [node.inputs[place]]
        seen = self.walked_plain if slot.role.is_plain else self.walked
        while waiting:
            name = waiting.pop()
            if name in seen or name in self.walked:
                continue
            seen.add(name)
            before = self._before(name)
            if before is not None:
                waiting.extend(inner for inner in reversed(before) if inner and inner not in self.live)
            elif name not in self.bound:
                self._note(self.same.get(name, name), node, place, slot)

    def _before(self, name: str) -> tuple[str, ...] | None:
        """Return the tensors whose elements a tensor has, arranged anew; None where it is more than that.

        What is rounded once its shape is known counts as such, too: rounding lets gradients through.
        """
        maker = self.makers.get(name)
        if maker is None:
            return None
        slots = slots_of(maker.dialect)
        if maker.kind in slots.passing:
            places = slots.passing[maker.kind]
            return maker.inputs if places is None else tuple(maker.inputs[p] for p in places if p < len(maker.inputs))
        return maker.inputs[:1] if maker.kind in slots.rounding and name in self.bound else None

    def _note(self, name: str, node: Node, place: int, slot: Slot) -> None:
        """Note a constant as a parameter, if it is one."""
        if name in self.found:
            return
        maker = self.makers.get(name)
        constant = self.graph.constants.get(name)
        if constant is not None and not is_real(constant):
            if slot.role is Role.WEIGHT and any(output in self.live for output in node.outputs):
                raise Unsupported(
                    f"{self.where}: {node.title} computes with weights of whole numbers that are cast, which no "
                    "gradient reaches; quantise the model in the QDQ format, or audit it without gradients"
                )
            return
        if maker is not None:
            twin = self._twin(name, maker) if maker.kind in slots_of(maker.dialect).rounding else name
            if twin != name:
                self.same[name] = twin
                return
            if maker.kind != "ConstantOfShape" and name not in self.learnt:
                return
        value = self._folded(name)
        if not value.is_floating_point() or value.numel() == 0:
            return
        if slot.role.is_plain and not is_trained(value, node, place, self.makers, self.live):
            return
        dtype = _type_of(constant, value)
        fan = slot.fan_in(node, self._shape(node.inputs[place], value)) if slot.fan_in is not None else 0
        self.found[name] = _Found(slot.role, next(filter(None, node.outputs)), max(fan, 0), Origin(name, dtype, maker))

    def _twin(self, name: str, maker: Node) -> str:
        """Return the tensor that a node like this one made before of the same inputs: a copy of it is the same one."""
        attributes = tuple(sorted(maker.attributes.items()))
        key = (maker.dialect, maker.kind, maker.inputs, attributes, maker.outputs.index(name))
        try:
            return self.made.setdefault(key, name)
        except TypeError:  # an attribute that is an array
            return name

    def _buffer(self, node: Node, place: int, name: str, role: Role) -> str:
        """Return the name under which a node reads what training measured: its own, where others read the same."""
        constant, maker = self.graph.constants.get(name), self.makers.get(name)
        if constant is not None and not is_real(constant):
            return name
        own, read_by = name, None
        if self.readers[name] > 1:
            kind = "mean" if role is Role.MEAN else "variance"
            made = next(filter(None, node.outputs))
            own, read_by = f"{made}.{kind}", (made, place)
        value = self._folded(name)
        dtype = _type_of(constant, value)
        self.buffers[own] = Buffer(own, role, Origin(name, dtype, maker, read_by))
        self.values[own] = value.clone() if own != name else value
        return own

    def _kept(self) -> tuple[tuple[Node, ...], dict[str, str]]:
        """Return the nodes that are computed for records, and parameter -> owner, in the order of first use."""
        given = self.found.keys() | self.buffers.keys()
        nodes = [_renamed(node, self.same) for node in self.nodes if given.isdisjoint(node.outputs)]
        known = {*given, *self.values, *self.graph.inputs}
        kept = ordered(nodes, known, self.graph.outputs, self.where)
        inside: dict[str, set[str]] = {name: {name} for name in self.found}
        owners: dict[str, str] = {}
        for node in kept:
            entering = [name for read in node.inputs for name in inside.get(read, ())]
            made = [name for name in node.outputs if name]
            if any(name in self.live for name in made):
                layer = self.graph.layers.get(made[0], made[0])
                for name in entering:
                    owners.setdefault(name, layer)
            elif entering and not reads_shape_only(node):
                inside.update((name, set(entering)) for name in made)
        return kept, owners

    def _constants(self, kept: tuple[Node, ...]) -> list[str]:
        used = dict.fromkeys(name for node in kept for name in node.inputs if name)
        used.update(dict.fromkeys(self.graph.outputs))
        return [name for name in used if name in self.values or name in self.found]

    def _value(self, name: str) -> torch.Tensor:
        return widened(self.values[name] if name in self.values else self._folded(name), self.working)

    def _folded(self, name: str) -> torch.Tensor:
        return self.folding.value(name)

    def _shape(self, name: str, value: torch.Tensor) -> tuple[int, ...]:
        """Return the shape in which a parameter enters an operator, where that does not depend on the records'."""
        return tuple((value if name in self.bound else self._folded(name)).shape)


def _wide(values: Mapping[str, torch.Tensor], working: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: widened(value, working) for name, value in values.items()}


def _type_of(constant: Array | None, value: torch.Tensor) -> str:
    """Return the numpy name of a tensor's type in the file."""
    return constant.dtype.name if constant is not None else str(value.dtype).removeprefix("torch.")


def _renamed(node: Node, same: Mapping[str, str]) -> Node:
    if same.keys().isdisjoint(node.inputs):
        return node
    return replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
