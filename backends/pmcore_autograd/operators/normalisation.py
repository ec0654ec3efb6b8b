"""Normalisation over a batch, a layer, groups of channels or neighbours, as it is done once training is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import (
    axis_of,
    flag,
    given,
    optional,
    real,
    refusal,
    version,
    whole,
    wholes,
)

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")


def batch_normalization(node: Node, values: Values) -> torch.Tensor:
    """Return channels scaled by what a training run found; a graph still in training is refused."""
    value, scale, shift, mean, variance = (given(node, values, place) for place in range(5))
    if flag(node, "training_mode") or (version(node) < 7 and not flag(node, "is_test")):
        raise refusal(node, "it normalises by the batch, as in training; export the model in evaluation mode")
    behind = (1,) * (value.dim() - 1 - scale.dim())
    factor = scale * torch.rsqrt(variance + real(node, "epsilon", 1e-5))
    offset = shift - mean * factor
    factor, offset = factor.to(value.dtype), offset.to(value.dtype)
    return torch.addcmul(offset.reshape(offset.shape + behind), value, factor.reshape(factor.shape + behind))


def layer_normalization(node: Node, values: Values) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Return records centred and scaled over the dimensions from an axis on; also the mean and 1 / deviation."""
    value, scale, shift = given(node, values, 0), given(node, values, 1), optional(values, 2)
    axis = axis_of(node, whole(node, "axis", -1), value.dim())
    whole(node, "stash_type", 1)  # says in which precision to compute: the graph's own is kept
    epsilon, axes = real(node, "epsilon", 1e-5), tuple(range(axis, value.dim()))
    if (
        not any(node.outputs[1:])
        and scale.shape == value.shape[axis:]
        and (shift is None or shift.shape == scale.shape)
    ):
        return functional.layer_norm(value, value.shape[axis:], scale, shift, epsilon)
    mean = value.mean(axes, keepdim=True)
    centred = value - mean
    inverse = torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon)
    result = centred * inverse * scale
    return result if shift is None else result + shift, mean, inverse


def rms_normalization(node: Node, values: Values) -> torch.Tensor:
    """Return records divided by their root mean square over the dimensions from an axis on."""
    return simplified_layer_normalization(node, values)[0]


def simplified_layer_normalization(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return the same as ONNX Runtime calls it, and one over the root mean square."""
    value, scale = given(node, values, 0), given(node, values, 1)
    axis = axis_of(node, whole(node, "axis", -1), value.dim())
    whole(node, "stash_type", 1)
    square = value.square().mean(tuple(range(axis, value.dim())), keepdim=True)
    inverse = torch.rsqrt(square + real(node, "epsilon", 1e-5))
    return value * inverse * scale, inverse


def instance_normalization(node: Node, values: Values) -> torch.Tensor:
    """Return channels centred and scaled over their own plane."""
    value, scale, shift = (given(node, values, place) for place in range(3))
    behind = (-1,) + (1,) * (value.dim() - 2)
    return _standard(value, 2, real(node, "epsilon", 1e-5)) * scale.reshape(behind) + shift.reshape(behind)


def group_normalization(node: Node, values: Values) -> torch.Tensor:
    """Return groups of channels centred and scaled over their planes; scaled by group before opset 21."""
    value, scale, shift = (given(node, values, place) for place in range(3))
    groups, channels = whole(node, "num_groups", 0), value.shape[1]
    if groups < 1 or channels % groups:
        raise refusal(node, f"{groups} groups do not divide {channels} channels")
    whole(node, "stash_type", 1)
    parts = value.reshape(value.shape[0], groups, -1)
    result = _standard(parts, 2, real(node, "epsilon", 1e-5)).reshape(value.shape)
    if scale.numel() == groups != channels:
        scale, shift = scale.repeat_interleave(channels // groups), shift.repeat_interleave(channels // groups)
    behind = (-1,) + (1,) * (value.dim() - 2)
    return result * scale.reshape(behind) + shift.reshape(behind)


def mean_variance_normalization(node: Node, values: Values) -> torch.Tensor:
    """Return elements centred and scaled over some axes."""
    value = given(node, values, 0)
    axes = wholes(node, "axes", (0, 2, 3))
    centred = value - value.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


def lp_normalization(node: Node, values: Values) -> torch.Tensor:
    """Return vectors along an axis divided by their norm; those of norm zero stay zero."""
    value = given(node, values, 0)
    axis, order = axis_of(node, whole(node, "axis", -1), value.dim()), whole(node, "p", 2)
    if order not in (1, 2):
        raise refusal(node, f"p={order} is not known here")
    norm = torch.linalg.vector_norm(value, order, axis, True)
    return torch.where(norm == 0, torch.zeros_like(value), value / torch.where(norm == 0, 1, norm))


def local_response(node: Node, values: Values) -> torch.Tensor:
    """Return channels divided by a power of the mean square of their neighbours."""
    value, width = given(node, values, 0), whole(node, "size", 1)
    if width < 1:
        raise refusal(node, f"size={width} is not a number of channels")
    channels = value.shape[1]
    before, after = min((width - 1) // 2, channels), min(width // 2, channels)  # what lies beyond adds nothing
    square = functional.pad(value.flatten(2).square(), (0, 0, before, after))
    total = functional.avg_pool2d(square.unsqueeze(1), (before + after + 1, 1), 1).squeeze(1) * (before + after + 1)
    divisor = real(node, "bias", 1.0) + real(node, "alpha", 1e-4) / width * total.reshape(value.shape)
    return value / divisor.pow(real(node, "beta", 0.75))


def _standard(value: torch.Tensor, axis: int, epsilon: float) -> torch.Tensor:
    """Return a tensor centred and scaled over its dimensions from an axis on."""
    return functional.layer_norm(value, value.shape[axis:], None, None, epsilon)


TABLE = {
    "BatchNormalization": Known(batch_normalization, "epsilon momentum spatial training_mode is_test consumed_inputs"),
    "GroupNormalization": Known(group_normalization, "epsilon num_groups stash_type"),
    "InstanceNormalization": Known(instance_normalization, "epsilon consumed_inputs"),
    "LRN": Known(local_response, "alpha beta bias size"),
    "LayerNormalization": Known(layer_normalization, "axis epsilon stash_type"),
    "LpNormalization": Known(lp_normalization, "axis p"),
    "MeanVarianceNormalization": Known(mean_variance_normalization, "axes"),
    "RMSNormalization": Known(rms_normalization, "axis epsilon stash_type"),
    "SimplifiedLayerNormalization": Known(simplified_layer_normalization, "axis epsilon stash_type"),
}
