"""Sums of absolute values, sums of squares and largest values by record; nothing underflows in single precision."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_BLOCK = 4096
"""Entries over which squares are added up in the gradient's own type: torch adds them one after the other."""
_FEW = 32
"""Entries up to which it is cheaper to take squares in double precision."""
_SMALL = 1e-10
"""Norms below which squares in single precision have lost digits that count."""


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor without its history, half precision as single: nothing is added up in less."""
    import torch

    tensor = tensor.detach()
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def power(values: torch.Tensor, order: float) -> torch.Tensor:
    """Return the sum of |v|, the sum of v² or the largest |v| of each record, (n, ...) -> (n,) float64.

    These are what norms of order 1, 2 and infinity over several parameters are put together from.
    """
    import torch

    flat = values.reshape(len(values), -1)
    if not flat.shape[1]:
        return flat.new_zeros(len(flat), dtype=torch.float64)
    if order == 1:
        return flat.abs().sum(1).double()
    if order == inf:
        return flat.abs().amax(1).double()
    if flat.shape[1] <= _FEW:
        return flat.double().square_().sum(1) if flat.dtype is not torch.float64 else flat.square().sum(1)
    squares = _sums_of_squares(flat)
    if flat.dtype is not torch.float64 and len(squares):
        lowest, highest = torch.aminmax(squares)
        if not (lowest > _SMALL**2 and highest < inf):  # nor if one is not a number
            odd = ~((squares > _SMALL**2) & squares.isfinite())
            squares[odd] = _scaled_squares(flat[odd])
    return squares


def _sums_of_squares(flat: torch.Tensor) -> torch.Tensor:
    import torch

    norm = torch.linalg.vector_norm
    if flat.shape[1] <= _BLOCK:
        squares: torch.Tensor = norm(flat, 2, 1).double().square_()
        return squares
    whole = flat.shape[1] // _BLOCK * _BLOCK
    blocks = norm(flat[:, :whole].reshape(len(flat), -1, _BLOCK), 2, 2)
    return torch.cat([blocks, norm(flat[:, whole:], 2, 1, keepdim=True)], 1).double().square_().sum(1)


def _scaled_squares(flat: torch.Tensor) -> torch.Tensor:
    """Return sums of squares that are taken of values near 1."""
    import torch

    largest = flat.abs().amax(1, keepdim=True)
    scale = torch.where(largest > 0, largest, 1)
    scaled = torch.linalg.vector_norm((flat / scale).double(), 2, 1)
    squares: torch.Tensor = (scaled * scale[:, 0].double()).square()
    return squares


def joined(parts: list[torch.Tensor], order: float) -> torch.Tensor:
    """Return the same of all parts together, several (n,) -> (n,)."""
    import torch

    together = torch.stack(parts)
    return together.amax(0) if order == inf else together.sum(0)
