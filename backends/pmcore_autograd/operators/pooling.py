"""Pooling over windows and over whole planes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, integers, refusal, whole
from pmcore_autograd.operators.windows import Windows, padded, positions, windows

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")


def max_pool(node: Node, values: Values) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Return the largest element of each window, and where in the input it stands if that is asked for."""
    value = given(node, values, 0)
    slid = windows(node, value.shape[2:])
    whole_numbers = not value.is_floating_point()
    taken = value.to(torch.float64) if whole_numbers else value
    lowest = -torch.inf
    reach = _reach(node, slid, value.shape[2:])
    if _plain(node, slid):
        laid, margins = taken, slid.before
    else:
        laid, margins = padded(taken, slid.before, reach, lowest), (0,) * len(slid.kernel)
    function = getattr(functional, f"max_pool{_rank(node, value)}d")
    wanted = len(node.outputs) > 1 and bool(node.outputs[1])
    options = {"dilation": slid.dilations, "return_indices": wanted}
    found: Any = function(laid, slid.kernel, slid.strides, margins, **options)
    if not wanted:
        largest: torch.Tensor = found.to(value.dtype)
        return largest
    offsets = (0,) * len(slid.kernel) if laid is taken else slid.before
    where = _places(node, found[1], laid.shape[2:], value.shape, offsets)
    return found[0].to(value.dtype), where


def average_pool(node: Node, values: Values) -> torch.Tensor:
    """Return the mean of each window; the margin counts where the node says so."""
    value = given(node, values, 0)
    slid = windows(node, value.shape[2:])
    counted = flag(node, "count_include_pad")
    after = _reach(node, slid, value.shape[2:])
    if _plain(node, slid) and set(slid.dilations) == {1}:
        function = getattr(functional, f"avg_pool{_rank(node, value)}d")
        result: torch.Tensor = function(value, slid.kernel, slid.strides, slid.before, False, counted)
        return result
    ones = torch.ones((1, 1, *value.shape[2:]), dtype=value.dtype, device=value.device)
    if counted:
        ones = padded(ones, slid.before, slid.after, 1.0)
        ones = padded(ones, (0,) * len(after), [a - b for a, b in zip(after, slid.after, strict=True)])
    else:
        ones = padded(ones, slid.before, after)
    return _sums(node, padded(value, slid.before, after), slid) / _sums(node, ones, slid)


def lp_pool(node: Node, values: Values) -> torch.Tensor:
    """Return the p-norm of each window."""
    value, order = given(node, values, 0), whole(node, "p", 2)
    slid = windows(node, value.shape[2:])
    laid = padded(value, slid.before, _reach(node, slid, value.shape[2:]))
    return _sums(node, laid.abs() ** order, slid) ** (1 / order)


def global_average(node: Node, values: Values) -> torch.Tensor:
    """Return the mean of each plane."""
    value = given(node, values, 0)
    return value.mean(tuple(range(2, value.dim())), keepdim=True)


def global_max(node: Node, values: Values) -> torch.Tensor:
    """Return the largest element of each plane."""
    value = given(node, values, 0)
    return value.flatten(2).max(2).values.reshape(value.shape[:2] + (1,) * (value.dim() - 2))


def global_lp(node: Node, values: Values) -> torch.Tensor:
    """Return the p-norm of each plane."""
    value = given(node, values, 0)
    norm: torch.Tensor = torch.linalg.vector_norm(value, whole(node, "p", 2), tuple(range(2, value.dim())), True)
    return norm


def max_unpool(node: Node, values: Values) -> torch.Tensor:
    """Return a plane of zeros with elements put where a pooling found them."""
    value, places = given(node, values, 0), given(node, values, 1)
    slid = windows(node, value.shape[2:])
    if len(values) > 2 and values[2] is not None:
        shape = integers(node, values[2])
    else:
        zipped = zip(value.shape[2:], slid.strides, slid.spans, slid.before, slid.after, strict=True)
        shape = [*value.shape[:2], *((n - 1) * stride + span - b - a for n, stride, span, b, a in zipped)]
    sized(node, shape)
    bare = torch.zeros(prod(shape), dtype=value.dtype, device=value.device)
    return torch.scatter(bare, 0, places.reshape(-1), value.reshape(-1)).reshape(shape)


def _plain(node: Node, slid: Windows) -> bool:
    """Return whether torch's own margins do: the same on both sides, at most half a window, none in part."""
    even = slid.before == slid.after and not flag(node, "ceil_mode")
    return even and all(2 * margin <= k for margin, k in zip(slid.before, slid.kernel, strict=True))


def _reach(node: Node, slid: Windows, plane: Sequence[int]) -> tuple[int, ...]:
    """Return the margins after the input that the last windows need."""
    counts = positions(node, slid, plane)
    return tuple(
        max(after, (count - 1) * stride + span - length - before)
        for count, stride, span, length, before, after in zip(
            counts, slid.strides, slid.spans, plane, slid.before, slid.after, strict=True
        )
    )


def _sums(node: Node, laid: torch.Tensor, slid: Windows) -> torch.Tensor:
    """Return the sum over each window of a tensor that has its margins."""
    rank = _rank(node, laid)
    if set(slid.dilations) == {1}:
        mean: torch.Tensor = getattr(functional, f"avg_pool{rank}d")(laid, slid.kernel, slid.strides)
        return mean * prod(slid.kernel)
    ones = torch.ones((1, 1, *slid.kernel), dtype=laid.dtype, device=laid.device)
    rows = laid.reshape(-1, 1, *laid.shape[2:])
    total: torch.Tensor = getattr(functional, f"conv{rank}d")(rows, ones, None, slid.strides, 0, slid.dilations)
    return total.reshape(*laid.shape[:2], *total.shape[2:])


def _places(
    node: Node, found: torch.Tensor, laid: Sequence[int], shape: Sequence[int], before: Sequence[int]
) -> torch.Tensor:
    """Return places in the flattened input from places in each plane with its margins.

    Parameters
    ----------
    found : places in a flattened plane, shape (n, channels, ...)
    laid : the plane's lengths with margins
    shape : the input's shape
    before : the margins before
    """
    coordinates = []
    for length, margin in zip(reversed(laid), reversed(before), strict=True):
        coordinates.append(found % length - margin)
        found = found // length
    if not flag(node, "storage_order"):
        coordinates.reverse()
        lengths = list(shape[2:])
    else:
        lengths = list(shape[2:])[::-1]
    place = torch.zeros_like(found)
    for coordinate, length in zip(coordinates, lengths, strict=True):
        place = place * length + coordinate
    planes = torch.arange(shape[0] * shape[1], device=place.device).reshape((*shape[:2],) + (1,) * len(lengths))
    return place + planes * prod(lengths)


def _rank(node: Node, value: torch.Tensor) -> int:
    rank = value.dim() - 2
    if not 1 <= rank <= 3:
        raise refusal(node, f"it runs over {rank} spatial dimensions; 1 to 3 are known here")
    return rank


_SLIDING = "auto_pad ceil_mode dilations kernel_shape pads strides"
TABLE = {
    "AveragePool": Known(average_pool, f"{_SLIDING} count_include_pad"),
    "GlobalAveragePool": Known(global_average),
    "GlobalLpPool": Known(global_lp, "p"),
    "GlobalMaxPool": Known(global_max),
    "LpPool": Known(lp_pool, f"{_SLIDING} p"),
    "MaxPool": Known(max_pool, f"{_SLIDING} storage_order"),
    "MaxUnpool": Known(max_unpool, "kernel_shape pads strides"),
}
