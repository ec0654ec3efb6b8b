"""How a graph is computed for inputs of given shapes: what depends on shapes only is known, the rest is steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore.errors import ModelError
from pmcore_autograd.allocation import LARGEST_LIVE
from pmcore_autograd.computing import compute
from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Operator

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Step:
    """One node: which cells it reads (-1 where an input is absent), which it writes, and which are free after it."""

    node: Node
    operator: Operator
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    frees: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Steps on numbered cells.

    Parameters
    ----------
    steps : in order
    cells : what each cell holds before the first step; None where nothing yet
    given : name of an input, a parameter or a buffer -> its cell
    wanted : cells of the outputs
    working : precision of real numbers
    """

    steps: tuple[Step, ...]
    cells: tuple[torch.Tensor | None, ...]
    given: Mapping[str, int]
    wanted: tuple[int, ...]
    working: torch.dtype

    def run(self, tensors: Iterator[tuple[str, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
        """Return the outputs for inputs, parameters and buffers by name; intermediate tensors go after their last use.

        Raises
        ------
        AuditError
            A node does not take its inputs, or memory runs out.
        """
        cells = list(self.cells)
        for name, tensor in tensors:
            if name in self.given:
                cells[self.given[name]] = tensor
        for step in self.steps:
            values = [cells[place] if place >= 0 else None for place in step.reads]
            made = compute(step.node, step.operator, values, self.working, LARGEST_LIVE)
            del values
            for place, value in zip(step.writes, made, strict=False):
                if place >= 0:
                    cells[place] = value
            for place in step.frees:
                cells[place] = None
        return tuple(_made(cells[place]) for place in self.wanted)


def lay_out(
    nodes: Sequence[tuple[Node, Operator]],
    known: Mapping[str, torch.Tensor],
    given: Sequence[str],
    wanted: Sequence[str],
    working: torch.dtype,
) -> Plan:
    """Return a plan whose cells are numbered.

    Parameters
    ----------
    nodes : those that are to be computed, in order
    known : what is known beforehand
    given : names of what is given at each run
    wanted : names of the outputs
    """
    cell_of: dict[str, int] = {name: place for place, name in enumerate(given)}
    last: dict[str, int] = {}
    for step, (node, _) in enumerate(nodes):
        last.update(dict.fromkeys((name for name in (*node.outputs, *node.inputs) if name), step))
    cells: list[torch.Tensor | None] = [None] * len(given)

    def cell(name: str) -> int:
        if name not in cell_of:
            cell_of[name] = len(cells)
            cells.append(known.get(name))
        return cell_of[name]

    kept = set(wanted) | set(known)
    steps = []
    for number, (node, operator) in enumerate(nodes):
        reads = tuple(cell(name) if name else -1 for name in node.inputs)
        writes = tuple(cell(name) if name else -1 for name in node.outputs)
        names = dict.fromkeys(name for name in (*node.inputs, *node.outputs) if name)
        frees = tuple(cell_of[name] for name in names if last[name] == number and name not in kept)
        steps.append(Step(node, operator, reads, writes, frees))
    outputs = tuple(cell(name) for name in wanted)
    return Plan(tuple(steps), tuple(cells), {name: cell_of[name] for name in given}, outputs, working)


def _made(value: torch.Tensor | None) -> torch.Tensor:
    if value is None:
        raise ModelError("an output of the graph is not computed by it; export the model again")
    return value
