"""Planes sampled at places that a grid names, and grids made from affine maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, integers, refusal, word

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")

_MODES = {"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest", "bicubic": "bicubic", "cubic": "bicubic"}


def grid_sample(node: Node, values: Values) -> torch.Tensor:
    """Return elements between those of a plane or a volume, at places between -1 and 1."""
    value, grid = given(node, values, 0), given(node, values, 1)
    mode = _MODES[word(node, "mode", "linear bilinear nearest bicubic cubic")]
    if value.dim() not in (4, 5) or (value.dim() == 5 and mode == "bicubic"):
        raise refusal(node, f"{mode} sampling over {value.dim() - 2} dimensions is not known here")
    margin = word(node, "padding_mode", "zeros border reflection")
    return functional.grid_sample(value, grid, mode, margin, flag(node, "align_corners"))


def affine_grid(node: Node, values: Values) -> torch.Tensor:
    """Return the grid of places that an affine map makes of a plane's or a volume's own."""
    theta = given(node, values, 0)
    plane = sized(node, integers(node, given(node, values, 1)))[2:]
    corners = flag(node, "align_corners")
    lines = [_line(length, corners, theta) for length in plane]
    ones = torch.ones(plane, dtype=theta.dtype, device=theta.device)
    points = torch.stack((*reversed(torch.meshgrid(*lines, indexing="ij")), ones), -1).reshape(-1, len(plane) + 1)
    return torch.matmul(points, theta.transpose(1, 2)).reshape(theta.shape[0], *plane, len(plane))


def _line(length: int, corners: bool, like: torch.Tensor) -> torch.Tensor:
    """Return places between -1 and 1, which are the centres of the outer elements or their edges."""
    place = torch.arange(length, dtype=like.dtype, device=like.device)
    return 2 * place / max(length - 1, 1) - 1 if corners else (2 * place + 1) / max(length, 1) - 1


TABLE = {
    "AffineGrid": Known(affine_grid, "align_corners"),
    "GridSample": Known(grid_sample, "align_corners mode padding_mode"),
}
