"""Operators that cut tensors apart, put them together, repeat them and give them margins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import (
    axis_of,
    given,
    integers,
    numbers,
    optional,
    real,
    refusal,
    version,
    whole,
    wholes,
    word,
)

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def concat(node: Node, values: Values) -> torch.Tensor:
    """Return tensors joined along an axis."""
    parts = [given(node, values, place) for place in range(len(values))]
    return torch.cat(parts, axis_of(node, whole(node, "axis", 1), parts[0].dim()))


def split(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return a tensor cut along an axis into parts of given lengths, or into as many as the node has outputs."""
    value, lengths = given(node, values, 0), optional(values, 1)
    axis = axis_of(node, whole(node, "axis", 0), value.dim())
    parts = wholes(node, "split") if lengths is None else tuple(integers(node, lengths))
    if not parts:
        count = whole(node, "num_outputs", len(node.outputs))
        if count < 1:
            raise refusal(node, f"num_outputs={count} is not a number of parts")
        length = -(-value.shape[axis] // count)  # the last part may be shorter
        parts = (length,) * (count - 1) + (value.shape[axis] - length * (count - 1),)
    if min(parts) < 0 or sum(parts) != value.shape[axis]:
        raise refusal(node, f"parts of {parts} do not add up to {value.shape[axis]}")
    return torch.split(value, list(parts), axis)


def slice_(node: Node, values: Values) -> torch.Tensor:
    """Return every so many elements from a start to an end, along some axes."""
    value = given(node, values, 0)
    starts, ends, axes, steps = _bounds(node, values)
    axes = axes or tuple(range(len(starts)))
    steps = steps or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise refusal(node, "its starts, ends, axes and steps do not fit each other")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_of(node, axis, value.dim())
        kept = range(*slice(start, end, step).indices(value.shape[place]))
        if step > 0:
            value = value[(slice(None),) * place + (slice(kept.start, max(kept.start, kept.stop), step),)]
        else:
            value = value.index_select(place, torch.tensor(list(kept), dtype=torch.int64, device=value.device))
    return value


def pad(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor with margins: of a constant, or of what stands at, near or opposite the border."""
    value = given(node, values, 0)
    if version(node) < 11:
        margins, filler = wholes(node, "pads", wholes(node, "paddings")), real(node, "value", 0.0)
    else:
        margins = tuple(integers(node, given(node, values, 1)))
        constant = optional(values, 2)
        filler = 0.0 if constant is None or not constant.numel() else numbers(node, constant)[0]
    named = optional(values, 3)
    axes = range(value.dim()) if named is None else [axis_of(node, a, value.dim()) for a in integers(node, named)]
    if len(margins) != 2 * len(axes):
        raise refusal(node, f"{len(margins)} margins do not fit {len(axes)} axes")
    before, after = [0] * value.dim(), [0] * value.dim()
    for axis, first, last in zip(axes, margins[: len(axes)], margins[len(axes) :], strict=True):
        before[axis], after[axis] = first, last
    mode = word(node, "mode", "constant reflect edge wrap")
    if mode == "constant":
        if not any(before) and not any(after):
            return value
        pairs = [margin for both in zip(reversed(before), reversed(after), strict=True) for margin in both]
        return torch.nn.functional.pad(value, pairs, value=filler)
    for axis, (first, last) in enumerate(zip(before, after, strict=True)):
        if first or last:
            value = value.index_select(axis, _mirrored(node, value, axis, (first, last), mode))
    return value


def _mirrored(node: Node, value: torch.Tensor, axis: int, margins: tuple[int, int], mode: str) -> torch.Tensor:
    """Return the places along an axis that a margin repeats."""
    length = value.shape[axis]
    if length == 0:
        raise refusal(node, f"axis {axis} is empty, so that a margin has nothing to repeat")
    places = torch.arange(-margins[0], length + margins[1], device=value.device)
    if mode == "edge":
        return places.clamp(0, length - 1)
    if mode == "wrap":
        return places.remainder(length)
    there_and_back = places.remainder(max(2 * (length - 1), 1))
    return torch.minimum(there_and_back, 2 * (length - 1) - there_and_back)


def center_crop_pad(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor cut, or given margins of zeros, on both sides to given lengths."""
    value, wanted = given(node, values, 0), integers(node, given(node, values, 1))
    axes = [axis_of(node, axis, value.dim()) for axis in wholes(node, "axes", tuple(range(value.dim())))]
    if len(axes) != len(wanted) or min(wanted, default=0) < 0:
        raise refusal(node, f"a shape of {wanted} does not fit {len(axes)} axes")
    margins = [0] * (2 * value.dim())
    for axis, length in zip(axes, wanted, strict=True):
        missing = length - value.shape[axis]
        before = missing // 2 if missing > 0 else -(-missing // 2)
        place = 2 * (value.dim() - 1 - axis)  # the last axis comes first
        margins[place], margins[place + 1] = before, missing - before
    return torch.nn.functional.pad(value, margins)


def tile(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor repeated along each axis."""
    value = given(node, values, 0)
    repeats = integers(node, given(node, values, 1))
    if version(node) < 6:
        axis, times = integers(node, given(node, values, 2))[0], repeats[0]
        repeats = [times if place == axis_of(node, axis, value.dim()) else 1 for place in range(value.dim())]
    if len(repeats) != value.dim() or min(repeats, default=0) < 0:
        raise refusal(node, f"repeats of {repeats} do not fit {value.dim()} dimensions")
    return value.repeat(repeats)


def _bounds(node: Node, values: Values) -> tuple[tuple[int, ...], ...]:
    """Return starts, ends, axes and steps: attributes before opset 10, inputs since."""
    if version(node) < 10:
        return wholes(node, "starts"), wholes(node, "ends"), wholes(node, "axes"), ()
    given_ = (optional(values, place) for place in range(1, 5))
    starts, ends, axes, steps = (() if value is None else tuple(integers(node, value)) for value in given_)
    return starts, ends, axes, steps


TABLE = {
    "CenterCropPad": Known(center_crop_pad, "axes"),
    "Concat": Known(concat, "axis"),
    "Pad": Known(pad, "mode pads paddings value"),
    "Slice": Known(slice_, "axes ends starts"),
    "Split": Known(split, "axis num_outputs split"),
    "Tile": Known(tile),
}
