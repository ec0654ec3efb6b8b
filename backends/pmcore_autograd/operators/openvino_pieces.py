"""OpenVINO's slices: by start, stop and step, with or without masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, given, integers, optional, refusal, wholes

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

_MASKS = ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask")


def piece(node: Node, x: torch.Tensor, axis: int, start: int | None, stop: int | None, step: int) -> torch.Tensor:
    """Return what Python's ``[start:stop:step]`` takes along one axis."""
    taken = _range(node, x.shape[axis], start, stop, step)
    if step == 1:
        return x.narrow(axis, taken.start if len(taken) else 0, len(taken))
    return x.index_select(axis, torch.tensor(list(taken), dtype=torch.int64, device=x.device))


def _slice(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    starts, stops, steps = (integers(node, given(node, values, place)) for place in (1, 2, 3))
    named = optional(values, 4)
    axes = list(range(len(starts))) if named is None else integers(node, named)
    if not len(starts) == len(stops) == len(steps) == len(axes):
        raise refusal(node, "it has not as many starts as stops, steps and axes")
    for start, stop, step, axis in zip(starts, stops, steps, axes, strict=True):
        x = piece(node, x, axis_of(node, axis, x.dim()), start, _end(stop, step, x.shape[axis]), step)
    return x


def _slice_scatter(node: Node, values: Values) -> torch.Tensor:
    x, updates = given(node, values, 0), given(node, values, 1)
    starts, stops, steps = (integers(node, given(node, values, place)) for place in (2, 3, 4))
    named = optional(values, 5)
    axes = list(range(len(starts))) if named is None else integers(node, named)
    if not len(starts) == len(stops) == len(steps) == len(axes):
        raise refusal(node, "it has not as many starts as stops, steps and axes")
    taken = [range(size) for size in x.shape]
    for start, stop, step, axis in zip(starts, stops, steps, axes, strict=True):
        place = axis_of(node, axis, x.dim())
        taken[place] = _range(node, x.shape[place], start, _end(stop, step, x.shape[place]), step)
    grids = torch.meshgrid(*(torch.tensor(list(places), device=x.device) for places in taken), indexing="ij")
    return torch.index_put(x, grids, updates.expand(grids[0].shape))


def _range(node: Node, size: int, start: int | None, stop: int | None, step: int) -> range:
    """Return the places that a slice takes along an axis."""
    if step == 0:
        raise refusal(node, "its step is 0")
    return range(size)[slice(start, stop, step)]


def _end(stop: int, step: int, size: int) -> int | None:
    """Return where to stop; below the first element there is no index, which Python writes as None."""
    return None if step < 0 and stop < -size else stop


def _strided_slice(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    begins, ends = (integers(node, given(node, values, place)) for place in (1, 2))
    stepped = optional(values, 3)
    steps = [1] * len(begins) if stepped is None else integers(node, stepped)
    free_begin, free_end, new, shrunk, ellipsis = (wholes(node, name) for name in _MASKS)
    count = len(begins)
    if not count == len(ends) == len(steps):
        raise refusal(node, "it has not as many begins as ends and strides")
    axis = 0
    for place in range(count):
        if _set(ellipsis, place):
            later = sum(not _set(new, after) for after in range(place + 1, count))
            axis = x.dim() - later
        elif _set(new, place):
            x, axis = x.unsqueeze(axis), axis + 1
        elif axis >= x.dim():
            raise refusal(node, f"it slices more axes than a tensor of {x.dim()} dimensions has")
        elif _set(shrunk, place):
            x = x.select(axis, begins[place])
        else:
            start = None if _set(free_begin, place) else begins[place]
            stop = None if _set(free_end, place) else _end(ends[place], steps[place], x.shape[axis])
            x, axis = piece(node, x, axis, start, stop, steps[place]), axis + 1
    return x


def _set(mask: tuple[int, ...], place: int) -> bool:
    return place < len(mask) and bool(mask[place])


TABLE: Mapping[str, Known] = {
    "Slice": Known(_slice),
    "SliceScatter": Known(_slice_scatter),
    "StridedSlice": Known(_strided_slice, " ".join(_MASKS)),
}
