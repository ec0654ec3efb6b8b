"""OpenVINO's reductions over axes, and the running sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, flag, given, integers

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def axes_from(node: Node, values: Values, place: int) -> tuple[int, ...]:
    """Return the axes that an input names, counted from the front, each once and in order."""
    rank = given(node, values, 0).dim()
    named = integers(node, given(node, values, place))
    return tuple(sorted({axis_of(node, axis, rank) for axis in named}))


def _reduction(name: str) -> Operator:
    def run(node: Node, values: Values) -> torch.Tensor:
        x, axes = given(node, values, 0), axes_from(node, values, 1)
        return _REDUCTIONS[name](x, axes, flag(node, "keep_dims")) if axes else _alone(name, x)

    return run


def _alone(name: str, x: torch.Tensor) -> torch.Tensor:
    """Return what is left of elements that are reduced over no axis."""
    return torch.abs(x) if name in ("ReduceL1", "ReduceL2") else x


def _mean(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    if x.dtype.is_floating_point:
        return x.mean(axes, keepdim=keep)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return torch.div(x.sum(axes, keepdim=keep), count, rounding_mode="trunc").to(x.dtype)


def _sum(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    return torch.sum(x, axes, keepdim=keep, dtype=x.dtype)


def _product(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    kind = x.dtype
    for axis in reversed(axes):
        x = torch.prod(x, axis, keepdim=keep, dtype=kind)
    return x


def _greatest(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    return torch.amax(x, axes, keepdim=keep)


def _least(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    return torch.amin(x, axes, keepdim=keep)


def _l1(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    return torch.abs(x).sum(axes, keepdim=keep)


def _l2(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    result: torch.Tensor = torch.linalg.vector_norm(x, dim=axes, keepdim=keep)
    return result


def _all(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    return torch.all(x, axes, keepdim=keep)


def _any(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    return torch.any(x, axes, keepdim=keep)


_REDUCTIONS: Mapping[str, Callable[[torch.Tensor, tuple[int, ...], bool], torch.Tensor]] = {
    "ReduceL1": _l1,
    "ReduceL2": _l2,
    "ReduceLogicalAnd": _all,
    "ReduceLogicalOr": _any,
    "ReduceMax": _greatest,
    "ReduceMean": _mean,
    "ReduceMin": _least,
    "ReduceProd": _product,
    "ReduceSum": _sum,
}


def _cumulative_sum(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    axis = axis_of(node, integers(node, given(node, values, 1))[0], x.dim()) if len(values) > 1 else 0
    if flag(node, "reverse"):
        x = x.flip(axis)
    summed = torch.cumsum(x, axis, dtype=x.dtype)
    if flag(node, "exclusive"):
        summed = summed - x
    return summed.flip(axis) if flag(node, "reverse") else summed


TABLE: Mapping[str, Known] = {
    **{kind: Known(_reduction(kind), "keep_dims") for kind in _REDUCTIONS},
    "CumSum": Known(_cumulative_sum, "exclusive reverse"),
}
