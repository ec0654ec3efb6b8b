"""Attention and the turning of embeddings by their position."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, optional, real, refusal, whole
from pmcore_autograd.operators.types import type_attribute

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


@dataclass(frozen=True)
class Attended:
    """What attention makes, and what it makes on its way, all of shape (n, heads, queries, ...).

    Parameters
    ----------
    result : weighted values, last dimension that of the values
    products : of queries and keys, last dimension the keys
    capped : products after the soft cap
    masked : capped products with the mask added
    weights : their softmax; zero where a query may see no key
    """

    result: torch.Tensor
    products: torch.Tensor
    capped: torch.Tensor
    masked: torch.Tensor
    weights: torch.Tensor


def attention(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return weighted values, the keys and values with those of the past, and a product on the way."""
    packed = given(node, values, 0).dim() == 3
    query, key, value = (_by_heads(node, given(node, values, place), place == 0) for place in range(3))
    mask, past_key, past_value, lengths = (optional(values, place) for place in range(3, 7))
    if past_key is not None and past_value is not None:
        key, value = torch.cat((past_key, key), 2), torch.cat((past_value, value), 2)
    offset = _offset(query, past_key, lengths)
    if mask is not None and mask.shape[-1] < key.shape[2]:
        missing = key.shape[2] - mask.shape[-1]
        mask = torch.nn.functional.pad(mask, (0, missing), value=False if mask.dtype == torch.bool else -torch.inf)
    seen = attend(
        query,
        key,
        value,
        scale=real(node, "scale", 0.0) or 1 / sqrt(query.shape[-1]),
        mask=mask,
        allowed=_allowed(node, query, key, offset, lengths),
        cap=real(node, "softcap", 0.0),
        kind=type_attribute(node, "softmax_precision"),
    )
    result = seen.result.transpose(1, 2).flatten(2) if packed else seen.result
    return result, key, value, _on_the_way(node, seen)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    mask: torch.Tensor | None = None,
    allowed: torch.Tensor | None = None,
    cap: float = 0.0,
    kind: torch.dtype | None = None,
) -> Attended:
    """Return softmax(query key' scale + mask) value, several query heads to each key head.

    Parameters
    ----------
    query, key, value : shape (n, heads, queries or keys, d)
    scale : of the products
    mask : added to the products, or true where a query may see a key
    allowed : true where a query may see a key whatever the mask says
    cap : bound towards which the products are bent; none if 0
    kind : type in which the softmax is computed; that of the query by default
    """
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    products = torch.matmul(query * sqrt(scale), key.transpose(-1, -2) * sqrt(scale))
    capped = torch.tanh(products / cap) * cap if cap else products
    masked = capped
    for shown in (mask, allowed):
        if shown is not None:
            masked = masked + (_added(shown, masked) if shown.dtype == torch.bool else shown)
    blind = torch.isneginf(masked).all(-1, keepdim=True)  # a softmax over nothing would not be a number
    weights = torch.softmax(torch.where(blind, torch.zeros_like(masked), masked).to(kind or masked.dtype), -1)
    weights = torch.where(blind, torch.zeros_like(weights), weights).to(masked.dtype)
    return Attended(torch.matmul(weights, value), products, capped, masked, weights)


def _added(shown: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return nothing where a key is shown, and minus infinity elsewhere."""
    return torch.zeros_like(shown, dtype=like.dtype).masked_fill(~shown, -torch.inf)


def rotary_embedding(node: Node, values: Values) -> torch.Tensor:
    """Return embeddings turned by angles that depend on their position, in pairs of dimensions."""
    value = given(node, values, 0)
    if value.dim() == 3:
        heads = whole(node, "num_heads", 0)
        if heads < 1 or value.shape[2] % heads:
            raise refusal(node, f"{heads} heads do not divide {value.shape[2]} dimensions")
        laid = value.reshape(*value.shape[:2], heads, -1)
    else:
        laid = value.transpose(1, 2)
    positions = optional(values, 3)
    cosine, sine = (given(node, values, place) for place in (1, 2))
    if positions is not None:
        cosine, sine = (
            table.index_select(0, positions.reshape(-1)).reshape(*positions.shape, -1) for table in (cosine, sine)
        )
    turned = rotated(laid, cosine, sine, whole(node, "rotary_embedding_dim", 0), flag(node, "interleaved"))
    return turned.flatten(2) if value.dim() == 3 else turned.transpose(1, 2)


def rotated(value: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, width: int, paired: bool) -> torch.Tensor:
    """Return embeddings with their first dimensions turned by angles.

    Parameters
    ----------
    value : shape (n, t, heads, d)
    cosine, sine : of the angles, shape (n, t, width / 2)
    width : how many dimensions turn; all by default
    paired : whether a dimension turns with its neighbour, or with the one half the width away
    """
    width = width or value.shape[-1]
    turning, still = value[..., :width], value[..., width:]
    cosine, sine = cosine.unsqueeze(-2), sine.unsqueeze(-2)
    left, right = (turning[..., 0::2], turning[..., 1::2]) if paired else turning.chunk(2, -1)
    first, second = cosine * left - sine * right, sine * left + cosine * right
    turned = torch.stack((first, second), -1).flatten(-2) if paired else torch.cat((first, second), -1)
    return torch.cat((turned, still), -1)


def _by_heads(node: Node, value: torch.Tensor, query: bool) -> torch.Tensor:
    """Return a tensor of shape (n, heads, length, d)."""
    if value.dim() == 4:
        return value
    heads = whole(node, "q_num_heads" if query else "kv_num_heads", 0)
    if value.dim() != 3 or heads < 1 or value.shape[2] % heads:
        raise refusal(node, f"{heads} heads do not fit a tensor of shape {tuple(value.shape)}")
    return value.reshape(*value.shape[:2], heads, -1).transpose(1, 2)


def _offset(query: torch.Tensor, past: torch.Tensor | None, lengths: torch.Tensor | None) -> torch.Tensor | int:
    """Return how many keys precede the first query."""
    if past is not None:
        return past.shape[2]
    return 0 if lengths is None else lengths.reshape(-1, 1, 1, 1) - query.shape[2]


def _allowed(
    node: Node, query: torch.Tensor, key: torch.Tensor, offset: torch.Tensor | int, lengths: torch.Tensor | None
) -> torch.Tensor | None:
    """Return which keys a query may see by the node's attributes and the lengths of sequences."""
    keys = torch.arange(key.shape[2], device=key.device)
    ahead = keys - torch.arange(query.shape[2], device=key.device)[:, None] - offset
    before, after = whole(node, "left_window_size", -1), whole(node, "right_window_size", -1)
    rules = []
    if flag(node, "is_causal"):
        rules.append(ahead <= 0)
    if before >= 0:
        rules.append(-ahead <= before)
    if after >= 0:
        rules.append(ahead <= after)
    if lengths is not None:
        rules.append(keys < lengths.reshape(-1, 1, 1, 1))
    if not rules:
        return None
    allowed = rules[0]
    for rule in rules[1:]:
        allowed = allowed & rule
    return allowed


def _on_the_way(node: Node, seen: Attended) -> torch.Tensor:
    """Return the product that the fourth output asks for."""
    mode = whole(node, "qk_matmul_output_mode", 0)
    if mode not in range(4):
        raise refusal(node, f"qk_matmul_output_mode={mode} is not known here")
    return (seen.products, seen.capped, seen.masked, seen.weights)[mode]


TABLE = {
    "Attention": Known(
        attention,
        "is_causal kv_num_heads left_window_size q_num_heads qk_matmul_output_mode right_window_size scale softcap"
        " softmax_precision",
    ),
    "RotaryEmbedding": Known(rotary_embedding, "interleaved num_heads rotary_embedding_dim"),
}
