"""OpenVINO's interpolation: along each axis, elements are weighed sums of those of the axis before; and grids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pmcore.interfaces import Floats
from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import (
    axis_of,
    flag,
    given,
    integers,
    numbers,
    optional,
    real,
    refusal,
    version,
    wholes,
    word,
)
from pmcore_autograd.operators.sampling import grid_sample

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch = Lazily("torch")
    functional = Lazily("torch.nn.functional")

_MODES = "nearest linear linear_onnx cubic bilinear_pillow bicubic_pillow"
_COORDINATES = "half_pixel pytorch_half_pixel asymmetric tf_half_pixel_for_nn align_corners"
_NEAREST = "round_prefer_floor round_prefer_ceil floor ceil simple"


@dataclass(frozen=True)
class _Axis:
    """One axis that is resized: its number, its length before and after, and by how much it is stretched."""

    number: int
    before: int
    after: int
    scale: float


def _interpolate(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    if version(node) < 4:
        raise refusal(node, "it is of an operator set before opset4; export the model again")
    x = _padded(node, x)
    mode = word(node, "mode", _MODES)
    for axis in _axes(node, values, x):
        if axis.before == axis.after and axis.scale == 1.0:
            continue
        if mode == "nearest":
            places = torch.tensor([_nearest(node, axis, i) for i in range(axis.after)], device=x.device)
            x = x.index_select(axis.number, places)
        else:
            weights = torch.as_tensor(_weights(node, mode, axis), dtype=x.dtype, device=x.device)
            x = torch.movedim(torch.matmul(torch.movedim(x, axis.number, -1), weights.mT), -1, axis.number)
    return x


def _padded(node: Node, x: torch.Tensor) -> torch.Tensor:
    before, after = wholes(node, "pads_begin"), wholes(node, "pads_end")
    if not any(before) and not any(after):
        return x
    lengths = [(*pads, *(0,) * (x.dim() - len(pads))) for pads in (before, after)]
    return functional.pad(x, [end for pair in zip(*map(reversed, lengths), strict=True) for end in pair])


def _axes(node: Node, values: Values, x: torch.Tensor) -> list[_Axis]:
    newest = version(node) >= 11
    named = optional(values, 2 if newest else 3)
    axes = list(range(x.dim())) if named is None else integers(node, named)
    by_size = word(node, "shape_calculation_mode", "sizes scales") == "sizes"
    given_numbers = numbers(node, given(node, values, 1 if newest or by_size else 2))
    if len(given_numbers) != len(axes):
        raise refusal(node, "it has not as many sizes as axes")
    found = []
    for named_axis, number in zip(axes, given_numbers, strict=True):
        axis = axis_of(node, named_axis, x.dim())
        before = x.shape[axis]
        after = int(number) if by_size else math.floor(before * number + 1e-5)
        if after < 1 or number <= 0:
            raise refusal(node, f"it would leave {after} elements along axis {axis}")
        sized(node, [x.numel() // before, after])
        found.append(_Axis(axis, before, after, after / before if by_size else float(number)))
    return found


def _coordinate(node: Node, axis: _Axis, place: int) -> float:
    """Return where an element of the resized axis stands on the axis before."""
    mode = word(node, "coordinate_transformation_mode", _COORDINATES)
    if mode == "align_corners":
        return 0.0 if axis.after == 1 else place * (axis.before - 1) / (axis.after - 1)
    if mode == "asymmetric":
        return place / axis.scale
    if mode == "tf_half_pixel_for_nn":
        return (place + 0.5) / axis.scale
    if mode == "pytorch_half_pixel" and axis.after == 1:
        return 0.0
    return (place + 0.5) / axis.scale - 0.5


def _nearest(node: Node, axis: _Axis, place: int) -> int:
    where, mode = _coordinate(node, axis, place), word(node, "nearest_mode", _NEAREST)
    if mode == "round_prefer_floor":
        found = math.ceil(where - 0.5)
    elif mode == "round_prefer_ceil":
        found = math.floor(where + 0.5)
    elif mode == "floor" or (mode == "simple" and axis.scale >= 1.0):
        found = math.floor(where)
    else:
        found = math.ceil(where)
    return min(max(found, 0), axis.before - 1)


def _weights(node: Node, mode: str, axis: _Axis) -> Floats:
    """Return how much of each element goes into each new one, (after, before)."""
    if mode == "linear" and flag(node, "antialias"):
        raise refusal(node, "antialias=True is not known here")  # the CPU does not do what its definition says
    pillow = mode.endswith("pillow")
    shrink = min(axis.scale, 1.0) if pillow else 1.0
    cubic = "cubic" in mode
    factor = -0.5 if pillow else real(node, "cube_coeff", -0.75)
    reach = (2.0 if cubic else 1.0) / shrink
    found: Floats = np.zeros((axis.after, axis.before))
    for place in range(axis.after):
        where = _coordinate(node, axis, place)
        if mode == "linear_onnx":
            where = min(max(where, 0.0), axis.before - 1.0)
        near = range(math.ceil(where - reach), math.floor(where + reach) + 1)
        shares = _cubic([(i - where) * shrink for i in near], factor) if cubic else _triangle(near, where, shrink)
        for source, share in zip(near, shares, strict=True):
            inside = 0 <= source < axis.before
            if inside or mode == "cubic":  # the others leave out what lies beyond the ends
                found[place, min(max(source, 0), axis.before - 1)] += share
    found /= found.sum(1, keepdims=True)
    return found


def _triangle(near: Sequence[int], where: float, shrink: float) -> list[float]:
    return [max(0.0, 1.0 - abs(i - where) * shrink) for i in near]


def _cubic(distances: Sequence[float], factor: float) -> list[float]:
    found = []
    for distance in map(abs, distances):
        if distance <= 1:
            share = (factor + 2) * distance**3 - (factor + 3) * distance**2 + 1
        elif distance < 2:
            share = factor * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        else:
            share = 0.0
        found.append(share)
    return found


TABLE: Mapping[str, Known] = {
    "GridSample": Known(grid_sample, "align_corners mode padding_mode"),
    "Interpolate": Known(
        _interpolate,
        "mode shape_calculation_mode coordinate_transformation_mode nearest_mode antialias cube_coeff "
        "pads_begin pads_end",
    ),
}
