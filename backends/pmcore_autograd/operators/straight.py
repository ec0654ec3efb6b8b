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


def bounded(value: torch.Tensor, low: float, high: float, stopping: torch.Tensor | bool = True) -> torch.Tensor:
    """Return values held between two bounds.

    Parameters
    ----------
    stopping : where the gradient is the one that this function has, one within, bounds included, and zero beyond;
        elsewhere it passes beyond the bounds too

    Notes
    -----
    Quantisers leave out a ReLU or a ReLU6 before a range that starts at 0: the bounds of such a range are part of the
    network. A range of both signs was measured on some records, and the network has no bound where it ends: a logit
    beyond it would have no gradient at all.
    """
    held = value.clamp(low, high)
    return torch.where(torch.as_tensor(stopping), held, held.detach() + (value - value.detach()))
