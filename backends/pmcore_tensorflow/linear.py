"""The linear layer at the end of a traced model: back from the scores to what it multiplies with its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_UNCHANGED = frozenset({"Identity", "Snapshot", "EnsureShape", "Cast"})
_RESHAPED = frozenset({"Reshape", "Squeeze", "ExpandDims"})
_BIASES = frozenset({"BiasAdd", "BiasAddV1", "Add", "AddV2"})
_STORED = frozenset({"ReadVariableOp", "Const", "VariableV2"})
_FARTHEST = 32
"""Operations that are stepped over at most."""


@dataclass(frozen=True)
class LastLayer:
    """The name by which a program gives what enters its last linear layer, and whether that adds a bias."""

    entering: str
    bias: bool


@dataclass(frozen=True)
class Linear:
    """What enters a linear layer, records first, and whether the layer adds a bias."""

    entering: Any
    bias: bool


def linear_layer(scores: Any) -> Linear | None:
    """Find the dense layer, or the convolution over one whole map, that makes symbolic scores (b, ...).

    Only weights that enter the product as they are stored are known: there the gradient is an outer product.
    """
    tensor, bias = scores, False
    for _ in range(_FARTHEST):
        op = tensor.op
        if op.type in _UNCHANGED | _RESHAPED:
            tensor = op.inputs[0]
        elif op.type in _BIASES and not bias:
            stored = [_is_stored(other) and other.shape.rank == 1 for other in op.inputs]
            if stored.count(True) != 1:
                return None
            tensor, bias = op.inputs[stored.index(False)], True
        elif op.type == "MatMul":
            plain = not op.get_attr("transpose_a") and _is_stored(op.inputs[1])
            return Linear(op.inputs[0], bias) if plain else None
        elif op.type == "Conv2D":
            return Linear(op.inputs[0], bias) if _covers_the_map(op) else None
        else:
            return None
    return None


def _is_stored(tensor: Any) -> bool:
    """Tell whether a tensor is a weight or a constant, perhaps in another type or arrangement."""
    for _ in range(_FARTHEST):
        if tensor.op.type in _STORED:
            return True
        if tensor.op.type not in _UNCHANGED | _RESHAPED | {"Transpose"}:
            return False
        tensor = tensor.op.inputs[0]
    return False


def _covers_the_map(op: Any) -> bool:
    """Tell whether a convolution sees every number of its input once, through one position of its kernel."""
    entering, kernel = op.inputs
    channels_last = op.get_attr("data_format") == b"NHWC"
    if not _is_stored(kernel) or None in (entering.shape.rank, kernel.shape.rank, op.outputs[0].shape.rank):
        return False
    axes = slice(1, 3) if channels_last else slice(2, 4)
    seen, size, left = entering.shape[axes], kernel.shape[0:2], op.outputs[0].shape[axes]
    channels = entering.shape[3 if channels_last else 1]
    once = op.get_attr("padding") == b"VALID" or list(size) == [1, 1]
    return bool(once and list(seen) == list(size) and list(left) == [1, 1] and channels == kernel.shape[2])
