"""OpenVINO's normalisations: of batches, groups, rows and neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.openvino_reductions import axes_from
from pmcore_autograd.operators.reading import flag, given, optional, real, refusal, version, whole, wholes, word

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch = Lazily("torch")
    functional = Lazily("torch.nn.functional")


def _batch_norm(node: Node, values: Values) -> torch.Tensor:
    x, gamma, beta, mean, variance = (given(node, values, place) for place in range(5))
    epsilon = real(node, "epsilon", 0.0)
    scale = gamma * torch.rsqrt(variance + epsilon)
    shape = (1, -1, *(1,) * (x.dim() - 2))
    return (x - mean.reshape(shape)) * scale.reshape(shape) + beta.reshape(shape)


def _mean_variance(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    if version(node) < 6:
        first = 1 if flag(node, "across_channels") else 2
        axes, inside = wholes(node, "reduction_axes") or tuple(range(first, x.dim())), False
    else:
        axes, inside = axes_from(node, values, 1), word(node, "eps_mode", "inside_sqrt outside_sqrt") == "inside_sqrt"
    if not axes:
        raise refusal(node, "it normalises over no axis")
    centred = x - x.mean(axes, keepdim=True)
    if not flag(node, "normalize_variance", True):
        return centred
    variance, epsilon = centred.square().mean(axes, keepdim=True), real(node, "eps", 0.0)
    return centred / (torch.sqrt(variance + epsilon) if inside else torch.sqrt(variance) + epsilon)


def _group_norm(node: Node, values: Values) -> torch.Tensor:
    x, scale, bias = (given(node, values, place) for place in range(3))
    return functional.group_norm(x, whole(node, "num_groups", 1), scale, bias, real(node, "epsilon", 0.0))


def _normalise_l2(node: Node, values: Values) -> torch.Tensor:
    x, axes, epsilon = given(node, values, 0), axes_from(node, values, 1), real(node, "eps", 0.0)
    squares = x.square().sum(axes, keepdim=True) if axes else x.square()
    if word(node, "eps_mode", "add max") == "add":
        return x / torch.sqrt(squares + epsilon)
    return x / torch.sqrt(torch.clamp(squares, min=epsilon))


def _local_response(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    axes = axes_from(node, values, 1) if optional(values, 1) is not None else (1,)
    size, squares = whole(node, "size", 1), x.square()
    if size < 1:
        raise refusal(node, f"size={size} is no window")
    for axis in axes:
        before = (size - 1) // 2
        after = size - 1 - before
        pads = [0] * (2 * x.dim())
        pads[2 * (x.dim() - 1 - axis)], pads[2 * (x.dim() - 1 - axis) + 1] = before, after
        padded = functional.pad(squares, pads)
        squares = sum(
            (padded.narrow(axis, i, x.shape[axis]) for i in range(1, size)), padded.narrow(axis, 0, x.shape[axis])
        )
    scale = real(node, "alpha", 1.0) / size ** len(axes)
    return x / torch.pow(real(node, "bias", 1.0) + scale * squares, real(node, "beta", 0.5))


TABLE: Mapping[str, Known] = {
    "BatchNormInference": Known(_batch_norm, "epsilon"),
    "GroupNormalization": Known(_group_norm, "num_groups epsilon"),
    "LRN": Known(_local_response, "alpha beta bias size"),
    "MVN": Known(_mean_variance, "eps eps_mode normalize_variance across_channels reduction_axes"),
    "NormalizeL2": Known(_normalise_l2, "eps eps_mode"),
}
