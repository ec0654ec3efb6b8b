"""The precision in which a graph is computed, whatever widths its file mixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Graph
from pmcore_autograd.tensors import HALVES

if TYPE_CHECKING:
    import torch


def working_precision(graph: Graph) -> torch.dtype:
    """Return the precision in which a graph computes: double only where its inputs or all of its weights are."""
    import torch

    if any(graph.types.get(name) == "float64" for name in graph.inputs):
        return torch.float64
    sizes = dict.fromkeys(("float32", "float64", *HALVES), 0)
    for value in graph.constants.values():
        if value.dtype.name in sizes and value.size > 1:
            sizes[value.dtype.name] += value.size
    return torch.float64 if sizes["float64"] > sum(sizes.values()) / 2 else torch.float32
