"""Attention as ONNX Runtime's optimiser writes it, for encoders: without a past."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.attention import attend, rotated
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, optional, real, refusal, whole, wholes

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")


def attention(node: Node, values: Values) -> torch.Tensor:
    """Return attention whose queries, keys and values come from one input by one matrix."""
    value, weight, bias = given(node, values, 0), given(node, values, 1), optional(values, 2)
    _refuse(node, values, (4, 6), ("do_rotary", "past_present_share_buffer"))
    widths = wholes(node, "qkv_hidden_sizes") or (weight.shape[1] // 3,) * 3
    if len(widths) != 3 or sum(widths) != weight.shape[1]:
        raise refusal(node, f"qkv_hidden_sizes={widths} do not fit weights of {weight.shape[1]} columns")
    projected = torch.matmul(value, weight)
    projected = projected if bias is None else projected + bias
    return _attended(node, torch.split(projected, list(widths), -1), optional(values, 3), optional(values, 5))


def multi_head_attention(node: Node, values: Values) -> torch.Tensor:
    """Return attention of queries, keys and values that are three inputs."""
    _refuse(node, values, (6, 7, 8, 9), ())
    parts = tuple(given(node, values, place) for place in range(3))
    if any(part.dim() != 3 for part in parts):
        raise refusal(node, "queries, keys and values packed into one tensor are not known here")
    bias = optional(values, 3)
    if bias is not None:
        biases = torch.split(bias, [part.shape[-1] for part in parts])
        parts = tuple(part + added for part, added in zip(parts, biases, strict=True))
    return _attended(node, parts, optional(values, 4), optional(values, 5))


def rotary_embedding(node: Node, values: Values) -> torch.Tensor:
    """Return embeddings turned by their position, as before ONNX had an operator for it."""
    value, positions = given(node, values, 0), given(node, values, 1)
    cosine, sine = given(node, values, 2), given(node, values, 3)
    if flag(node, "is_packed_batching") or real(node, "scale", 1.0) != 1:
        raise refusal(node, "packed batches and scales are not known here")
    width = whole(node, "rotary_embedding_dim", 0)
    heads, paired = whole(node, "num_heads", 0), flag(node, "interleaved")
    length = value.shape[1] if value.dim() == 3 else value.shape[2]
    if positions.numel() == 1:
        positions = positions.reshape(1, 1) + torch.arange(length, device=positions.device)
    cosine, sine = (
        table.index_select(0, positions.reshape(-1)).reshape(*positions.shape, -1) for table in (cosine, sine)
    )
    if value.dim() == 4:
        return rotated(value.transpose(1, 2), cosine, sine, width, paired).transpose(1, 2)
    size = value.shape[2] // heads if heads else cosine.shape[-1] * 2
    return rotated(value.reshape(*value.shape[:2], -1, size), cosine, sine, width, paired).flatten(2)


def _attended(
    node: Node, parts: tuple[torch.Tensor, ...], mask: torch.Tensor | None, added: torch.Tensor | None
) -> torch.Tensor:
    heads = whole(node, "num_heads", 0)
    if heads < 1 or any(part.shape[-1] % heads for part in parts):
        raise refusal(node, f"{heads} heads do not divide {[part.shape[-1] for part in parts]} dimensions")
    query, key, value = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in parts)
    allowed = None
    if flag(node, "unidirectional"):
        ahead = torch.arange(key.shape[2], device=key.device) - torch.arange(query.shape[2], device=key.device)[:, None]
        allowed = ahead <= 0
    hidden = None if mask is None else _hidden(node, mask, key)
    if hidden is not None:
        hidden = hidden.to(query.dtype) * real(node, "mask_filter_value", -10_000.0)
        added = hidden if added is None else added + hidden
    scale = real(node, "scale", 0.0) or 1 / sqrt(query.shape[-1])
    seen = attend(query, key, value, scale=scale, mask=added, allowed=allowed)
    return seen.result.transpose(1, 2).flatten(2)


def _hidden(node: Node, mask: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Return which keys no query shall see, in a shape that fits (n, heads, queries, keys)."""
    if mask.dim() == 1 and mask.shape[0] == key.shape[0]:
        return torch.arange(key.shape[2], device=key.device) >= mask.reshape(-1, 1, 1, 1)
    if mask.dim() == 2:
        return (mask == 0)[:, None, None, :]
    if mask.dim() == 3:
        return (mask == 0)[:, None]
    raise refusal(node, f"a mask of shape {tuple(mask.shape)} is not known here")


def _refuse(node: Node, values: Values, places: tuple[int, ...], flags: tuple[str, ...]) -> None:
    if any(optional(values, place) is not None for place in places) or any(flag(node, name) for name in flags):
        raise refusal(node, "keys and values of the past, as decoders keep them, are not known here")


_ATTRIBUTES = "mask_filter_value num_heads scale unidirectional"
TABLE = {
    "Attention": Known(attention, f"{_ATTRIBUTES} do_rotary past_present_share_buffer qkv_hidden_sizes"),
    "MultiHeadAttention": Known(multi_head_attention, _ATTRIBUTES),
    "RotaryEmbedding": Known(rotary_embedding, "interleaved is_packed_batching num_heads rotary_embedding_dim scale"),
}
