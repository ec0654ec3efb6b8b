"""Quantised operators of ONNX Runtime (com.microsoft): each stands for its real one between two quantisations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.activations import leaky_relu, softmax
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.pooling import average_pool, global_average
from pmcore_autograd.operators.quantised import (
    dequantised,
    dynamic_quantize_linear,
    real_input,
    requantised,
)
from pmcore_autograd.operators.reading import axis_of, flag, given, optional, real, refusal, whole

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def concat(node: Node, values: Values) -> torch.Tensor:
    """Return quantised tensors joined along an axis, each brought to the scale of the result."""
    parts = [real_input(node, values, place) for place in range(2, len(values), 3)]
    axis = axis_of(node, whole(node, "axis", 0), parts[0].dim())
    return requantised(node, values, 0, torch.cat(parts, axis))


def gemm(node: Node, values: Values) -> torch.Tensor:
    """Return the product of two quantised matrices and a bias, quantised if a scale is given."""
    turned = flag(node, "transB")
    left, right = real_input(node, values, 0), real_input(node, values, 3, 0 if turned else 1)
    bias = optional(values, 6)
    product = torch.matmul(left.t() if flag(node, "transA") else left, right.t() if turned else right)
    alpha = real(node, "alpha", 1.0)
    if bias is not None:
        product = product + bias.to(product.dtype) * given(node, values, 1) * given(node, values, 4)
    product = product * alpha
    return product if optional(values, 7) is None else requantised(node, values, 7, product)


def matmul_to_float(node: Node, values: Values) -> torch.Tensor:
    """Return the real product of two quantised matrices, with a bias."""
    left = dequantised(node, given(node, values, 0), given(node, values, 2), optional(values, 4), -1)
    right = dequantised(node, given(node, values, 1), given(node, values, 3), optional(values, 5), -1)
    return _biased(torch.matmul(left, right), optional(values, 6))


def dynamic_matmul(node: Node, values: Values) -> torch.Tensor:
    """Return the real product of a matrix, quantised on the way, and a quantised one, with a bias."""
    levels, scale, zero = dynamic_quantize_linear(node, values)
    right = dequantised(node, given(node, values, 1), given(node, values, 2), optional(values, 3), -1)
    return _biased(torch.matmul((levels - zero) * scale, right), optional(values, 4))


def _two(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Operator:
    """Return an operator on two quantised tensors."""
    return lambda node, values: requantised(
        node, values, 6, function(real_input(node, values, 0), real_input(node, values, 3))
    )


def _one(function: Callable[[Node, Values], torch.Tensor]) -> Operator:
    """Return an operator on one quantised tensor."""

    def operator(node: Node, values: Values) -> torch.Tensor:
        if flag(node, "channels_last"):
            raise refusal(node, "channels in the last dimension are not known here")
        return requantised(node, values, 3, function(node, [real_input(node, values, 0)]))

    return operator


def _sigmoid(node: Node, values: Values) -> torch.Tensor:
    return torch.sigmoid(given(node, values, 0))


def _softmax(node: Node, values: Values) -> torch.Tensor:
    return softmax(replace(node, version=whole(node, "opset", 13)), values)


def _biased(value: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return value if bias is None else value + bias


_SLIDING = "auto_pad ceil_mode channels_last count_include_pad kernel_shape pads strides"
TABLE = {
    "DynamicQuantizeMatMul": Known(dynamic_matmul),
    "MatMulIntegerToFloat": Known(matmul_to_float),
    "QGemm": Known(gemm, "alpha transA transB"),
    "QLinearAdd": Known(_two(lambda left, right: left + right)),
    "QLinearAveragePool": Known(_one(average_pool), _SLIDING),
    "QLinearConcat": Known(concat, "axis"),
    "QLinearGlobalAveragePool": Known(_one(global_average), "channels_last"),
    "QLinearLeakyRelu": Known(_one(leaky_relu), "alpha"),
    "QLinearMul": Known(_two(lambda left, right: left * right)),
    "QLinearSigmoid": Known(_one(_sigmoid)),
    "QLinearSoftmax": Known(_one(_softmax), "axis opset"),
}
