"""Operators that ONNX tries out (ai.onnx.preview)."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.attention import attend
from pmcore_autograd.operators.reading import given, real
from pmcore_autograd.operators.types import type_attribute

if TYPE_CHECKING:
    import torch


def flex_attention(node: Node, values: Values) -> torch.Tensor:
    """Return attention; one whose scores a graph of its own changes is refused for that attribute."""
    query, key, value = (given(node, values, place) for place in range(3))
    scale = real(node, "scale", 0.0) or 1 / sqrt(query.shape[-1])
    return attend(query, key, value, scale=scale, kind=type_attribute(node, "softmax_precision")).result


TABLE = {"FlexAttention": Known(flex_attention, "scale softmax_precision")}
