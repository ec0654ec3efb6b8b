"""Convolutions whose taps move with the input (DeformConv)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import given, optional, refusal, whole
from pmcore_autograd.operators.windows import Windows, positions, windows

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def deformable(node: Node, values: Values) -> torch.Tensor:
    """Return a convolution of a plane, each tap of which looks beside its place by an offset of its own."""
    value, weight, offset = (given(node, values, place) for place in range(3))
    bias, mask = optional(values, 3), optional(values, 4)
    if value.dim() != 4:
        raise refusal(node, f"it runs over {value.dim() - 2} spatial dimensions; 2 are known here")
    slid = windows(node, value.shape[2:], weight.shape[2:])
    rows, columns = positions(node, slid, value.shape[2:])
    taps, shared = weight.shape[2:].numel(), whole(node, "offset_group", 1)
    group, n = whole(node, "group", 1), value.shape[0]
    if value.shape[1] % shared or offset.shape[1] != 2 * taps * shared:
        raise refusal(node, f"offsets of shape {tuple(offset.shape)} do not fit {shared} groups of {taps} taps")
    moved = offset.reshape(n * shared, taps, 2, rows, columns)
    places = [_places(slid, dim, (rows, columns), value) for dim in (0, 1)]
    height, width = value.shape[2:]
    down, across = ((places[dim] + moved[:, :, dim]) for dim in (0, 1))
    grid = torch.stack(((2 * across + 1) / width - 1, (2 * down + 1) / height - 1), -1)
    grid = grid.reshape(n * shared, taps * rows, columns, 2)
    sampled = torch.nn.functional.grid_sample(
        value.reshape(n * shared, -1, height, width), grid, "bilinear", "zeros", align_corners=False
    ).reshape(n, shared, -1, taps, rows, columns)
    if mask is not None:
        sampled = sampled * mask.reshape(n, shared, 1, taps, rows, columns)
    laid = sampled.reshape(n, group, -1, rows * columns)
    result = torch.matmul(weight.reshape(group, weight.shape[0] // group, -1), laid)
    result = result.reshape(n, weight.shape[0], rows, columns)
    return result if bias is None else result + bias.reshape(-1, 1, 1)


def _places(slid: Windows, dim: int, counts: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
    """Return where the taps stand along one dimension, shape (taps, rows, columns)."""
    tap = torch.arange(slid.kernel[dim], device=like.device) * slid.dilations[dim] - slid.before[dim]
    start = torch.arange(counts[dim], device=like.device) * slid.strides[dim]
    other = slid.kernel[1 - dim]
    if dim == 0:
        along = tap.repeat_interleave(other)[:, None] + start
        return along[:, :, None].expand(-1, -1, counts[1]).to(like.dtype)
    along = tap.repeat(other)[:, None] + start
    return along[:, None, :].expand(-1, counts[0], -1).to(like.dtype)


TABLE = {"DeformConv": Known(deformable, "dilations group kernel_shape offset_group pads strides")}
