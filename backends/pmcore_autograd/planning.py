"""Plans made for the shapes of inputs: what depends on constants and shapes only is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.allocation import LARGEST_LIVE
from pmcore_autograd.computing import compute, operator_of
from pmcore_autograd.folding import Folding
from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Operator
from pmcore_autograd.ordering import live_tensors, reads_shape_only
from pmcore_autograd.plan import Plan, lay_out

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Situation:
    """What a plan is made for.

    Parameters
    ----------
    shapes : name of an input, a parameter or a buffer -> its shape
    types : name of an input that is no real number -> its type
    wanted : names of the tensors to be returned
    working : precision of real numbers
    device : where to compute
    operators : kind of ONNX operator -> what computes it in place of the table's; at most one, in training
    """

    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, torch.dtype]
    wanted: tuple[str, ...]
    working: torch.dtype
    device: torch.device
    operators: Mapping[str, Operator]


def make_plan(nodes: Sequence[Node], constants: Mapping[str, torch.Tensor], situation: Situation) -> Plan:
    """Fold what depends on constants and shapes only, and lay out the rest.

    Raises
    ------
    Unsupported
        A shape depends on the values of a record.
    AuditError
        A node does not take its inputs, or constants take more memory than they are given.
    """
    return _Planning(nodes, constants, situation).plan()


class _Planning:
    """The state of making one plan."""

    def __init__(self, nodes: Sequence[Node], constants: Mapping[str, torch.Tensor], situation: Situation) -> None:
        self._situation = situation
        self._given = tuple(situation.shapes)
        self._live = live_tensors(nodes, self._given)
        self._nodes = _needed(nodes, situation.wanted)
        self._folding = Folding(self._nodes, constants, situation.working)

    def plan(self) -> Plan:
        """Return the plan."""
        looked_into = {name for node in self._nodes if reads_shape_only(node) for name in node.inputs[:1]}
        asked = _needed(self._nodes, looked_into & self._live)
        if asked:
            self._fold_in_vmap(asked)
        else:
            self._fold({name: self._stand_in(name) for name in self._given}, [])
        steps = [(node, self._operator(node)) for node in self._nodes if self._is_live(node)]
        read = {name for node, _ in steps for name in node.inputs if name} | set(self._situation.wanted)
        known = {name: self._folding.value(name) for name in read - self._live}
        return lay_out(steps, known, self._given, self._situation.wanted, self._situation.working)

    def _fold_in_vmap(self, asked: Sequence[Node]) -> None:
        """Fold with stand-ins for a record among others, of which torch refuses to read numbers as shapes."""
        import torch

        def run(*stand_ins: torch.Tensor) -> torch.Tensor:
            self._fold(dict(zip(self._given, stand_ins, strict=True)), asked)
            return stand_ins[0]

        with torch.no_grad():
            torch.func.vmap(run)(
                *(self._stand_in(name).expand(1, *self._situation.shapes[name]) for name in self._given)
            )

    def _fold(self, live: dict[str, torch.Tensor], asked: Sequence[Node]) -> None:
        """Compute every node that depends on shapes only, and those that make tensors whose shapes are asked for."""
        needed = {id(node) for node in asked}
        last = {name: id(node) for node in self._nodes for name in node.inputs}
        for node in self._nodes:
            if self._is_live(node):
                if id(node) in needed:
                    live.update(self._computed(node, live, self._situation.working))
            elif reads_shape_only(node) and node.inputs[0] in self._live:
                self._folding.put(self._computed(node, live, self._situation.working))
            else:
                self._folding.run(node)
            for name in node.inputs:
                if last[name] == id(node):
                    live.pop(name, None)

    def _computed(self, node: Node, live: Mapping[str, torch.Tensor], working: torch.dtype) -> dict[str, torch.Tensor]:
        values = [
            None if not name else live[name] if name in live else self._folding.value(name) for name in node.inputs
        ]
        made = compute(node, self._operator(node), values, working, LARGEST_LIVE)
        return {name: value for name, value in zip(node.outputs, made, strict=False) if name}

    def _is_live(self, node: Node) -> bool:
        return not self._live.isdisjoint(node.outputs)

    def _operator(self, node: Node) -> Operator:
        other = self._situation.operators.get(node.kind) if node.dialect == "onnx" else None
        return other or operator_of(node)

    def _stand_in(self, name: str) -> torch.Tensor:
        """Return a tensor of the right shape and type that takes no memory."""
        import torch

        dtype = self._situation.types.get(name, self._situation.working)
        return torch.zeros((), dtype=dtype, device=self._situation.device).expand(self._situation.shapes[name])


def _needed(nodes: Sequence[Node], wanted: Iterable[str]) -> list[Node]:
    """Return the nodes that some tensors need, in order."""
    needed = set(wanted)
    found = []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            found.append(node)
            needed.update(name for name in node.inputs if name)
    return found[::-1]
