"""Quantised operators, computed with whole numbers held as real ones, so that gradients pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.convolution import convolve
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, given, optional, refusal, whole
from pmcore_autograd.operators.straight import bounded, rounded
from pmcore_autograd.operators.types import torch_type, type_attribute

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

_NARROW = {22: (-8, 7), 21: (0, 15), 25: (0, 3), 26: (-2, 1)}  # four and two bits, which torch has no types for


def quantize_linear(node: Node, values: Values) -> torch.Tensor:
    """Return whole numbers x / scale + zero point within the bounds of a type; straight through for the gradient."""
    value, scale, zero = given(node, values, 0), given(node, values, 1), optional(values, 2)
    return quantised(node, value, scale, zero, _bounds(node, zero), whole(node, "axis", 1))


def dequantize_linear(node: Node, values: Values) -> torch.Tensor:
    """Return (x - zero point) scale, in the type of the scale."""
    kind = type_attribute(node, "output_dtype")
    result = dequantised(
        node, given(node, values, 0), given(node, values, 1), optional(values, 2), whole(node, "axis", 1)
    )
    return result if kind is None else result.to(kind)


def dynamic_quantize_linear(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return whole numbers, scale and zero point that spread the range of a tensor over 0..255."""
    value = given(node, values, 0)
    still = value.detach()  # the range is a measurement, not a part of the network
    low, high = still.amin().clamp(max=0), still.amax().clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = (-low / scale).round().clamp(0, 255)
    return bounded(rounded(value / scale) + zero, 0, 255), scale, zero


def matmul_integer(node: Node, values: Values) -> torch.Tensor:
    """Return the product of two matrices of whole numbers, each less its zero point."""
    left, right = given(node, values, 0), given(node, values, 1)
    first, second = optional(values, 2), optional(values, 3)
    if first is not None and first.dim() == 1 and first.numel() > 1:
        first = first.unsqueeze(1)  # one zero point per row
    kind = _kind(left, right)
    return torch.matmul(_centred(left, first, kind), _centred(right, second, kind))


def conv_integer(node: Node, values: Values) -> torch.Tensor:
    """Return the convolution of two tensors of whole numbers, each less its zero point."""
    value, weight = given(node, values, 0), given(node, values, 1)
    zero = optional(values, 3)
    if zero is not None and zero.dim() == 1:
        zero = zero.reshape((-1,) + (1,) * (weight.dim() - 1))
    kind = _kind(value, weight)
    return convolve(node, _centred(value, optional(values, 2), kind), _centred(weight, zero, kind), None)


def qlinear_matmul(node: Node, values: Values) -> torch.Tensor:
    """Return the quantised product of two quantised matrices."""
    return requantised(node, values, 6, torch.matmul(real_input(node, values, 0, -2), real_input(node, values, 3, -1)))


def qlinear_conv(node: Node, values: Values) -> torch.Tensor:
    """Return the quantised convolution of a quantised tensor; its bias counts in the product of both scales."""
    value, weight, bias = real_input(node, values, 0), real_input(node, values, 3, 0), optional(values, 8)
    if bias is not None:
        bias = bias.to(value.dtype) * (given(node, values, 1).reshape(-1) * given(node, values, 4).reshape(-1))
    return requantised(node, values, 6, convolve(node, value, weight, bias))


def quantised(
    node: Node,
    value: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor | None,
    bounds: tuple[int, int],
    axis: int = 1,
) -> torch.Tensor:
    """Return whole numbers as real ones, with the gradient of x / scale, which a range that starts at 0 bounds."""
    value = value if value.is_floating_point() else value.to(scale.dtype)
    laid = _laid(node, scale.to(value.dtype), value, axis)
    origin = value.new_zeros(()) if zero is None else _laid(node, zero.to(value.dtype), value, axis)
    return bounded(rounded(value / laid) + origin, *bounds, stopping=origin == bounds[0])


def dequantised(
    node: Node, value: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, axis: int = 1
) -> torch.Tensor:
    """Return the real numbers that whole ones stand for."""
    value = value.to(scale.dtype)
    if zero is not None:
        value = value - _laid(node, zero.to(scale.dtype), value, axis)
    return value * _laid(node, scale, value, axis)


def real_input(node: Node, values: Values, place: int, axis: int = 1) -> torch.Tensor:
    """Return the real numbers of an input that is followed by its scale and its zero point."""
    scale, zero = given(node, values, place + 1), optional(values, place + 2)
    return dequantised(node, given(node, values, place), scale, zero, axis)


def requantised(node: Node, values: Values, place: int, value: torch.Tensor) -> torch.Tensor:
    """Return whole numbers by the scale and the zero point at some places of the inputs."""
    zero = optional(values, place + 1)
    return quantised(node, value, given(node, values, place), zero, _bounds(node, zero))


def _bounds(node: Node, zero: torch.Tensor | None) -> tuple[int, int]:
    """Return the bounds of the type that a node quantises to, which its attribute or its zero point says."""
    number = node.attributes.get("output_dtype") or None
    if number in _NARROW:
        return _NARROW[number]
    kind = torch.uint8 if zero is None else zero.dtype
    kind = kind if number is None else torch_type(node, number)
    if kind.is_floating_point:
        if number is None and zero is not None and zero.dtype in (torch.float32, torch.float64):
            raise refusal(node, "the type of its zero point is lost")
        raise refusal(node, f"quantisation to {kind} is not known here")
    information = torch.iinfo(kind)
    return information.min, information.max


def _laid(node: Node, scale: torch.Tensor, value: torch.Tensor, axis: int) -> torch.Tensor:
    """Return scales in a shape that fits what they scale: one, one per slice, or one per block."""
    if scale.numel() == 1 or value.dim() == 0:
        return scale.reshape(())
    place = axis_of(node, axis, value.dim())
    if scale.dim() == 1:
        if scale.numel() != value.shape[place]:
            raise refusal(node, f"{scale.numel()} scales do not fit an axis of {value.shape[place]}")
        return scale.reshape((-1,) + (1,) * (value.dim() - 1 - place))
    if scale.dim() != value.dim():
        raise refusal(node, f"scales of shape {tuple(scale.shape)} do not fit {tuple(value.shape)}")
    block = whole(node, "block_size", 0) or 1
    return scale.repeat_interleave(block, place).narrow(place, 0, value.shape[place])


def _centred(value: torch.Tensor, zero: torch.Tensor | None, kind: torch.dtype) -> torch.Tensor:
    value = value.to(kind)
    return value if zero is None else value - zero.to(kind)


def _kind(left: torch.Tensor, right: torch.Tensor) -> torch.dtype:
    """Return the real type in which whole numbers are multiplied: that of the network where one is known."""
    for value in (left, right):
        if value.is_floating_point():
            return value.dtype
    return torch.float64


_QUANTISED = "axis block_size output_dtype precision saturate"
TABLE = {
    "ConvInteger": Known(conv_integer, "auto_pad dilations group kernel_shape pads strides"),
    "DequantizeLinear": Known(dequantize_linear, "axis block_size output_dtype"),
    "DynamicQuantizeLinear": Known(dynamic_quantize_linear),
    "MatMulInteger": Known(matmul_integer),
    "QLinearConv": Known(qlinear_conv, "auto_pad dilations group kernel_shape pads strides"),
    "QLinearMatMul": Known(qlinear_matmul),
    "QuantizeLinear": Known(quantize_linear, _QUANTISED),
}
