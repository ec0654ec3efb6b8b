"""OpenVINO's attention, and sums over named axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, optional, refusal

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def _attention(node: Node, values: Values) -> torch.Tensor:
    query, key, value = (given(node, values, place) for place in range(3))
    mask, scale = optional(values, 3), optional(values, 4)
    if optional(values, 5) is not None:
        raise refusal(node, "its sink is not known here")
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if flag(node, "causal"):
        rows, columns = (torch.arange(size, device=query.device) for size in scores.shape[-2:])
        scores = scores.masked_fill(columns > rows[:, None], -math.inf)
    elif mask is not None and mask.dtype == torch.bool:
        scores = torch.where(mask, scores, -math.inf)
    elif mask is not None:
        scores = scores + mask
    return torch.softmax(scores, -1) @ value


def _einsum(node: Node, values: Values) -> torch.Tensor:
    return torch.einsum(str(node.attributes["equation"]), [given(node, values, place) for place in range(len(values))])


def _inverse(node: Node, values: Values) -> torch.Tensor:
    if flag(node, "adjoint"):
        raise refusal(node, "adjoint=True is not known here")
    result: torch.Tensor = torch.linalg.inv(given(node, values, 0))
    return result


TABLE: Mapping[str, Known] = {
    "Einsum": Known(_einsum, "equation"),
    "Inverse": Known(_inverse, "adjoint"),
    "ScaledDotProductAttention": Known(_attention, "causal"),
}
