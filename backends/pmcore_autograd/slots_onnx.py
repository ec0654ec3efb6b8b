"""Where parameters enter the operators of ONNX."""

from __future__ import annotations

from pmcore_autograd.graph import Node
from pmcore_autograd.slots import (
    Role,
    Slot,
    Slots,
    convolution,
    product_of_columns,
    product_of_rows,
    transposed_convolution,
)


def _gemm_left(node: Node, shape: tuple[int, ...]) -> int:
    return product_of_rows(node, shape) if node.attributes.get("transA") else product_of_columns(node, shape)


def _gemm_right(node: Node, shape: tuple[int, ...]) -> int:
    return product_of_columns(node, shape) if node.attributes.get("transB") else product_of_rows(node, shape)


_BIAS, _SCALE, _ADDED, _FACTOR = (Slot(role) for role in (Role.BIAS, Role.SCALE, Role.ADDED, Role.FACTOR))
_TABLE, _RECURRENT = Slot(Role.TABLE), Slot(Role.RECURRENT, product_of_columns)
_SCALE_AND_BIAS = {1: _SCALE, 2: _BIAS}
_RECURRENT_LAYER = {1: _RECURRENT, 2: _RECURRENT, 3: _RECURRENT}

SLOTS = Slots(
    entering={
        "Gemm": {0: Slot(Role.WEIGHT, _gemm_left), 1: Slot(Role.WEIGHT, _gemm_right), 2: _BIAS},
        "MatMul": {0: Slot(Role.WEIGHT, product_of_columns), 1: Slot(Role.WEIGHT, product_of_rows)},
        "Einsum": {place: Slot(Role.WEIGHT, product_of_columns) for place in range(4)},
        "Conv": {1: Slot(Role.WEIGHT, convolution), 2: _BIAS},
        "ConvTranspose": {1: Slot(Role.WEIGHT, transposed_convolution), 2: _BIAS},
        "DeformConv": {1: Slot(Role.WEIGHT, convolution), 3: _BIAS},
        "BatchNormalization": {**_SCALE_AND_BIAS, 3: Slot(Role.MEAN), 4: Slot(Role.VARIANCE)},
        "InstanceNormalization": _SCALE_AND_BIAS,
        "LayerNormalization": _SCALE_AND_BIAS,
        "GroupNormalization": _SCALE_AND_BIAS,
        "RMSNormalization": {1: _SCALE},
        "SimplifiedLayerNormalization": {1: _SCALE},
        "Gather": {0: _TABLE},
        "GatherElements": {0: _TABLE},
        "GatherND": {0: _TABLE},
        "LSTM": {**_RECURRENT_LAYER, 7: _RECURRENT},
        "GRU": _RECURRENT_LAYER,
        "RNN": _RECURRENT_LAYER,
        "PRelu": {1: Slot(Role.SLOPE)},
        "Add": {0: _ADDED, 1: _ADDED},
        "Sum": dict.fromkeys(range(4), _ADDED),
        "Sub": {0: _ADDED},  # beta - mean * gamma is how TensorFlow normalises; x - mean takes no parameter away
        "Mul": {0: _FACTOR, 1: _FACTOR},
        "Concat": dict.fromkeys(range(8), _ADDED),  # tokens that are put before those of a record
    },
    passing={
        **dict.fromkeys(("Identity", "Cast", "CastLike", "Dropout", "Flatten", "Transpose", "Squeeze"), (0,)),
        **dict.fromkeys(("Unsqueeze", "Reshape", "Expand", "Slice", "Split", "Tile"), (0,)),
        **dict.fromkeys(("Gather", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth"), (0,)),
        "Concat": None,
    },
    integers=frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}),
    rounding=frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}),
)
