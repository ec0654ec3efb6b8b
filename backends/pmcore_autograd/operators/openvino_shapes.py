"""OpenVINO's operations that only move elements: shapes, axes, pieces and padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from typing import TYPE_CHECKING

import numpy as np

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.openvino_reductions import axes_from
from pmcore_autograd.operators.openvino_types import FLOATS, cast
from pmcore_autograd.operators.reading import axis_of, flag, given, integers, numbers, optional, refusal, whole, word

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch = Lazily("torch")
    functional = Lazily("torch.nn.functional")


def _reshape(node: Node, values: Values) -> torch.Tensor:
    x, shape = given(node, values, 0), integers(node, given(node, values, 1))
    if flag(node, "special_zero"):
        if any(size == 0 and axis >= x.dim() for axis, size in enumerate(shape)):
            raise refusal(node, f"its shape {shape} takes an axis from a tensor that lacks it")
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


def _transpose(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    order = integers(node, given(node, values, 1)) or list(range(x.dim()))[::-1]
    return x.permute(order)


def _squeeze(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    axes = axes_from(node, values, 1) if optional(values, 1) is not None else ()
    return x.squeeze(axes or tuple(range(x.dim())))


def _unsqueeze(node: Node, values: Values) -> torch.Tensor:
    x, named = given(node, values, 0), integers(node, given(node, values, 1))
    for axis in sorted(axis_of(node, axis, x.dim() + len(named)) for axis in named):
        x = x.unsqueeze(axis)
    return x


def _broadcast(node: Node, values: Values) -> torch.Tensor:
    x, shape = given(node, values, 0), integers(node, given(node, values, 1))
    mode = word(node, "mode", "numpy explicit bidirectional pdpd")
    if mode == "pdpd":
        raise refusal(node, "mode='pdpd' is not known here")
    if mode == "bidirectional":
        return torch.broadcast_to(x, _joint(node, tuple(x.shape), tuple(shape)))
    if mode == "explicit":
        axes = integers(node, given(node, values, 2))
        if len(axes) != x.dim() or not all(0 <= axis < len(shape) for axis in axes):
            raise refusal(node, f"axes {axes} do not fit a tensor of {x.dim()} dimensions")
        spread = [1] * len(shape)
        for axis, size in zip(axes, x.shape, strict=True):
            spread[axis] = size
        x = x.reshape(spread)
    return x.expand(shape)


def _joint(node: Node, left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape to which both of two shapes are broadcast."""
    try:
        return np.broadcast_shapes(left, right)
    except ValueError:
        raise refusal(node, f"shapes {left} and {right} do not fit each other") from None


def _concat(node: Node, values: Values) -> torch.Tensor:
    parts = [given(node, values, place) for place in range(len(values))]
    return torch.cat(parts, axis_of(node, whole(node, "axis", 0), parts[0].dim()))


def _split(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    x, axis = given(node, values, 0), axes_from(node, values, 1)[0]
    parts = whole(node, "num_splits", 1)
    if parts < 1 or x.shape[axis] % parts:
        raise refusal(node, f"num_splits={parts} does not divide an axis of {x.shape[axis]}")
    return torch.split(x, x.shape[axis] // parts, axis)


def _variadic_split(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    x, axis = given(node, values, 0), axes_from(node, values, 1)[0]
    lengths = integers(node, given(node, values, 2))
    rest = x.shape[axis] - sum(length for length in lengths if length >= 0)
    return torch.split(x, [rest if length < 0 else length for length in lengths], axis)


def _tile(node: Node, values: Values) -> torch.Tensor:
    x, repeats = given(node, values, 0), integers(node, given(node, values, 1))
    sized(node, [x.numel(), *repeats])
    return torch.tile(x, repeats)


def _roll(node: Node, values: Values) -> torch.Tensor:
    x, shifts = given(node, values, 0), integers(node, given(node, values, 1))
    axes = [axis_of(node, axis, x.dim()) for axis in integers(node, given(node, values, 2))]
    if len(shifts) != len(axes):
        raise refusal(node, "it has not as many shifts as axes")
    return torch.roll(x, shifts, axes)


def _pad(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    before, after = (integers(node, given(node, values, place)) for place in (1, 2))
    mode = word(node, "pad_mode", "constant edge reflect symmetric")
    if len(before) != x.dim() or len(after) != x.dim():
        raise refusal(node, f"its pads do not fit a tensor of {x.dim()} dimensions")
    if mode == "constant":
        value = optional(values, 3)
        sized(node, [s + b + e for s, b, e in zip(x.shape, before, after, strict=True)])
        fill = 0 if value is None else numbers(node, value)[0]
        pads = [end for pair in zip(reversed(before), reversed(after), strict=True) for end in pair]
        return functional.pad(x, pads, value=fill)
    for axis, (start, end) in enumerate(zip(before, after, strict=True)):
        if start or end:
            sized(node, [x.numel() // x.shape[axis] * (x.shape[axis] + start + end)])
            places = [_mirrored(i, x.shape[axis], mode) for i in range(-start, x.shape[axis] + end)]
            x = x.index_select(axis, torch.tensor(places, device=x.device))
    return x


def _mirrored(place: int, size: int, mode: str) -> int:
    """Return which element stands at a place outside of an axis."""
    if mode == "edge" or size == 1:
        return min(max(place, 0), size - 1)
    period = 2 * size if mode == "symmetric" else 2 * size - 2
    place %= period
    return place if place < size else period - place - (1 if mode == "symmetric" else 0)


def _shape_of(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    return cast(node, torch.tensor(x.shape, device=x.device), node.attributes.get("output_type", "i64"))


def _range(node: Node, values: Values) -> torch.Tensor:
    first = given(node, values, 0)
    bounds = [numbers(node, given(node, values, place))[0] for place in range(3)]
    kind = node.attributes.get("output_type")
    real = first.is_floating_point() if kind is None else kind in FLOATS
    start, stop, step = bounds if real else map(int, bounds)
    if step == 0 or not isfinite(start + stop + step):
        raise refusal(node, f"there is no range from {start} to {stop} by {step}")
    count = max(ceil((stop - start) / step), 0)
    sized(node, [count])
    wide = torch.arange(count, dtype=torch.float64 if real else torch.int64, device=first.device) * step + start
    made = wide.to(torch.get_default_dtype()) if real else wide
    return made if kind is None else cast(node, made, kind)


def _eye(node: Node, values: Values) -> torch.Tensor:
    rows, columns, offset = (integers(node, given(node, values, place))[0] for place in range(3))
    batch = integers(node, given(node, values, 3)) if optional(values, 3) is not None else []
    shape, device = sized(node, [*batch, rows, columns]), given(node, values, 0).device
    diagonal = torch.arange(columns, device=device) - torch.arange(rows, device=device)[:, None] == offset
    return cast(node, diagonal.expand(shape), node.attributes.get("output_type"))


def _depth_to_space(node: Node, values: Values) -> torch.Tensor:
    x, size = given(node, values, 0), whole(node, "block_size", 1)
    spatial, rank = x.shape[2:], x.dim() - 2
    if word(node, "mode", "blocks_first depth_first") == "blocks_first":
        x = x.reshape(x.shape[0], *(size,) * rank, -1, *spatial)
        blocks, channels = list(range(1, rank + 1)), rank + 1
    else:
        x = x.reshape(x.shape[0], -1, *(size,) * rank, *spatial)
        blocks, channels = list(range(2, rank + 2)), 1
    order = [0, channels, *(axis for pair in zip(range(rank + 2, 2 * rank + 2), blocks, strict=True) for axis in pair)]
    return x.permute(order).reshape(x.shape[0], -1, *(length * size for length in spatial))


def _space_to_depth(node: Node, values: Values) -> torch.Tensor:
    x, size = given(node, values, 0), whole(node, "block_size", 1)
    batch, channels, rank = x.shape[0], x.shape[1], x.dim() - 2
    x = x.reshape(batch, channels, *(part for length in x.shape[2:] for part in (length // size, size)))
    places, blocks = list(range(2, 2 + 2 * rank, 2)), list(range(3, 3 + 2 * rank, 2))
    first = word(node, "mode", "blocks_first depth_first") == "blocks_first"
    order = [0, *blocks, 1, *places] if first else [0, 1, *blocks, *places]
    x = x.permute(order)
    return x.reshape(batch, channels * size**rank, *x.shape[rank + 2 :])


def _batch_to_space(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    blocks, begins, ends = (integers(node, given(node, values, place)) for place in (1, 2, 3))
    rank, batch = len(blocks), x.shape[0]
    for size in blocks:
        batch //= size
    x = x.reshape((*blocks, batch, *x.shape[1:]))
    x = x.permute(*(axis for i in range(rank) for axis in (rank + i, i)))
    x = x.reshape([x.shape[2 * i] * x.shape[2 * i + 1] for i in range(rank)])
    return _cropped(x, begins, ends)


def _space_to_batch(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    blocks, begins, ends = (integers(node, given(node, values, place)) for place in (1, 2, 3))
    x = _cropped(x, [-begin for begin in begins], [-end for end in ends])
    rank, shape = len(blocks), [length // size for length, size in zip(x.shape, blocks, strict=True)]
    x = x.reshape([part for pair in zip(shape, blocks, strict=True) for part in pair])
    x = x.permute(*range(1, 2 * rank, 2), *range(0, 2 * rank, 2))
    return x.reshape(-1, *shape[1:])


def _cropped(x: torch.Tensor, begins: Sequence[int], ends: Sequence[int]) -> torch.Tensor:
    return functional.pad(x, [-end for pair in zip(reversed(begins), reversed(ends), strict=True) for end in pair])


def _shuffle_channels(node: Node, values: Values) -> torch.Tensor:
    x, groups = given(node, values, 0), whole(node, "group", 1)
    axis = axis_of(node, whole(node, "axis", 1), x.dim())
    if groups < 1 or x.shape[axis] % groups:
        raise refusal(node, f"group={groups} does not divide an axis of {x.shape[axis]}")
    parts = x.reshape((*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :]))
    return parts.transpose(axis, axis + 1).reshape(x.shape)


TABLE: Mapping[str, Known] = {
    "BatchToSpace": Known(_batch_to_space),
    "Broadcast": Known(_broadcast, "mode"),
    "Concat": Known(_concat, "axis"),
    "DepthToSpace": Known(_depth_to_space, "block_size mode"),
    "Eye": Known(_eye, "output_type"),
    "Pad": Known(_pad, "pad_mode"),
    "Range": Known(_range, "output_type"),
    "Reshape": Known(_reshape, "special_zero"),
    "Roll": Known(_roll),
    "ShapeOf": Known(_shape_of, "output_type"),
    "ShuffleChannels": Known(_shuffle_channels, "axis group"),
    "SpaceToBatch": Known(_space_to_batch),
    "SpaceToDepth": Known(_space_to_depth, "block_size mode"),
    "Split": Known(_split, "num_splits"),
    "Squeeze": Known(_squeeze, "allow_axis_skip"),
    "Tile": Known(_tile),
    "Transpose": Known(_transpose),
    "Unsqueeze": Known(_unsqueeze),
    "VariadicSplit": Known(_variadic_split),
}
