"""Columns of windows laid back into a plane, where they overlap added up (Col2Im)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import given, integers, refusal
from pmcore_autograd.operators.windows import padded, positions, windows

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def col2im(node: Node, values: Values) -> torch.Tensor:
    """Return images, shape (n, channels, ...), from columns, shape (n, channels x taps, windows)."""
    value = given(node, values, 0)
    plane, kernel = (integers(node, given(node, values, place)) for place in (1, 2))
    slid = windows(node, plane, kernel)
    counts = positions(node, slid, plane)
    lengths = [length + b + a for length, b, a in zip(plane, slid.before, slid.after, strict=True)]
    sized(node, [value.shape[0], *lengths])
    taps, steps = prod(kernel), prod(counts)
    if value.dim() != 3 or value.shape[1] % taps or value.shape[2] != steps:
        raise refusal(node, f"columns of shape {tuple(value.shape)} do not hold {steps} windows of {taps}")
    place = torch.zeros(1, 1, dtype=torch.int64, device=value.device)  # in the flattened plane, by tap and window
    for k, stride, dilation, count, length in zip(kernel, slid.strides, slid.dilations, counts, lengths, strict=True):
        tap = torch.arange(k, device=value.device) * dilation
        along = tap[:, None] + torch.arange(count, device=value.device) * stride
        place = place[:, None, :, None] * length + along[None, :, None, :]
        place = place.reshape(place.shape[0] * k, place.shape[2] * count)
    columns = value.reshape(value.shape[0], -1, taps * steps)
    index = place.reshape(-1).expand(columns.shape)
    laid = torch.scatter_add(columns.new_zeros(*columns.shape[:2], prod(lengths)), 2, index, columns)
    return padded(laid.reshape(*columns.shape[:2], *lengths), [-b for b in slid.before], [-a for a in slid.after])


TABLE = {"Col2Im": Known(col2im, "dilations pads strides")}
