"""OpenVINO's activation functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, given, optional, real, whole, word

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch = Lazily("torch")
    functional = Lazily("torch.nn.functional")


def _relu(node: Node, values: Values) -> torch.Tensor:
    return torch.relu(given(node, values, 0))


def _sigmoid(node: Node, values: Values) -> torch.Tensor:
    return torch.sigmoid(given(node, values, 0))


def _clamp(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    low, high = real(node, "min", 0.0), real(node, "max", 0.0)
    if x.dtype.is_floating_point:
        return torch.clamp(x, low, high)
    ends = torch.iinfo(x.dtype)
    return torch.clamp(x, int(max(low, ends.min)), int(min(high, ends.max)))


def _elu(node: Node, values: Values) -> torch.Tensor:
    return functional.elu(given(node, values, 0), real(node, "alpha", 1.0))


def _selu(node: Node, values: Values) -> torch.Tensor:
    x, alpha, scale = (given(node, values, place) for place in range(3))
    negative = torch.expm1(torch.clamp(x, max=0.0))  # its gradient is finite where x is large
    return scale * torch.where(x > 0, x, alpha * negative)


def _prelu(node: Node, values: Values) -> torch.Tensor:
    x, slope = given(node, values, 0), given(node, values, 1)
    if slope.dim() == 1 and x.dim() > 1 and slope.shape[0] != 1:  # one slope per channel
        slope = slope.reshape(-1, *(1,) * (x.dim() - 2))
    return torch.where(x > 0, x, slope * x)


def _gelu(node: Node, values: Values) -> torch.Tensor:
    approximate = "tanh" if word(node, "approximation_mode", "erf tanh") == "tanh" else "none"
    return functional.gelu(given(node, values, 0), approximate=approximate)


def _swish(node: Node, values: Values) -> torch.Tensor:
    x, beta = given(node, values, 0), optional(values, 1)
    return functional.silu(x) if beta is None else x * torch.sigmoid(beta * x)


def _hard_swish(node: Node, values: Values) -> torch.Tensor:
    return functional.hardswish(given(node, values, 0))


def _hsigmoid(node: Node, values: Values) -> torch.Tensor:
    return functional.hardsigmoid(given(node, values, 0))


def _hard_sigmoid(node: Node, values: Values) -> torch.Tensor:
    x, alpha, beta = (given(node, values, place) for place in range(3))
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def _softplus(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    return torch.logaddexp(x, torch.zeros_like(x))


def _mish(node: Node, values: Values) -> torch.Tensor:
    return given(node, values, 0) * torch.tanh(_softplus(node, values))


def _softsign(node: Node, values: Values) -> torch.Tensor:
    return functional.softsign(given(node, values, 0))


def _softmax(node: Node, values: Values) -> torch.Tensor:
    return torch.softmax(given(node, values, 0), _axis(node, values))


def _log_softmax(node: Node, values: Values) -> torch.Tensor:
    return torch.log_softmax(given(node, values, 0), _axis(node, values))


def _axis(node: Node, values: Values) -> int:
    return axis_of(node, whole(node, "axis", 1), given(node, values, 0).dim())


TABLE: Mapping[str, Known] = {
    "Clamp": Known(_clamp, "min max"),
    "Elu": Known(_elu, "alpha"),
    "Gelu": Known(_gelu, "approximation_mode"),
    "HSigmoid": Known(_hsigmoid),
    "HSwish": Known(_hard_swish),
    "HardSigmoid": Known(_hard_sigmoid),
    "LeakyRelu": Known(_prelu),
    "LogSoftmax": Known(_log_softmax, "axis"),
    "Mish": Known(_mish),
    "PRelu": Known(_prelu),
    "Relu": Known(_relu),
    "Selu": Known(_selu),
    "Sigmoid": Known(_sigmoid),
    "SoftPlus": Known(_softplus),
    "SoftSign": Known(_softsign),
    "Softmax": Known(_softmax, "axis"),
    "Swish": Known(_swish),
}
