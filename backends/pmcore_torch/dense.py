"""Writes a dense network as a torch.export archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pmcore.interfaces import Array
from pmcore_autograd.quiet import quiet


def write_dense(path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
    """Write linear layers with ReLU between them, for any number of records, ending in logits.

    Parameters
    ----------
    weights : (d, h1), (h1, h2), ... (hl, k)
    biases : (h1,), ... (k,)
    """
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    with quiet():
        for weight, bias in zip(weights, biases, strict=True):
            layer = nn.Linear(weight.shape[0], weight.shape[1], device="meta").to_empty(device="cpu")
            with torch.no_grad():
                layer.weight.copy_(torch.tensor(weight.T.copy(), dtype=torch.float32))
                layer.bias.copy_(torch.tensor(bias, dtype=torch.float32))
            layers += [layer, nn.ReLU()]
        example = (torch.zeros(2, weights[0].shape[0]),)
        module = nn.Sequential(*layers[:-1]).eval()
        program = torch.export.export(module, example, dynamic_shapes=({0: torch.export.Dim("batch")},))
        with path.open("wb") as file:
            torch.export.save(program, file)
