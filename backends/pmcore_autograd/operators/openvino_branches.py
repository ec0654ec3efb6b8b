"""OpenVINO's choice between two graphs, as exporters write it where only shapes decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.operators import Known, Values, find
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import given, numbers, refusal

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


@dataclass(frozen=True)
class Branch:
    """A graph inside of a node.

    Parameters
    ----------
    graph : it holds no weights; its outputs are those of the node, in order
    reads : input of the node that each input of the graph is
    """

    graph: Graph
    reads: tuple[int, ...]


def _choose(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    chosen = numbers(node, given(node, values, 0))
    branch = node.attributes.get("then" if chosen[0] else "else")
    if not isinstance(branch, Branch):
        raise refusal(node, "its branches are not there")
    graph = branch.graph
    known: dict[str, torch.Tensor | None] = {"": None}
    device = given(node, values, 0).device
    known |= {name: torch.as_tensor(value.copy(), device=device) for name, value in graph.constants.items()}
    known |= {name: given(node, values, place) for name, place in zip(graph.inputs, branch.reads, strict=True)}
    for inner in graph.nodes:
        operator = find(inner)
        if operator is None:
            raise refusal(inner, "this operator is not known here")
        made = operator(inner, [known[name] for name in inner.inputs])
        known |= dict(zip(inner.outputs, made if isinstance(made, tuple) else (made,), strict=False))
    return tuple(given(node, [known[name]], 0) for name in graph.outputs)


TABLE: Mapping[str, Known] = {"If": Known(_choose, "then else")}
