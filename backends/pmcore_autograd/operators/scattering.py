"""Operators that write elements to places of a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.indexing import flat_places, from_front
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, given, refusal, whole, word

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def scatter_elements(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor with elements replaced, or added to, at places along an axis."""
    value, places, written = (given(node, values, place) for place in range(3))
    axis = axis_of(node, whole(node, "axis", 0), value.dim())
    return _written(node, value, axis, from_front(places, value.shape[axis]), written)


def scatter_nd(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor with slices replaced, or added to, at places with several coordinates."""
    value, places, written = (given(node, values, place) for place in range(3))
    depth = places.shape[-1]
    lengths, behind = value.shape[:depth], value.shape[depth:]
    if len(lengths) != depth or written.shape != places.shape[:-1] + behind:
        raise refusal(node, f"what is written does not fit a tensor of shape {tuple(value.shape)}")
    flat = flat_places(places, lengths).reshape(-1, 1).expand(-1, behind.numel())
    rows = value.reshape(lengths.numel(), behind.numel())
    return _written(node, rows, 0, flat, written.reshape(flat.shape)).reshape(value.shape)


def _written(node: Node, value: torch.Tensor, axis: int, places: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
    reduction = word(node, "reduction", "none add mul max min")
    if reduction == "none":
        return torch.scatter(value, axis, places, written)
    if reduction == "add":
        return torch.scatter_add(value, axis, places, written)
    if reduction == "mul":
        return value * _factors(node, value, axis, places, written)
    return torch.scatter_reduce(value, axis, places, written, f"a{reduction}", include_self=True)


def _factors(node: Node, value: torch.Tensor, axis: int, places: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
    """Return the product of what is written to each place; torch's own has a gradient that vmap does not take."""
    length = value.shape[axis]
    sized(node, [*places.shape, length])
    met = places.movedim(axis, -1)[..., None] == torch.arange(length, device=places.device)
    factors = torch.where(met, written.movedim(axis, -1)[..., None], 1).prod(-2).movedim(-1, axis)
    for dim in range(value.dim()):
        missing = value.shape[dim] - factors.shape[dim]
        if missing:  # there are places along this dimension to which nothing is written
            shape = [missing if place == dim else size for place, size in enumerate(factors.shape)]
            factors = torch.cat((factors, factors.new_ones(shape)), dim)
    return factors.to(value.dtype)


TABLE = {
    "Scatter": Known(scatter_elements, "axis"),
    "ScatterElements": Known(scatter_elements, "axis reduction"),
    "ScatterND": Known(scatter_nd, "reduction"),
}
