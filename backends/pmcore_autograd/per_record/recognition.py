"""Which operators are known to use a parameter, and in which of their arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pmcore_autograd.per_record.broadcasting import Added, Pointwise, Scaling
from pmcore_autograd.per_record.convolutions import Geometry
from pmcore_autograd.per_record.folding import aligned
from pmcore_autograd.per_record.kinds import Arguments, Convolved, Kind, LookedUp, Multiplied

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Operand:
    """A parameter, or what is computed of parameters alone, as an operator is given it.

    Parameters
    ----------
    position : among the arguments
    place : among the tensors of that argument, where it is a list of them
    size : of what is shown; 1 along axes on which it repeats itself
    """

    position: int
    place: int | None
    size: tuple[int, ...]


def recognised(
    operator: Any, given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand
) -> Kind | None:
    """Return how an operator uses an operand, or None where that is not known.

    Parameters
    ----------
    operator : an overload of `torch.ops.aten`
    given, options : its arguments by position and by name
    output : shape of its first result
    """
    import torch

    name = operator.overloadpacket.__name__
    if name.endswith("_") and operand.position == 0:
        return None
    known = _KNOWN.get(name)
    if known is not None:
        return known(given, options, output, operand)
    pointwise = (torch.Tag.pointwise in operator.tags or name in _POINTWISE) and not name.endswith("_") and not options
    fits = operand.place is None and len(output) >= len(operand.size)
    if pointwise and fits:
        return Pointwise(aligned(operand.size, len(output)), operator, operand.position)
    return None


Known = Callable[[Arguments, dict[str, Any], tuple[int, ...], Operand], Kind | None]


def _matrices(
    given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand, first: int
) -> Kind | None:
    """Read mm, bmm, mv (first = 0) and those that add something to the product (first = 1)."""
    if options.get("beta", 1) != 1 or options.get("alpha", 1) != 1 or operand.place is not None:
        return None
    if operand.position < first:
        return Added(aligned(operand.size, len(output)))
    on_left = operand.position == first
    other = first + 1 if on_left else first
    if len(output) == 3:
        matrices = given[operand.position].shape[0]
        return Multiplied(other, on_left, batched=True, grouped=operand.size[0] == matrices > 1)
    return Multiplied(other, on_left) if given[other].ndim == 2 else None


def _convolution(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    if operand.position == 2:
        return Added(aligned((*operand.size, *(1,) * (len(output) - 2)), len(output)))
    if operand.position != 1 or tuple(given[1].shape) != operand.size or len(output) != given[0].ndim:
        return None
    stride, padding, dilation, transposed, output_padding, groups = given[3:9]
    axes = len(output) - 2
    wide = [tuple(value) * (axes if len(value) == 1 else 1) for value in (stride, padding, dilation, output_padding)]
    return Convolved(Geometry(wide[0], wide[1], wide[2], transposed, wide[3], groups))


def _batch_norm(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    """Read normalisation by stored statistics: x, weight, bias, mean, variance, training, momentum, eps."""
    if given[5] or given[3] is None or given[4] is None:
        return None
    size = aligned((*operand.size, *(1,) * (len(output) - 2)), len(output))
    if operand.position == 2:
        return Added(size)
    return Scaling(size, (0, 3, 4), partial(_standardised, epsilon=given[7])) if operand.position == 1 else None


def _layer_norm(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    """Read x, the shape that is normalised, weight, bias, eps."""
    import torch

    size = aligned(operand.size, len(output))
    if operand.position == 3:
        return Added(size)
    layer_norm = torch.nn.functional.layer_norm
    normalised = partial(layer_norm, normalized_shape=list(given[1]), eps=given[4])
    return Scaling(size, (0,), normalised) if operand.position == 2 else None


def _rms_norm(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    """Read x, the shape that is normalised, weight, eps."""
    import torch

    normalised = partial(torch.nn.functional.rms_norm, normalized_shape=list(given[1]), eps=given[3])
    return Scaling(aligned(operand.size, len(output)), (0,), normalised) if operand.position == 2 else None


def _group_norm(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    """Read x, weight, bias, records, channels, positions, groups, eps."""
    import torch

    size = aligned((*operand.size, *(1,) * (len(output) - 2)), len(output))
    if operand.position == 2:
        return Added(size)
    normalised = partial(torch.nn.functional.group_norm, num_groups=given[6], eps=given[7])
    return Scaling(size, (0,), normalised) if operand.position == 1 else None


def _sum(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    return Added(aligned(operand.size, len(output)), float(options.get("alpha", 1) if operand.position else 1))


def _difference(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    factor = -float(options.get("alpha", 1)) if operand.position else 1.0
    return Added(aligned(operand.size, len(output)), factor)


def _product(
    given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand, inside: bool
) -> Kind | None:
    other = 1 - operand.position
    if not hasattr(given[other], "detach"):
        return None
    return Scaling(aligned(operand.size, len(output)), (other,), _itself, overwrites=inside)


def _copy(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    """Read copies of what repeats itself, by expanding or by `repeat`."""
    size = aligned(operand.size, len(output))
    fits = all(length in (1, whole) for length, whole in zip(size, output, strict=True))
    return Added(size) if fits else None


def _concatenation(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    if operand.place is None:
        return None
    tensors = given[0]
    axis = (given[1] if len(given) > 1 else options.get("dim", 0)) % len(output)
    first = sum(tensor.shape[axis] for tensor in tensors[: operand.place])
    length = tensors[operand.place].shape[axis]
    return Added(operand.size, part=(axis, first, length)) if operand.size[axis] == length else None


def _embedding(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    """Read table, numbers, padding number, whether gradients are scaled, whether they are sparse."""
    scaled = len(given) > 3 and given[3]
    without = given[2] if len(given) > 2 else -1
    return LookedUp(1, None, given[1].ndim, without) if operand.position == 0 and not scaled else None


def _selection(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    """Read table, axis, numbers."""
    first_axis = operand.position == 0 and given[1] % max(1, given[0].ndim) == 0
    return LookedUp(2, None, 1) if first_axis and given[2].ndim == 1 else None


def _indexing(given: Arguments, options: dict[str, Any], output: tuple[int, ...], operand: Operand) -> Kind | None:
    """Read table, numbers for each axis: rows alone are picked."""
    numbers = given[1][0] if given[1] else None
    whole = all(value is None for value in given[1][1:])
    if operand.position or operand.place is not None or numbers is None or not whole or _is_mask(numbers):
        return None
    return LookedUp(1, 0, numbers.ndim)


def _standardised(x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    import torch

    return torch.nn.functional.batch_norm(x, mean, variance, None, None, False, 0.0, epsilon)


def _itself(x: torch.Tensor) -> torch.Tensor:
    return x


def _is_mask(numbers: torch.Tensor) -> bool:
    return str(numbers.dtype) in ("torch.bool", "torch.uint8")


_POINTWISE = {"_prelu_kernel"}
"""Operators that work number by number and are not marked so."""
_KNOWN: dict[str, Known] = {
    "mm": partial(_matrices, first=0),
    "bmm": partial(_matrices, first=0),
    "mv": partial(_matrices, first=0),
    "addmm": partial(_matrices, first=1),
    "baddbmm": partial(_matrices, first=1),
    "convolution": _convolution,
    "_convolution": _convolution,
    "native_batch_norm": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "miopen_batch_norm": _batch_norm,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_fused_rms_norm": _rms_norm,
    "add": _sum,
    "add_": _sum,
    "sub": _difference,
    "sub_": _difference,
    "mul": partial(_product, inside=False),
    "mul_": partial(_product, inside=True),
    "clone": _copy,
    "repeat": _copy,
    "cat": _concatenation,
    "embedding": _embedding,
    "index_select": _selection,
    "index": _indexing,
}
