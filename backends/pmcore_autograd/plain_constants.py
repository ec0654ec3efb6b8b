"""Which constants that are added, multiplied or joined are parameters: no masks, no units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.slots import Role, slots_of
from pmcore_autograd.tensors import is_real

if TYPE_CHECKING:
    import torch

_HIDDEN = -1e3
"""What is added to hide something is below this."""
_PRODUCTS = frozenset({"Mul", "Multiply"})
_DIFFERENCES = frozenset({"Sub", "Subtract"})


def learnt_tensors(graph: Graph) -> frozenset[str]:
    """Return the tensors made of what may have been trained: of real numbers, or of whole ones that stand for them."""
    found = {
        name
        for name, value in graph.constants.items()
        if value.size > 1 and (is_real(value) or (value.dtype.itemsize == 1 and value.dtype.kind != "b"))
    }
    for node in graph.nodes:
        if node.kind in slots_of(node.dialect).rounding or not found.isdisjoint(node.inputs):
            found.update(filter(None, node.outputs))
    return frozenset(found)


def is_trained(value: torch.Tensor, node: Node, place: int, makers: Mapping[str, Node], live: frozenset[str]) -> bool:
    """Tell whether a constant that is added, multiplied or joined may have been trained.

    A single number may not, unless it is the bias of a layer with one output; and a mask may not.
    """
    if value.numel() == 1:
        return value.dim() > 0 and node.kind == "Add" and _follows_product(node, place, makers, live)
    if node.kind == "Concat":
        return not bool((value == value.reshape(-1)[0]).all())  # as a margin is
    zero = value == 0
    unit = node.kind in _PRODUCTS or node.kind in _DIFFERENCES  # what hides by 0, and what that is taken from
    other = value == 1 if unit else value < _HIDDEN
    if node.kind in _PRODUCTS and not bool(zero.any()):
        return True
    return not bool((zero | other).all()) or bool(zero.all())


def _follows_product(node: Node, place: int, makers: Mapping[str, Node], live: frozenset[str]) -> bool:
    other = next((name for at, name in enumerate(node.inputs) if at != place and name in live), "")
    maker = makers.get(other)
    if maker is None:
        return False
    entering = slots_of(maker.dialect).entering.get(maker.kind, {})
    return any(
        slot.role is Role.WEIGHT and at < len(maker.inputs) and maker.inputs[at] not in live
        for at, slot in entering.items()
    )
