"""Where parameters enter the operators that ONNX Runtime's own optimiser writes into ONNX files."""

from __future__ import annotations

from pmcore_autograd.graph import Node
from pmcore_autograd.slots import Role, Slot, Slots, convolution, product_of_columns, product_of_rows
from pmcore_autograd.slots_onnx import SLOTS as ONNX


def _left(node: Node, shape: tuple[int, ...]) -> int:
    return product_of_rows(node, shape) if node.attributes.get("transA") else product_of_columns(node, shape)


def _right(node: Node, shape: tuple[int, ...]) -> int:
    return product_of_columns(node, shape) if node.attributes.get("transB") else product_of_rows(node, shape)


_WEIGHT = Slot(Role.WEIGHT, product_of_rows)
_BIAS, _SCALE, _TABLE = Slot(Role.BIAS), Slot(Role.SCALE), Slot(Role.TABLE)
_GEMM = {0: Slot(Role.WEIGHT, _left), 1: Slot(Role.WEIGHT, _right), 2: _BIAS}

SLOTS = Slots(
    entering={
        "Attention": {1: _WEIGHT, 2: _BIAS},
        "BiasGelu": {1: _BIAS},
        "EmbedLayerNormalization": {2: _TABLE, 3: _TABLE, 4: _TABLE, 5: _SCALE, 6: _BIAS},
        "FastGelu": {1: _BIAS},
        "FusedConv": {1: Slot(Role.WEIGHT, convolution), 2: _BIAS},
        "FusedGemm": _GEMM,
        "FusedMatMul": {0: Slot(Role.WEIGHT, _left), 1: Slot(Role.WEIGHT, _right)},
        "LayerNormalization": {1: _SCALE, 2: _BIAS},
        "MultiHeadAttention": {3: _BIAS},
        "SimplifiedLayerNormalization": {1: _SCALE},
        "SkipLayerNormalization": {2: _SCALE, 3: _BIAS, 4: _BIAS},
        "SkipSimplifiedLayerNormalization": {2: _SCALE, 3: _BIAS},
    },
    passing={},
    integers=frozenset({"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention", "QGemm", "MatMulNBits"}),
    rounding=ONNX.rounding,
)
