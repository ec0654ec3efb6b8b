"""Operators that ONNX Runtime's optimiser writes (com.microsoft): several of ONNX's in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values, microsoft_attention, microsoft_quantised
from pmcore_autograd.operators.convolution import convolution
from pmcore_autograd.operators.indexing import gather_nd, trilu
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.linear import gemm
from pmcore_autograd.operators.quantised import dequantize_linear, quantize_linear
from pmcore_autograd.operators.reading import flag, given, optional, real, reals, refusal
from pmcore_autograd.operators.sampling import grid_sample

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")


def gelu(node: Node, values: Values) -> torch.Tensor:
    """Return x times the normal distribution's function, of the input or of its sum with a bias."""
    return functional.gelu(_biased(node, values))


def fast_gelu(node: Node, values: Values) -> torch.Tensor:
    """Return the same, approximated by tanh."""
    return functional.gelu(_biased(node, values), approximate="tanh")


def quick_gelu(node: Node, values: Values) -> torch.Tensor:
    """Return x times the logistic function of alpha x."""
    value = given(node, values, 0)
    return value * torch.sigmoid(real(node, "alpha", 1.702) * value)


def fused_matmul(node: Node, values: Values) -> torch.Tensor:
    """Return alpha A B, each factor with its matrices, and its leading dimensions, transposed if asked for."""
    left = _turned(given(node, values, 0), flag(node, "transA"), flag(node, "transBatchA"))
    right = _turned(given(node, values, 1), flag(node, "transB"), flag(node, "transBatchB"))
    return torch.matmul(left, right) * real(node, "alpha", 1.0)


def fused_gemm(node: Node, values: Values) -> torch.Tensor:
    """Return a Gemm's activation."""
    return activated(node, gemm(node, values))


def fused_conv(node: Node, values: Values) -> torch.Tensor:
    """Return a convolution's activation; a fourth input is added before it."""
    result, added = convolution(node, values), optional(values, 3)
    return activated(node, result if added is None else result + added)


def activated(node: Node, value: torch.Tensor) -> torch.Tensor:
    """Return the activation that a fused node names; with none, the value."""
    name = node.attributes.get("activation", "")
    parameters = reals(node, "activation_params")
    alpha = real(node, "activation_alpha", parameters[0] if parameters else 0.01)
    beta = real(node, "activation_beta", parameters[1] if len(parameters) > 1 else 0.0)
    match name:
        case "":
            return value
        case "Relu" | "Sigmoid" | "Tanh":
            found: torch.Tensor = getattr(torch, name.lower())(value)
            return found
        case "LeakyRelu":
            return functional.leaky_relu(value, alpha)
        case "Clip" if len(parameters) == 2:
            return functional.hardtanh(value, *parameters)
        case "HardSigmoid":
            return functional.hardtanh(value * alpha + beta, 0.0, 1.0)
    raise refusal(node, f"the activation {name!r} is not known here")


def skip_layer_normalization(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return the normalised sum of a layer's input and output; mean and deviation are left out; and the sum."""
    scale, shift, bias = given(node, values, 2), optional(values, 3), optional(values, 4)
    total = given(node, values, 0) + given(node, values, 1)
    total = total if bias is None else total + bias
    mean = total.mean(-1, keepdim=True)
    centred = total - mean
    inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + real(node, "epsilon", 1e-12))
    result = centred * inverse * scale
    return result if shift is None else result + shift, mean, inverse, total


def skip_simplified(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return the sum of a layer's input and output by its root mean square; and the sum."""
    scale, bias = given(node, values, 2), optional(values, 3)
    total = given(node, values, 0) + given(node, values, 1)
    total = total if bias is None else total + bias
    inverse = torch.rsqrt(total.square().mean(-1, keepdim=True) + real(node, "epsilon", 1e-12))
    return total * inverse * scale, torch.zeros_like(inverse), inverse, total


def embed_layer_normalization(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return the normalised sum of the embeddings of words, positions and segments; lengths by a mask; the sum."""
    words, segments = given(node, values, 0), optional(values, 1)
    table, places, kinds = given(node, values, 2), given(node, values, 3), optional(values, 4)
    mask, positions = optional(values, 7), optional(values, 8)
    total = _rows(table, words)
    total = total + (places[: words.shape[1]] if positions is None else _rows(places, positions))
    if segments is not None and kinds is not None:
        total = total + _rows(kinds, segments)
    epsilon, scale, shift = real(node, "epsilon", 1e-12), given(node, values, 5), given(node, values, 6)
    result = functional.layer_norm(total, total.shape[-1:], scale, shift, epsilon)
    lengths = words.new_zeros(words.shape[0]) if mask is None else mask.sum(1, dtype=mask.dtype)
    return result, lengths.to(torch.int32), total


def inverse(node: Node, values: Values) -> torch.Tensor:
    """Return the inverses of matrices."""
    found: torch.Tensor = torch.linalg.inv(given(node, values, 0))
    return found


def _biased(node: Node, values: Values) -> torch.Tensor:
    value, bias = given(node, values, 0), optional(values, 1)
    return value if bias is None else value + bias


def _turned(value: torch.Tensor, matrices: bool, leading: bool) -> torch.Tensor:
    if leading:
        value = value.movedim(0, -2)
    return value.transpose(-1, -2) if matrices else value


def _rows(table: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return table.index_select(0, places.reshape(-1)).reshape(*places.shape, table.shape[1])


_FUSED = "activation activation_alpha activation_beta activation_gamma"
_SLIDING = "auto_pad dilations group kernel_shape pads strides"
_TRANSPOSED = "alpha transA transB transBatchA transBatchB"
TABLE = {
    **microsoft_attention.TABLE,
    **microsoft_quantised.TABLE,
    "BiasGelu": Known(gelu),
    "DequantizeLinear": Known(dequantize_linear, "axis block_size output_dtype"),
    "EmbedLayerNormalization": Known(embed_layer_normalization, "epsilon mask_index_type"),
    "FastGelu": Known(fast_gelu),
    "FusedConv": Known(fused_conv, f"{_SLIDING} activation activation_params"),
    "FusedGemm": Known(fused_gemm, f"alpha beta transA transB {_FUSED}"),
    "FusedMatMul": Known(fused_matmul, _TRANSPOSED),
    "GatherND": Known(gather_nd, "batch_dims"),
    "Gelu": Known(gelu),
    "GridSample": Known(grid_sample, "align_corners mode padding_mode"),
    "Inverse": Known(inverse),
    "QuantizeLinear": Known(quantize_linear, "axis block_size output_dtype saturate"),
    "QuickGelu": Known(quick_gelu, "alpha"),
    "SkipLayerNormalization": Known(skip_layer_normalization, "epsilon"),
    "SkipSimplifiedLayerNormalization": Known(skip_simplified, "epsilon"),
    "TransposeMatMul": Known(fused_matmul, _TRANSPOSED),
    "Trilu": Known(trilu, "upper"),
}
