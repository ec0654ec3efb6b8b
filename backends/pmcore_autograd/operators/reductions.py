"""Sums, means, norms and extremes over dimensions, and running sums along one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, flag, given, integers, optional, whole, wholes

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

Reduction: TypeAlias = "Callable[[torch.Tensor, tuple[int, ...], bool], torch.Tensor]"


def reducing(reduction: Reduction) -> Operator:
    """Return the operator that reduces the axes a node names, in an attribute or an input, or all of them."""

    def operator(node: Node, values: Values) -> torch.Tensor:
        value, named = given(node, values, 0), optional(values, 1)
        axes = wholes(node, "axes") if named is None else tuple(integers(node, named))
        kept = flag(node, "keepdims", True)
        if not axes and flag(node, "noop_with_empty_axes"):
            return reduction(value.unsqueeze(0), (0,), False)
        over = tuple(axis_of(node, axis, value.dim()) for axis in axes) or tuple(range(value.dim()))
        return reduction(value, over, kept) if over else reduction(value.reshape(1), (0,), False)

    return operator


def total(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return sums, in the type of what is summed."""
    return value.sum(axes, kept, dtype=value.dtype)


def mean(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return means, in the type of what they are of."""
    if value.is_floating_point():
        return value.mean(axes, kept)
    return value.double().mean(axes, kept).to(value.dtype)


def product(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return products, in the type of their factors."""
    for axis in sorted(axes, reverse=True):
        value = value.prod(axis, kept, dtype=value.dtype)
    return value


def largest(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return the largest elements; equal ones share the gradient."""
    return value.amax(axes, kept) if value.numel() else _of_nothing(value, axes, kept, largest=True)


def smallest(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return the smallest elements; equal ones share the gradient."""
    return value.amin(axes, kept) if value.numel() else _of_nothing(value, axes, kept, largest=False)


def first_norm(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return sums of absolute values."""
    return total(value.abs(), axes, kept)


def second_norm(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return roots of sums of squares; where the norm is zero its gradient is zero."""
    if value.is_floating_point():
        norm: torch.Tensor = torch.linalg.vector_norm(value, 2, axes, kept)
        return norm
    return squares(value.double(), axes, kept).sqrt().to(value.dtype)


def squares(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return sums of squares."""
    return total(value * value, axes, kept)


def log_sum(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return logarithms of sums."""
    return total(value, axes, kept).log().to(value.dtype)


def log_sum_exp(value: torch.Tensor, axes: tuple[int, ...], kept: bool) -> torch.Tensor:
    """Return logarithms of sums of exponentials."""
    return torch.logsumexp(value, axes, kept).to(value.dtype)


def cumulative_sum(node: Node, values: Values) -> torch.Tensor:
    """Return running sums along an axis, from either end, with or without the element itself."""
    return _running(node, values, lambda value, axis: torch.cumsum(value, axis, dtype=value.dtype), 0)


def cumulative_product(node: Node, values: Values) -> torch.Tensor:
    """Return running products along an axis, from either end, with or without the element itself."""
    return _running(node, values, lambda value, axis: torch.cumprod(value, axis, dtype=value.dtype), 1)


def largest_place(node: Node, values: Values) -> torch.Tensor:
    """Return the first or last place of the largest element along an axis."""
    return _place(node, given(node, values, 0), torch.argmax)


def smallest_place(node: Node, values: Values) -> torch.Tensor:
    """Return the first or last place of the smallest element along an axis."""
    return _place(node, given(node, values, 0), torch.argmin)


def _place(node: Node, value: torch.Tensor, function: Callable[..., torch.Tensor]) -> torch.Tensor:
    axis = axis_of(node, whole(node, "axis", 0), value.dim())
    kept = flag(node, "keepdims", True)
    if flag(node, "select_last_index"):
        return value.shape[axis] - 1 - function(value.flip(axis), axis, kept)
    return function(value, axis, kept)


def _running(
    node: Node, values: Values, function: Callable[[torch.Tensor, int], torch.Tensor], neutral: int
) -> torch.Tensor:
    value = given(node, values, 0)
    axis = axis_of(node, integers(node, given(node, values, 1))[0], value.dim())
    backwards = flag(node, "reverse")
    value = value.flip(axis) if backwards else value
    if flag(node, "exclusive"):
        first = torch.full_like(value.narrow(axis, 0, 1), neutral)
        value = torch.cat((first, value.narrow(axis, 0, value.shape[axis] - 1)), axis)
    result = function(value, axis)
    return result.flip(axis) if backwards else result


def _of_nothing(value: torch.Tensor, axes: tuple[int, ...], kept: bool, largest: bool) -> torch.Tensor:
    """Return the extreme of no elements: the neutral one of the type."""
    if value.is_floating_point():
        extreme: float = -torch.inf if largest else torch.inf
    elif value.dtype == torch.bool:
        extreme = not largest
    else:
        extreme = torch.iinfo(value.dtype).min if largest else torch.iinfo(value.dtype).max
    return torch.full_like(value.sum(axes, kept, dtype=value.dtype), extreme)


_REDUCED = "axes keepdims noop_with_empty_axes"
_PLACED = "axis keepdims select_last_index"
TABLE = {
    "ArgMax": Known(largest_place, _PLACED),
    "ArgMin": Known(smallest_place, _PLACED),
    "CumProd": Known(cumulative_product, "exclusive reverse"),
    "CumSum": Known(cumulative_sum, "exclusive reverse"),
    "ReduceL1": Known(reducing(first_norm), _REDUCED),
    "ReduceL2": Known(reducing(second_norm), _REDUCED),
    "ReduceLogSum": Known(reducing(log_sum), _REDUCED),
    "ReduceLogSumExp": Known(reducing(log_sum_exp), _REDUCED),
    "ReduceMax": Known(reducing(largest), _REDUCED),
    "ReduceMean": Known(reducing(mean), _REDUCED),
    "ReduceMin": Known(reducing(smallest), _REDUCED),
    "ReduceProd": Known(reducing(product), _REDUCED),
    "ReduceSum": Known(reducing(total), _REDUCED),
    "ReduceSumSquare": Known(reducing(squares), _REDUCED),
}
