"""Operators taken up since opset 24: caches of sequences, gated units, and attention without a softmax."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, given, optional, real, refusal, whole, word

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")


def swiglu(node: Node, values: Values) -> torch.Tensor:
    """Return a gate times the logistic function of alpha times it, times the second input."""
    gate = given(node, values, 0)
    return gate * torch.sigmoid(real(node, "alpha", 1.0) * gate) * given(node, values, 1)


def causal_conv(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return a convolution of each channel over present and past, and the steps that the next call needs."""
    value, weight = given(node, values, 0), given(node, values, 1)
    bias, past = optional(values, 2), optional(values, 3)
    kept = weight.shape[-1] - 1
    past = value.new_zeros(*value.shape[:2], kept) if past is None else past
    laid = torch.cat((past, value), 2)
    result = functional.conv1d(laid, weight, bias, groups=value.shape[1])
    if word(node, "activation", "none silu swish") != "none":
        result = functional.silu(result)
    return result, laid.narrow(2, laid.shape[2] - kept, kept)


def linear_attention(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return what queries read from a memory of keys and values that each step changes, and the memory."""
    rule = word(node, "update_rule", "gated_delta linear gated delta")
    whole(node, "chunk_size", 64)  # a hint for the speed alone
    heads, shared = whole(node, "kv_num_heads", 0), whole(node, "q_num_heads", 0)
    if heads < 1 or shared < 1 or shared % heads:
        raise refusal(node, f"{shared} query heads do not share {heads} key heads")
    query = _by_heads(node, given(node, values, 0), shared)
    key, value = (_by_heads(node, given(node, values, place), heads) for place in (1, 2))
    memory, decay, rate = (optional(values, place) for place in (3, 4, 5))
    steps = query.shape[1]
    if memory is None:
        memory = value.new_zeros(value.shape[0], heads, key.shape[-1], value.shape[-1])
    fading = None if decay is None or rule in ("linear", "delta") else _by_heads(node, decay, heads).exp()
    rates = None if rate is None or "delta" not in rule else _by_heads(node, rate, rate.shape[-1])
    scale = real(node, "scale", 0.0) or 1 / sqrt(query.shape[-1])
    read = []
    for step in range(steps):
        memory = memory if fading is None else memory * fading[:, step].unsqueeze(-1)
        fresh, place = value[:, step], key[:, step].unsqueeze(-1)
        if "delta" in rule:
            fresh = fresh - (memory * place).sum(-2)
            fresh = fresh if rates is None else fresh * rates[:, step]
        memory = memory + place * fresh.unsqueeze(-2)
        seen = memory.repeat_interleave(shared // heads, 1)
        read.append((seen * query[:, step].unsqueeze(-1)).sum(-2) * scale)
    return torch.stack(read, 1).flatten(2), memory


def tensor_scatter(node: Node, values: Values) -> torch.Tensor:
    """Return a cache with a stretch of each of its sequences overwritten."""
    cache, fresh, starts = given(node, values, 0), given(node, values, 1), optional(values, 2)
    axis = axis_of(node, whole(node, "axis", -2), cache.dim())
    steps = torch.arange(fresh.shape[axis], device=cache.device)
    places = steps.expand(cache.shape[0], -1) if starts is None else starts.reshape(-1, 1) + steps
    if word(node, "mode", "linear circular") == "circular":
        places = places.remainder(cache.shape[axis])
    shape = [cache.shape[0]] + [1] * (cache.dim() - 1)
    shape[axis] = fresh.shape[axis]
    return torch.scatter(cache, axis, places.reshape(shape).expand(fresh.shape), fresh)


def _by_heads(node: Node, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Return a tensor of shape (n, steps, heads, d)."""
    if value.dim() != 3 or value.shape[2] % heads:
        raise refusal(node, f"{heads} heads do not divide a tensor of shape {tuple(value.shape)}")
    return value.reshape(*value.shape[:2], heads, -1)


TABLE = {
    "CausalConvWithState": Known(causal_conv, "activation"),
    "LinearAttention": Known(linear_attention, "chunk_size kv_num_heads q_num_heads scale update_rule"),
    "SwiGLU": Known(swiglu, "alpha"),
    "TensorScatter": Known(tensor_scatter, "axis mode"),
}
