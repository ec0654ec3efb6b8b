"""BatchNormalization as it is while a network is trained: by the batch, with running statistics measured beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators.reading import given, real

if TYPE_CHECKING:
    import torch


def by_batch(node: Node, values: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """Return channels normalised by their batch, and change the running mean and variance in place."""
    from torch.nn import functional

    value, scale, shift, mean, variance = (given(node, values, place) for place in range(5))
    momentum, epsilon = 1.0 - real(node, "momentum", 0.9), real(node, "epsilon", 1e-5)
    return functional.batch_norm(value, mean, variance, scale, shift, True, momentum, epsilon)
