"""Where parameters enter the operators of OpenVINO."""

from __future__ import annotations

from math import prod

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


def _left(node: Node, shape: tuple[int, ...]) -> int:
    return product_of_rows(node, shape) if node.attributes.get("transpose_a") else product_of_columns(node, shape)


def _right(node: Node, shape: tuple[int, ...]) -> int:
    return product_of_columns(node, shape) if node.attributes.get("transpose_b") else product_of_rows(node, shape)


def _group_convolution(node: Node, shape: tuple[int, ...]) -> int:
    """Return the fan-in of a convolution in groups: (groups, out, in, *kernel)."""
    return prod(shape[2:])


def _group_transposed(node: Node, shape: tuple[int, ...]) -> int:
    """Return the fan-in of a transposed convolution in groups: (groups, in, out, *kernel)."""
    return transposed_convolution(node, shape[1:])


_BIAS, _SCALE, _ADDED, _FACTOR = (Slot(role) for role in (Role.BIAS, Role.SCALE, Role.ADDED, Role.FACTOR))
_TABLE, _RECURRENT = Slot(Role.TABLE), Slot(Role.RECURRENT, product_of_columns)
_SCALE_AND_BIAS = {1: _SCALE, 2: _BIAS}


def _recurrent(first: int) -> dict[int, Slot]:
    """Return the slots of a recurrent operator whose kernels and bias are three inputs, from this one on."""
    return dict.fromkeys(range(first, first + 3), _RECURRENT)


SLOTS = Slots(
    entering={
        "MatMul": {0: Slot(Role.WEIGHT, _left), 1: Slot(Role.WEIGHT, _right)},
        "Einsum": dict.fromkeys(range(4), Slot(Role.WEIGHT, product_of_columns)),
        "Convolution": {1: Slot(Role.WEIGHT, convolution)},
        "GroupConvolution": {1: Slot(Role.WEIGHT, _group_convolution)},
        "ConvolutionBackpropData": {1: Slot(Role.WEIGHT, transposed_convolution)},
        "GroupConvolutionBackpropData": {1: Slot(Role.WEIGHT, _group_transposed)},
        "BatchNormInference": {**_SCALE_AND_BIAS, 3: Slot(Role.MEAN), 4: Slot(Role.VARIANCE)},
        "GroupNormalization": _SCALE_AND_BIAS,
        "Gather": {0: _TABLE},
        "GatherElements": {0: _TABLE},
        "GatherND": {0: _TABLE},
        "EmbeddingBagPacked": {0: _TABLE},
        "EmbeddingBagPackedSum": {0: _TABLE},
        "LSTMSequence": _recurrent(4),
        "GRUSequence": _recurrent(3),
        "RNNSequence": _recurrent(3),
        "LSTMCell": _recurrent(3),
        "GRUCell": _recurrent(2),
        "RNNCell": _recurrent(2),
        "PRelu": {1: Slot(Role.SLOPE)},
        "Add": {0: _ADDED, 1: _ADDED},
        "Subtract": {0: _ADDED},  # as for ONNX: what is taken away is a mean of the records
        "Multiply": {0: _FACTOR, 1: _FACTOR},
        "Concat": dict.fromkeys(range(8), _ADDED),  # tokens that are put before those of a record
    },
    passing={
        **dict.fromkeys(("Identity", "Convert", "ConvertLike", "Reshape", "Transpose", "Squeeze", "Unsqueeze"), (0,)),
        **dict.fromkeys(("Broadcast", "Tile", "Slice", "StridedSlice", "Split", "VariadicSplit"), (0,)),
        **dict.fromkeys(("Gather", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth"), (0,)),
        "Concat": None,
    },
    rounding=frozenset({"FakeQuantize", "ConvertQuantized"}),
)
