"""The SHA-256 of what a module in memory computes with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pmcore_torch.nesting import leaves

if TYPE_CHECKING:
    import torch


def module_sha256(module: torch.nn.Module) -> str:
    """Return a SHA-256 of a module's class and of its weights and buffers in the order of their names."""
    digest = hashlib.sha256(f"{type(module).__module__}.{type(module).__qualname__}\n".encode())
    state = module.state_dict()
    for name in sorted(state):
        for inner, value in leaves(state[name], name):
            for piece in _pieces(inner, value):
                digest.update(piece)
    return digest.hexdigest()


def _pieces(name: str, value: Any) -> Iterator[bytes | memoryview]:
    import torch

    if not isinstance(value, torch.Tensor):
        yield f"{name} {type(value).__name__} {value!s}\n".encode()
        return
    yield f"{name} {value.dtype} {tuple(value.shape)}\n".encode()
    value = value.detach().cpu()
    if value.is_quantized:
        yield f"{value.qscheme()}\n".encode()
        value = value.dequantize()
    flat = value.to_dense() if value.layout is not torch.strided else value
    yield memoryview(flat.contiguous().view(-1).view(torch.uint8).numpy())
