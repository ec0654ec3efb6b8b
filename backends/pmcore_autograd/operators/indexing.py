"""Operators that pick elements by place, sort them, or mark places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, flag, given, integers, numbers, optional, refusal, version, whole

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def gather(node: Node, values: Values) -> torch.Tensor:
    """Return slices along an axis, as from a table of embeddings."""
    value, places = given(node, values, 0), given(node, values, 1)
    axis = axis_of(node, whole(node, "axis", 0), value.dim())
    flat = from_front(places.reshape(-1), value.shape[axis])
    return value.index_select(axis, flat).reshape(value.shape[:axis] + places.shape + value.shape[axis + 1 :])


def gather_elements(node: Node, values: Values) -> torch.Tensor:
    """Return one element for each place, along an axis."""
    value, places = given(node, values, 0), given(node, values, 1)
    axis = axis_of(node, whole(node, "axis", 0), value.dim())
    return torch.gather(value, axis, from_front(places, value.shape[axis]))


def gather_nd(node: Node, values: Values) -> torch.Tensor:
    """Return slices at places with several coordinates, within each of some leading dimensions."""
    value, places = given(node, values, 0), given(node, values, 1)
    shared, depth = whole(node, "batch_dims", 0), places.shape[-1]
    lengths = value.shape[shared : shared + depth]
    if len(lengths) != depth or value.shape[:shared] != places.shape[:shared]:
        raise refusal(node, f"places of {depth} coordinates do not fit a tensor of shape {tuple(value.shape)}")
    behind, outer = value.shape[shared + depth :], value.shape[:shared].numel()
    flat = flat_places(places, lengths).reshape(outer, -1)
    flat = flat + torch.arange(outer, device=flat.device)[:, None] * lengths.numel()
    rows = value.reshape(outer * lengths.numel(), *behind)
    return rows.index_select(0, flat.reshape(-1)).reshape(places.shape[:-1] + behind)


def one_hot(node: Node, values: Values) -> torch.Tensor:
    """Return rows with one value at a place and another one elsewhere; a place out of range marks nothing."""
    places, rest = given(node, values, 0), given(node, values, 2)
    depth = integers(node, given(node, values, 1))[0]
    sized(node, [*places.shape, depth])
    axis = axis_of(node, whole(node, "axis", -1), places.dim() + 1)
    counted = torch.arange(depth, device=places.device).reshape((-1,) + (1,) * (places.dim() - axis))
    marked = from_front(places, depth).unsqueeze(axis) == counted
    return torch.where(marked, rest[1], rest[0])


def top(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return the largest or smallest elements along an axis and their places; of equal ones the first comes first."""
    value = given(node, values, 0)
    axis = axis_of(node, whole(node, "axis", -1), value.dim())
    count = whole(node, "k", 0) if version(node) < 10 else integers(node, given(node, values, 1))[0]
    if not 0 <= count <= value.shape[axis]:
        raise refusal(node, f"there are no {count} elements along an axis of {value.shape[axis]}")
    flag(node, "sorted", True)  # without it any order will do, this one too
    found = torch.sort(value, dim=axis, descending=flag(node, "largest", True), stable=True)
    return found.values.narrow(axis, 0, count), found.indices.narrow(axis, 0, count)


def compress(node: Node, values: Values) -> torch.Tensor:
    """Return the slices along an axis at which a condition holds."""
    value, condition = given(node, values, 0), numbers(node, given(node, values, 1))
    if "axis" not in node.attributes:
        value, axis = value.reshape(-1), 0
    else:
        axis = axis_of(node, whole(node, "axis", 0), value.dim())
    kept = [place for place, holds in enumerate(condition) if holds]
    return value.index_select(axis, torch.tensor(kept, dtype=torch.int64, device=value.device))


def non_zero(node: Node, values: Values) -> torch.Tensor:
    """Return the places of elements other than zero, which must not differ from record to record."""
    value = given(node, values, 0)
    numbers(node, value)
    return torch.nonzero(value).t()


def trilu(node: Node, values: Values) -> torch.Tensor:
    """Return the upper or lower triangle of matrices."""
    value, diagonal = given(node, values, 0), optional(values, 1)
    k = 0 if diagonal is None else integers(node, diagonal)[0]
    return torch.triu(value, k) if flag(node, "upper", True) else torch.tril(value, k)


def reverse_sequence(node: Node, values: Values) -> torch.Tensor:
    """Return sequences of different lengths, each turned around; what lies behind a sequence stays."""
    value, lengths = given(node, values, 0), given(node, values, 1)
    time, batch = whole(node, "time_axis", 0), whole(node, "batch_axis", 1)
    if {time, batch} != {0, 1}:
        raise refusal(node, f"time_axis={time} and batch_axis={batch} are not 0 and 1")
    steps = torch.arange(value.shape[time], device=value.device)
    turned = lengths.reshape(-1, 1) - 1 - steps
    places = torch.where(turned < 0, steps, turned)
    places = (places.t() if time == 0 else places).reshape(*value.shape[:2], *(1,) * (value.dim() - 2))
    return torch.gather(value, time, places.expand(value.shape))


def from_front(places: torch.Tensor, length: int | torch.Tensor) -> torch.Tensor:
    """Return places counted from the front where negative ones count from the back."""
    places = places.to(torch.int64)
    return torch.where(places < 0, places + length, places)


def flat_places(places: torch.Tensor, lengths: torch.Size) -> torch.Tensor:
    """Return places in a flattened tensor.

    Parameters
    ----------
    places : coordinates in the last dimension
    lengths : the tensor's lengths, one per coordinate
    """
    strides = [lengths[place + 1 :].numel() for place in range(len(lengths))]
    device = places.device
    counted = from_front(places, torch.tensor(lengths, dtype=torch.int64, device=device))
    return (counted * torch.tensor(strides, dtype=torch.int64, device=device)).sum(-1)


TABLE = {
    "Compress": Known(compress, "axis"),
    "Gather": Known(gather, "axis"),
    "GatherElements": Known(gather_elements, "axis"),
    "GatherND": Known(gather_nd, "batch_dims"),
    "NonZero": Known(non_zero),
    "OneHot": Known(one_hot, "axis"),
    "ReverseSequence": Known(reverse_sequence, "batch_axis time_axis"),
    "TopK": Known(top, "axis k largest sorted"),
    "Trilu": Known(trilu, "upper"),
}
