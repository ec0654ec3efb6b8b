"""Quantisation with a gradient: rounding lets it through, and a bound stops what lies beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.operators.lazily import Lazily

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def rounded(value: torch.Tensor) -> torch.Tensor:
    """Return the nearest whole numbers, halves to even, with the gradient of the identity."""
    return value + (torch.round(value) - value).detach()


def bounded(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return values held between two bounds.

    The gradient is the one that this function has: one within, bounds included, and zero beyond. Quantisers that follow
    a ReLU replace it by the lower bound, so that the bound is part of the network and no accident of rounding.
    """
    return value.clamp(low, high)
