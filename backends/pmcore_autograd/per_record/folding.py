"""Gradients of what is broadcast over the records: those at the output, summed over all other axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.per_record.layouts import Layout

if TYPE_CHECKING:
    import torch


def aligned(size: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """Return a size as broadcasting reads it beside a tensor of more axes."""
    return (1,) * (axes - len(size)) + size


def repeated_axes(size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of the output along which an aligned operand is repeated: the records can only be there."""
    return tuple(axis for axis, length in enumerate(size) if length == 1)


def folded(full: torch.Tensor, size: tuple[int, ...], layout: Layout, records: int) -> torch.Tensor:
    """Return the gradient of an operand of an aligned size from that of the output, (...) -> (b, *size)."""
    split = layout.split(full, records)
    axes = [1 + axis for axis in repeated_axes(size) if split.shape[1 + axis] != 1]
    summed = split.sum(axes, keepdim=True) if axes else split
    return summed.reshape(records, *size)
