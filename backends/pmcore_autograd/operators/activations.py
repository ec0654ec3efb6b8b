"""Activation functions, and the softmax family."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, given, real, version, whole, word

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")

_STRAIGHT = 40.0  # beyond this the softplus is the identity in float64 too; torch's own bound, 20, shows there


def relu(node: Node, values: Values) -> torch.Tensor:
    """Return the positive part."""
    return torch.relu(given(node, values, 0))


def sigmoid(node: Node, values: Values) -> torch.Tensor:
    """Return the logistic function."""
    return torch.sigmoid(given(node, values, 0))


def leaky_relu(node: Node, values: Values) -> torch.Tensor:
    """Return the positive part and alpha times the negative one."""
    return functional.leaky_relu(given(node, values, 0), real(node, "alpha", 0.01))


def prelu(node: Node, values: Values) -> torch.Tensor:
    """Return the positive part and a learned slope times the negative one."""
    value, slope = given(node, values, 0), given(node, values, 1)
    if version(node) < 7 and slope.dim() == 1 and slope.numel() > 1:
        slope = slope.reshape((-1,) + (1,) * (value.dim() - 2))  # one per channel
    return torch.where(value < 0, slope * value, value)


def elu(node: Node, values: Values) -> torch.Tensor:
    """Return x, or alpha (exp x - 1) below zero."""
    return functional.elu(given(node, values, 0), real(node, "alpha", 1.0))


def selu(node: Node, values: Values) -> torch.Tensor:
    """Return the scaled exponential linear unit."""
    alpha, gamma = real(node, "alpha", 1.67326319217681884765625), real(node, "gamma", 1.05070102214813232421875)
    return gamma * functional.elu(given(node, values, 0), alpha)


def celu(node: Node, values: Values) -> torch.Tensor:
    """Return x, or alpha (exp(x / alpha) - 1) below zero."""
    return functional.celu(given(node, values, 0), real(node, "alpha", 1.0))


def thresholded_relu(node: Node, values: Values) -> torch.Tensor:
    """Return x above alpha and nothing elsewhere."""
    value = given(node, values, 0)
    return torch.where(value > real(node, "alpha", 1.0), value, torch.zeros_like(value))


def shrink(node: Node, values: Values) -> torch.Tensor:
    """Return x moved by bias towards zero, and zero within lambd of it."""
    value, bias, bound = given(node, values, 0), real(node, "bias", 0.0), real(node, "lambd", 0.5)
    below = torch.where(value < -bound, value + bias, torch.zeros_like(value))
    return torch.where(value > bound, value - bias, below).to(value.dtype)


def softplus(node: Node, values: Values) -> torch.Tensor:
    """Return log(1 + exp x)."""
    return functional.softplus(given(node, values, 0), threshold=_STRAIGHT)


def softsign(node: Node, values: Values) -> torch.Tensor:
    """Return x / (1 + |x|)."""
    return functional.softsign(given(node, values, 0))


def hard_sigmoid(node: Node, values: Values) -> torch.Tensor:
    """Return alpha x + beta, held between 0 and 1."""
    return hard_logistic(given(node, values, 0), real(node, "alpha", 0.2), real(node, "beta", 0.5))


def hard_logistic(value: torch.Tensor, slope: float, offset: float) -> torch.Tensor:
    """Return a straight line held between 0 and 1."""
    return functional.hardtanh(value * slope + offset, 0.0, 1.0)


def hard_swish(node: Node, values: Values) -> torch.Tensor:
    """Return x times the straight line x / 6 + 1/2 held between 0 and 1."""
    value = given(node, values, 0)
    return value * hard_logistic(value, 1 / 6, 0.5)


def mish(node: Node, values: Values) -> torch.Tensor:
    """Return x tanh(softplus x)."""
    value = given(node, values, 0)
    return value * torch.tanh(functional.softplus(value, threshold=_STRAIGHT))


def swish(node: Node, values: Values) -> torch.Tensor:
    """Return x times the logistic function of alpha x."""
    value = given(node, values, 0)
    return value * torch.sigmoid(real(node, "alpha", 1.0) * value)


def gelu(node: Node, values: Values) -> torch.Tensor:
    """Return x times the normal distribution's function, exactly or by tanh."""
    return functional.gelu(given(node, values, 0), approximate=word(node, "approximate", "none tanh"))


def softmax(node: Node, values: Values) -> torch.Tensor:
    """Return probabilities along an axis."""
    return along(node, given(node, values, 0), lambda value, axis: torch.softmax(value, axis))


def log_softmax(node: Node, values: Values) -> torch.Tensor:
    """Return logarithms of probabilities along an axis."""
    return along(node, given(node, values, 0), lambda value, axis: torch.log_softmax(value, axis))


def hardmax(node: Node, values: Values) -> torch.Tensor:
    """Return one at the first largest element along an axis, and zero elsewhere."""
    return along(node, given(node, values, 0), _first_largest)


def along(node: Node, value: torch.Tensor, function: Callable[[torch.Tensor, int], torch.Tensor]) -> torch.Tensor:
    """Apply a function along the node's axis; before opset 13 all dimensions from there on count as one."""
    if version(node) >= 13:
        return function(value, axis_of(node, whole(node, "axis", -1), value.dim()))
    axis = whole(node, "axis", 1)
    axis = axis_of(node, axis, value.dim()) if axis < 0 else min(axis, value.dim())
    rows = value.reshape(value.shape[:axis].numel(), value.shape[axis:].numel())
    return function(rows, 1).reshape(value.shape)


def _first_largest(value: torch.Tensor, axis: int) -> torch.Tensor:
    places = torch.arange(value.shape[axis], device=value.device).reshape((-1,) + (1,) * (value.dim() - 1 - axis))
    return (places == torch.argmax(value, axis, keepdim=True)).to(value.dtype)


_OLD = "consumed_inputs"  # of opsets before 6
TABLE = {
    "Celu": Known(celu, "alpha"),
    "Elu": Known(elu, f"alpha {_OLD}"),
    "Gelu": Known(gelu, "approximate"),
    "HardSigmoid": Known(hard_sigmoid, f"alpha beta {_OLD}"),
    "HardSwish": Known(hard_swish),
    "Hardmax": Known(hardmax, "axis"),
    "LeakyRelu": Known(leaky_relu, f"alpha {_OLD}"),
    "LogSoftmax": Known(log_softmax, "axis"),
    "Mish": Known(mish),
    "PRelu": Known(prelu, _OLD),
    "Relu": Known(relu, _OLD),
    "Selu": Known(selu, f"alpha gamma {_OLD}"),
    "Shrink": Known(shrink, "bias lambd"),
    "Sigmoid": Known(sigmoid, _OLD),
    "Softmax": Known(softmax, "axis"),
    "Softplus": Known(softplus),
    "Softsign": Known(softsign),
    "Swish": Known(swish, "alpha"),
    "ThresholdedRelu": Known(thresholded_relu, "alpha"),
}
