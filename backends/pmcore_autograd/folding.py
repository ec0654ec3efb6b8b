"""Values of constant sub-graphs, computed when they are asked for and within a budget of memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pmcore.errors import ModelError
from pmcore_autograd.allocation import LARGEST
from pmcore_autograd.computing import compute, operator_of
from pmcore_autograd.graph import Node

if TYPE_CHECKING:
    import torch


class Folding:
    """Computes constant tensors of a graph.

    Parameters
    ----------
    nodes : in order of computation
    constants : name -> value
    working : the precision of real numbers
    """

    def __init__(self, nodes: Sequence[Node], constants: Mapping[str, torch.Tensor], working: torch.dtype) -> None:
        self._places = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
        self._nodes = nodes
        self._working = working
        self._values: dict[str, torch.Tensor] = dict(constants)
        self._spent = 0

    def value(self, name: str) -> torch.Tensor:
        """Return the value of a constant tensor.

        Raises
        ------
        AuditError
            A node does not take its inputs, or the values take more memory than is given to constants.
        """
        for place in sorted(self._missing([name])):
            self.run(self._nodes[place])
        return self._values[name]

    def put(self, values: Mapping[str, torch.Tensor]) -> None:
        """Take values that were computed elsewhere."""
        self._values.update(values)

    def run(self, node: Node) -> None:
        """Compute a node all of whose inputs are known."""
        import torch

        values = [self._values[inner] if inner else None for inner in node.inputs]
        with torch.no_grad():
            made = compute(node, operator_of(node), values, self._working, LARGEST)
        for output, value in zip(node.outputs, made, strict=False):
            if output:
                self._spend(node, value, values)
                self._values[output] = value

    def _spend(self, node: Node, value: torch.Tensor, inputs: Iterable[torch.Tensor | None]) -> None:
        shared = {tensor.untyped_storage().data_ptr() for tensor in inputs if tensor is not None}
        if value.untyped_storage().data_ptr() not in shared:
            self._spent += value.numel() * value.element_size()
        if self._spent > LARGEST:
            raise ModelError(
                f"{node.title}: the constants of the graph take more than {LARGEST // 2**30} GiB when computed; "
                "export the model with its constants folded"
            )

    def _missing(self, names: Iterable[str]) -> set[int]:
        found: set[int] = set()
        waiting = [name for name in names if name not in self._values]
        while waiting:
            name = waiting.pop()
            if name not in self._places:
                raise ModelError(f"nothing makes the constant {name!r}; export the model again")
            place = self._places[name]
            if place not in found:
                found.add(place)
                waiting.extend(inner for inner in self._nodes[place].inputs if inner and inner not in self._values)
        return found
