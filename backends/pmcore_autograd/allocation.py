"""What a node would allocate, told before it does: a file of a few bytes can ask for any amount of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, isfinite, prod
from typing import TYPE_CHECKING

from pmcore.errors import ModelError
from pmcore_autograd.graph import Node

if TYPE_CHECKING:
    import torch

LARGEST = 2**31
"""Bytes of a tensor that is made of constants alone."""
LARGEST_LIVE = 2**34
"""Bytes of a tensor that depends on the records."""


def check_size(node: Node, values: Sequence[torch.Tensor | None], limit: int) -> None:
    """Refuse a node whose result would be larger than a limit.

    Raises
    ------
    ModelError
        The result would have more bytes than `limit`.
    """
    measure = _GROWING.get(node.kind)
    if measure is None:
        return
    try:
        elements = measure(node, values)
    except (ArithmeticError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return  # the operator itself tells better what is wrong with its inputs
    if elements * 8 > limit:
        raise ModelError(
            f"{node.title}: asks for a tensor of {elements:.3g} elements, more than is computed here; "
            "export the model again, or audit it without gradients"
        )


def _numbers(value: torch.Tensor | None) -> list[float]:
    found: list[float] = [] if value is None else value.reshape(-1).tolist()
    return found


def _first(values: Sequence[torch.Tensor | None]) -> torch.Tensor:
    value = values[0]
    if value is None:
        raise ValueError("nothing to grow")
    return value


def _by_shape(place: int) -> Callable[[Node, Sequence[torch.Tensor | None]], float]:
    """Return the measure of what has the shape that an input names."""
    return lambda node, values: prod(max(abs(size), 1) for size in _numbers(values[place]))


def _expanded(node: Node, values: Sequence[torch.Tensor | None]) -> float:
    own, wanted = list(_first(values).shape), _numbers(values[1])
    rank = max(len(own), len(wanted))
    pairs = zip([1] * (rank - len(own)) + own, [1] * (rank - len(wanted)) + wanted, strict=True)
    return prod(max(size, abs(other)) for size, other in pairs)


def _tiled(node: Node, values: Sequence[torch.Tensor | None]) -> float:
    return _first(values).numel() * prod(max(abs(times), 1) for times in _numbers(values[1]))


def _range(node: Node, values: Sequence[torch.Tensor | None]) -> float:
    start, limit, step = (_numbers(value)[0] for value in values[:3])
    count = (limit - start) / step
    return ceil(count) if isfinite(count) else float("inf")


def _padded(node: Node, values: Sequence[torch.Tensor | None]) -> float:
    shape = list(_first(values).shape)
    if node.dialect == "openvino":
        before, after = _numbers(values[1]), _numbers(values[2])
    else:
        margins = list(node.attributes.get("pads", ())) or _numbers(values[1])
        before, after = margins[: len(margins) // 2], margins[len(margins) // 2 :]
    axes = _numbers(values[3]) if len(values) > 3 and node.dialect != "openvino" else range(len(shape))
    sizes: list[float] = list(shape)
    for axis, first, last in zip(axes, before, after, strict=True):
        sizes[int(axis)] += abs(first) + abs(last)
    return prod(sizes)


def _one_hot(node: Node, values: Sequence[torch.Tensor | None]) -> float:
    return _first(values).numel() * abs(_numbers(values[1])[0])


def _resized(node: Node, values: Sequence[torch.Tensor | None]) -> float:
    scales = node.attributes.get("scales") or (_numbers(values[2]) if len(values) > 2 else _numbers(values[1]))
    if scales:
        return _first(values).numel() * prod(max(scale, 1.0) for scale in scales)
    return prod(_numbers(values[3])) if len(values) > 3 else 0.0


_GROWING: Mapping[str, Callable[[Node, Sequence[torch.Tensor | None]], float]] = {
    "ConstantOfShape": _by_shape(0),
    "Broadcast": _by_shape(1),
    "Expand": _expanded,
    "Tile": _tiled,
    "Range": _range,
    "Pad": _padded,
    "OneHot": _one_hot,
    "Resize": _resized,
    "Upsample": _resized,
}
