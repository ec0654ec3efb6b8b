"""A graph put in order of computation, without what the wanted tensors do not need."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence

from pmcore.errors import ModelError
from pmcore.quoting import printable
from pmcore_autograd.graph import Node

_SIZES = frozenset({("onnx", "Shape"), ("onnx", "Size"), ("openvino", "ShapeOf")})
"""Operators that look at the shape of a tensor only."""


def ordered(nodes: Sequence[Node], given: Collection[str], wanted: Iterable[str], where: str) -> tuple[Node, ...]:
    """Return the nodes that the wanted tensors need, each behind those whose tensors it reads.

    Nodes that stand in such an order already keep it.

    Parameters
    ----------
    given : names of inputs and constants
    where : the file, for messages

    Raises
    ------
    ModelError
        Two nodes make the same tensor, nobody makes one that is read, or the graph goes round in a circle.
    """
    makers: dict[str, int] = {}
    for place, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            if name in makers or name in given:
                raise ModelError(f"{where}: two nodes make the tensor {_shown(name)}; export the model again")
            makers[name] = place
    needed = _needed(nodes, makers, given, wanted, where)
    return tuple(nodes[place] for place in _sorted(nodes, makers, needed, where))


def live_tensors(nodes: Iterable[Node], sources: Iterable[str]) -> frozenset[str]:
    """Return the tensors whose values, and not merely shapes, depend on some tensors."""
    found = set(sources)
    for node in nodes:
        if not reads_shape_only(node) and not found.isdisjoint(node.inputs):
            found.update(filter(None, node.outputs))
    return frozenset(found)


def reached_tensors(nodes: Iterable[Node], sources: Iterable[str]) -> frozenset[str]:
    """Return the tensors that depend on some tensors, be it on their shapes only."""
    found = set(sources)
    for node in nodes:
        if not found.isdisjoint(node.inputs):
            found.update(filter(None, node.outputs))
    return frozenset(found)


def reads_shape_only(node: Node) -> bool:
    """Tell whether a node looks at the shape of its input only."""
    return (node.dialect, node.kind) in _SIZES and len(node.inputs) == 1


def _needed(
    nodes: Sequence[Node], makers: dict[str, int], given: Collection[str], wanted: Iterable[str], where: str
) -> set[int]:
    found: set[int] = set()
    waiting = [(name, "") for name in wanted]
    while waiting:
        name, reader = waiting.pop()
        place = makers.get(name)
        if place is None:
            if name not in given:
                by = f", which {reader} reads" if reader else ""
                raise ModelError(f"{where}: nothing makes the tensor {_shown(name)}{by}; export the model again")
        elif place not in found:
            found.add(place)
            waiting.extend((inner, nodes[place].title) for inner in nodes[place].inputs if inner)
    return found


def _sorted(nodes: Sequence[Node], makers: dict[str, int], needed: set[int], where: str) -> list[int]:
    behind: dict[int, set[int]] = {place: set() for place in needed}
    before: dict[int, int] = {}
    for place in needed:
        earlier = {makers[name] for name in nodes[place].inputs if name in makers}
        before[place] = len(earlier)
        for other in earlier:
            behind[other].add(place)
    in_file = sorted(needed)
    if all(other > place for place, others in behind.items() for other in others):
        return in_file
    found: list[int] = []
    ready = deque(place for place in in_file if not before[place])
    while ready:
        place = ready.popleft()
        found.append(place)
        for other in sorted(behind[place]):
            before[other] -= 1
            if not before[other]:
                ready.append(other)
    if len(found) < len(needed):
        stuck = nodes[min(needed.difference(found))].title
        raise ModelError(f"{where}: the graph goes round in a circle at {stuck}; export the model again")
    return found


def _shown(name: str) -> str:
    return f"'{printable(name, 100)}'"
