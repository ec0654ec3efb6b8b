"""OpenVINO's operations by index: gathering, scattering, choosing the greatest, counting out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.indexing import from_front
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.openvino_types import cast
from pmcore_autograd.operators.reading import axis_of, flag, given, integers, optional, refusal, version, whole, word

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def _gather(node: Node, values: Values) -> torch.Tensor:
    x, places = given(node, values, 0), given(node, values, 1).long()
    axis = axis_of(node, integers(node, given(node, values, 2))[0], x.dim())
    shared = whole(node, "batch_dims", 0)
    shared = axis_of(node, shared, places.dim()) if shared < 0 else shared
    if shared > min(axis, places.dim()):
        raise refusal(node, f"batch_dims={shared} is more than the axes before {axis}")
    places = from_front(places, x.shape[axis])
    if not shared:
        taken = x.index_select(axis, places.reshape(-1))
        return taken.reshape((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))
    rows = places.flatten(shared) if places.dim() > shared else places.unsqueeze(shared)
    rows = rows.reshape((*rows.shape[:shared], *(1,) * (axis - shared), -1, *(1,) * (x.dim() - axis - 1)))
    rows = rows.expand(*x.shape[:axis], rows.shape[axis], *x.shape[axis + 1 :])
    taken = torch.gather(x, axis, rows)
    return taken.reshape((*x.shape[:axis], *places.shape[shared:], *x.shape[axis + 1 :]))


def _gather_elements(node: Node, values: Values) -> torch.Tensor:
    x, places = given(node, values, 0), given(node, values, 1).long()
    axis = axis_of(node, whole(node, "axis", 0), x.dim())
    return torch.gather(x, axis, from_front(places, x.shape[axis]))


def _gather_nd(node: Node, values: Values) -> torch.Tensor:
    x, places = given(node, values, 0), given(node, values, 1).long()
    shared, deep = whole(node, "batch_dims", 0), places.shape[-1]
    if not 0 <= shared < places.dim() or shared + deep > x.dim():
        raise refusal(node, f"batch_dims={shared} does not fit its operands")
    lead, inner = x.shape[:shared], x.shape[shared + deep :]
    indices = [from_front(places[..., i], x.shape[shared + i]) for i in range(deep)]
    taken = x[(*_grid(lead, places.dim() - 1 - shared, x.device), *indices)]
    if version(node) < 8 and shared > 1:
        taken = taken.reshape(-1, *places.shape[shared:-1], *inner)
    return taken


def _grid(lead: tuple[int, ...], after: int, device: torch.device) -> list[torch.Tensor]:
    """Return indices that take every element of the leading axes, to stand before those of `after` other axes."""
    return [
        torch.arange(size, device=device).reshape((*(1,) * axis, -1, *(1,) * (len(lead) - axis - 1 + after)))
        for axis, size in enumerate(lead)
    ]


def _scatter_elements(node: Node, values: Values) -> torch.Tensor:
    x, places, updates = given(node, values, 0), given(node, values, 1).long(), given(node, values, 2)
    axis = axis_of(node, integers(node, given(node, values, 3))[0], x.dim())
    places = from_front(places, x.shape[axis])
    how = word(node, "reduction", "none sum prod min max mean")
    if how == "none":
        return torch.scatter(x, axis, places, updates)
    names = {"sum": "sum", "prod": "prod", "min": "amin", "max": "amax", "mean": "mean"}
    start = flag(node, "use_init_val", True)
    return torch.scatter_reduce(x, axis, places, updates, names[how], include_self=start)


def _scatter_nd(node: Node, values: Values) -> torch.Tensor:
    x, places, updates = given(node, values, 0), given(node, values, 1).long(), given(node, values, 2)
    deep = places.shape[-1]
    if deep > x.dim():
        raise refusal(node, f"indices of {deep} axes do not fit a tensor of {x.dim()} dimensions")
    indices = tuple(from_front(places[..., i], x.shape[i]) for i in range(deep))
    how = word(node, "reduction", "none sum sub")
    if how == "none":
        return torch.index_put(x, indices, updates)
    return torch.index_put(x, indices, updates if how == "sum" else -updates, accumulate=True)


def _scatter(node: Node, values: Values) -> torch.Tensor:
    x, places, updates = given(node, values, 0), given(node, values, 1).long(), given(node, values, 2)
    axis = axis_of(node, integers(node, given(node, values, 3))[0], x.dim())
    moved = x.movedim(axis, 0)
    rest = updates.reshape((*x.shape[:axis], -1, *x.shape[axis + 1 :])).movedim(axis, 0)
    put = torch.index_put(moved, (from_front(places.reshape(-1), x.shape[axis]),), rest)
    return put.movedim(0, axis)


def _greatest(node: Node, values: Values) -> tuple[torch.Tensor, torch.Tensor]:
    x, count = given(node, values, 0), integers(node, given(node, values, 1))[0]
    axis = axis_of(node, whole(node, "axis", -1), x.dim())
    top, places = torch.topk(x, count, axis, word(node, "mode", "max min") == "max")
    if word(node, "sort", "value index none") == "index":
        places, order = torch.sort(places, axis)
        top = torch.gather(top, axis, order)
    return top, cast(node, places, node.attributes.get("index_element_type", "i32"))


def _one_hot(node: Node, values: Values) -> torch.Tensor:
    places, on, off = given(node, values, 0).long(), given(node, values, 2), given(node, values, 3)
    depth = integers(node, given(node, values, 1))[0]
    axis = axis_of(node, whole(node, "axis", -1), places.dim() + 1)
    if word(node, "negative_indices_mode", "ignore_negative normalize") == "normalize":
        places = from_front(places, depth)
    counted = torch.arange(depth, device=places.device).reshape(-1, *(1,) * (places.dim() - axis))
    return torch.where(places.unsqueeze(axis) == counted, on, off)


def _reverse_sequence(node: Node, values: Values) -> torch.Tensor:
    x, lengths = given(node, values, 0), given(node, values, 1).long()
    batch = axis_of(node, whole(node, "batch_axis", 0), x.dim())
    axis = axis_of(node, whole(node, "seq_axis", 1), x.dim())
    return reversed_until(x, lengths, batch, axis)


def reversed_until(x: torch.Tensor, lengths: torch.Tensor, batch: int, axis: int) -> torch.Tensor:
    """Return a tensor with the first `lengths` elements of each sequence in reverse, the others as they are."""
    shape = [1] * x.dim()
    shape[axis] = x.shape[axis]
    steps = torch.arange(x.shape[axis], device=x.device).reshape(shape)
    shape[axis], shape[batch] = 1, x.shape[batch]
    lengths = lengths.reshape(shape)
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return torch.gather(x, axis, places.expand(x.shape))


def _embedding_bag(node: Node, values: Values) -> torch.Tensor:
    table, places, weights = given(node, values, 0), given(node, values, 1).long(), optional(values, 2)
    taken = table[places]  # (bags, entries, ...)
    if weights is not None:
        taken = taken * weights.reshape((*weights.shape, *(1,) * (taken.dim() - 2)))
    if word(node, "reduction", "sum mean") == "mean":
        return taken.mean(1)
    return taken.sum(1)


TABLE: Mapping[str, Known] = {
    "EmbeddingBagPacked": Known(_embedding_bag, "reduction"),
    "EmbeddingBagPackedSum": Known(_embedding_bag),
    "Gather": Known(_gather, "batch_dims"),
    "GatherElements": Known(_gather_elements, "axis"),
    "GatherND": Known(_gather_nd, "batch_dims"),
    "OneHot": Known(_one_hot, "axis negative_indices_mode"),
    "ReverseSequence": Known(_reverse_sequence, "batch_axis seq_axis"),
    "ScatterElementsUpdate": Known(_scatter_elements, "reduction use_init_val"),
    "ScatterNDUpdate": Known(_scatter_nd, "reduction"),
    "ScatterUpdate": Known(_scatter),
    "TopK": Known(_greatest, "axis mode sort stable index_element_type"),
}
