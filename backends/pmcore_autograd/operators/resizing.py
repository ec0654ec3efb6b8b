"""Planes made larger or smaller: each axis on its own, by a matrix of weights that ONNX's rules give."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

import numpy as np

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
    reals,
    refusal,
    version,
    wholes,
    word,
)

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

_MOST = 1e6  # no honest graph enlarges by more
_COORDINATES = "half_pixel half_pixel_symmetric pytorch_half_pixel align_corners asymmetric tf_crop_and_resize"


@dataclass(frozen=True)
class Axis:
    """How one axis changes.

    Parameters
    ----------
    place : which one it is
    length, wanted : its length before and after
    scale : the ratio of the two that the file states, which need not be that of whole lengths
    start, end : the part to be enlarged, as shares of the length
    """

    place: int
    length: int
    wanted: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True)
class Rule:
    """How elements are taken: see ONNX's Resize, whose attributes these are."""

    mode: str
    coordinates: str
    rounding: str = "floor"
    cubic: float = -0.75
    exclude: bool = False
    antialias: bool = False
    beyond: float = 0.0


def resize(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor whose axes are stretched to given lengths or by given factors."""
    value = given(node, values, 0)
    if version(node) < 11:
        return resized(value, _scaled(node, value, numbers(node, given(node, values, 1))), _old(node))
    rule = Rule(
        word(node, "mode", "nearest linear cubic"),
        word(node, "coordinate_transformation_mode", f"{_COORDINATES} tf_half_pixel_for_nn"),
        word(node, "nearest_mode", "round_prefer_floor round_prefer_ceil floor ceil"),
        real(node, "cubic_coeff_a", -0.75),
        flag(node, "exclude_outside"),
        flag(node, "antialias"),
        real(node, "extrapolation_value", 0.0),
    )
    return resized(value, _axes(node, value, values), rule)


def upsample(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor whose axes are stretched by given factors, as before Resize came."""
    value = given(node, values, 0)
    if version(node) < 7:
        factors: list[float] = [1, 1, real(node, "height_scale", 1.0), real(node, "width_scale", 1.0)]
    else:
        factors = numbers(node, given(node, values, 1)) if version(node) >= 9 else list(reals(node, "scales"))
    return resized(value, _scaled(node, value, factors), _old(node))


def resized(value: torch.Tensor, axes: list[Axis], rule: Rule) -> torch.Tensor:
    """Return a tensor with some axes of another length."""
    for axis in axes:
        where = _coordinates(axis, rule, value.device)
        if rule.mode == "nearest":
            result = value.index_select(axis.place, _nearest(where, rule.rounding).clamp(0, axis.length - 1))
        else:
            weights = _weights(where, axis, rule).to(value.dtype if value.is_floating_point() else torch.float64)
            result = torch.matmul(value.to(weights.dtype).movedim(axis.place, -1), weights.t())
            result = result.movedim(-1, axis.place).to(value.dtype)
        if rule.coordinates == "tf_crop_and_resize":
            outside = ((where < 0) | (where > axis.length - 1)).reshape((-1,) + (1,) * (value.dim() - 1 - axis.place))
            result = torch.where(outside, rule.beyond, result)
        value = result
    return value


def _axes(node: Node, value: torch.Tensor, values: Values) -> list[Axis]:
    """Return how each axis changes: by the factors or the lengths that a node is given."""
    named = wholes(node, "axes", tuple(range(value.dim())))
    places = [axis_of(node, axis, value.dim()) for axis in named]
    lengths = [value.shape[place] for place in places]
    region, factors, sizes = (optional(values, place) for place in (1, 2, 3))
    if sizes is not None and sizes.numel():
        wanted = integers(node, sizes)
        ratios = [target / max(length, 1) for target, length in zip(wanted, lengths, strict=True)]
        policy = word(node, "keep_aspect_ratio_policy", "stretch not_larger not_smaller")
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(ratios)
            wanted = [floor(ratio * length + 0.5) for length in lengths]
    elif factors is not None and factors.numel() == len(places):
        ratios = [float(number) for number in numbers(node, factors)]
        wanted = [_stretched(node, length, ratio) for length, ratio in zip(lengths, ratios, strict=True)]
    else:
        raise refusal(node, f"neither its scales nor its sizes fit {len(places)} axes")
    kept = [length for place, length in enumerate(value.shape) if place not in places]
    sized(node, [*kept, *wanted])
    if word(node, "coordinate_transformation_mode", f"{_COORDINATES} tf_half_pixel_for_nn") != "tf_crop_and_resize":
        bounds = [0.0] * len(places) + [1.0] * len(places)
    else:
        bounds = numbers(node, region) if region is not None else []
    if len(bounds) != 2 * len(places):
        raise refusal(node, f"its roi does not fit {len(places)} axes")
    whole_axis = (0.0, 1.0)
    found = zip(places, lengths, wanted, ratios, bounds[: len(places)], bounds[len(places) :], strict=True)
    return [Axis(*axis) for axis in found if axis[1] != axis[2] or axis[3] != 1 or (axis[4], axis[5]) != whole_axis]


def _scaled(node: Node, value: torch.Tensor, factors: list[float]) -> list[Axis]:
    if len(factors) != value.dim():
        raise refusal(node, f"{len(factors)} scales do not fit {value.dim()} axes")
    wanted = [_stretched(node, length, factor) for length, factor in zip(value.shape, factors, strict=True)]
    sized(node, wanted)
    found = zip(range(value.dim()), value.shape, wanted, factors, strict=True)
    return [Axis(*axis) for axis in found if axis[3] != 1]


def _stretched(node: Node, length: int, factor: float) -> int:
    """Return a length times a factor as ONNX Runtime computes it: in single precision, cut to a whole number."""
    if not 0 < factor < _MOST:
        raise refusal(node, f"{factor} is no scale")
    return int(np.float32(length) * np.float32(factor))


def _old(node: Node) -> Rule:
    mode = word(node, "mode", "nearest linear bilinear")
    return Rule("nearest" if mode == "nearest" else "linear", "asymmetric")


def _coordinates(axis: Axis, rule: Rule, device: torch.device) -> torch.Tensor:
    """Return where in the input each element of the output lies, shape (wanted,)."""
    place = torch.arange(axis.wanted, dtype=torch.float64, device=device)
    match rule.coordinates:
        case "asymmetric":
            return place / axis.scale
        case "align_corners":
            return place * ((axis.length - 1) / max(axis.wanted - 1, 1))
        case "tf_half_pixel_for_nn":
            return (place + 0.5) / axis.scale
        case "tf_crop_and_resize":
            first, last = axis.start * (axis.length - 1), axis.end * (axis.length - 1)
            if axis.wanted == 1:
                return place + (first + last) / 2
            return first + place * ((last - first) / (axis.wanted - 1))
        case "pytorch_half_pixel" if axis.wanted == 1:
            return place
        case "half_pixel_symmetric":
            offset = axis.length / 2 * (1 - axis.wanted / (axis.scale * axis.length))
            return offset + (place + 0.5) / axis.scale - 0.5
    return (place + 0.5) / axis.scale - 0.5


def _nearest(where: torch.Tensor, rounding: str) -> torch.Tensor:
    match rounding:
        case "floor":
            rounded = where.floor()
        case "ceil":
            rounded = where.ceil()
        case "round_prefer_ceil":
            rounded = (where + 0.5).floor()
        case _:
            rounded = (where - 0.5).ceil()
    return rounded.to(torch.int64)


def _weights(where: torch.Tensor, axis: Axis, rule: Rule) -> torch.Tensor:
    """Return how much each element of the input counts in each of the output, shape (wanted, length)."""
    reach = 1 if rule.mode == "linear" else 2
    shrink = max(min(axis.scale, 1.0), 1 / max(axis.length, 1)) if rule.antialias else 1.0
    first = floor(-reach / shrink) + 1
    offsets = torch.arange(first, 2 - first, dtype=torch.float64, device=where.device)
    base = where.floor()
    distance = ((offsets - (where - base)[:, None]) * shrink).abs()
    weights = (1 - distance).clamp(min=0) if rule.mode == "linear" else _cubic(distance, rule.cubic)
    places = (base[:, None] + offsets).to(torch.int64)
    if rule.exclude:
        weights = torch.where((places >= 0) & (places < axis.length), weights, 0.0)
    if rule.exclude or rule.antialias:
        weights = weights / weights.sum(1, keepdim=True)
    bare = torch.zeros(axis.wanted, axis.length, dtype=torch.float64, device=where.device)
    return torch.scatter_add(bare, 1, places.clamp(0, axis.length - 1), weights)


def _cubic(distance: torch.Tensor, a: float) -> torch.Tensor:
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))


TABLE = {
    "Resize": Known(
        resize,
        "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value"
        " keep_aspect_ratio_policy mode nearest_mode",
    ),
    "Upsample": Known(upsample, "height_scale mode scales width_scale"),
}
