"""OpenVINO's arithmetic, comparisons and logic, element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, refusal, whole, word

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

_AXIS = "auto_broadcast.auto_broadcast_axis"
BROADCAST = f"auto_broadcast {_AXIS}"
"""Attributes by which an operation on two tensors brings them to one shape."""


def aligned(node: Node, values: Values) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both operands, such that torch's own broadcasting does what the node asks for."""
    left, right = given(node, values, 0), given(node, values, 1)
    if word(node, "auto_broadcast", "numpy none explicit pdpd") == "pdpd" and right.dim() < left.dim():
        axis = whole(node, _AXIS, -1)
        missing = left.dim() - right.dim() - (axis if axis >= 0 else left.dim() - right.dim())
        if missing < 0:
            raise refusal(node, f"{_AXIS}={axis} does not fit operands of {left.dim()} and {right.dim()} dimensions")
        right = right.reshape((*right.shape, *(1,) * missing))
    return left, right


def _unary(name: str) -> Operator:
    def run(node: Node, values: Values) -> torch.Tensor:
        result: torch.Tensor = getattr(torch, name)(given(node, values, 0))
        return result

    return run


def _binary(name: str) -> Operator:
    def run(node: Node, values: Values) -> torch.Tensor:
        result: torch.Tensor = getattr(torch, name)(*aligned(node, values))
        return result

    return run


def _divide(node: Node, values: Values) -> torch.Tensor:
    left, right = aligned(node, values)
    if left.dtype.is_floating_point:
        return left / right
    return torch.div(left, right, rounding_mode="floor" if flag(node, "m_pythondiv", True) else "trunc")


def _squared_difference(node: Node, values: Values) -> torch.Tensor:
    left, right = aligned(node, values)
    return (left - right).square()


def _round(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    if word(node, "mode", "half_to_even half_away_from_zero") == "half_to_even":
        return torch.round(x)
    return torch.sign(x) * torch.floor(torch.abs(x) + 0.5)


def _is_infinite(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    found = torch.zeros_like(x, dtype=torch.bool)
    if flag(node, "detect_positive", True):
        found = found | torch.isposinf(x)
    if flag(node, "detect_negative", True):
        found = found | torch.isneginf(x)
    return found


def _select(node: Node, values: Values) -> torch.Tensor:
    if word(node, "auto_broadcast", "numpy none pdpd") == "pdpd":
        raise refusal(node, "auto_broadcast='pdpd' is not known here")
    return torch.where(given(node, values, 0), given(node, values, 1), given(node, values, 2))


def _identity(node: Node, values: Values) -> torch.Tensor:
    return given(node, values, 0)


_UNARY: Mapping[str, str] = {
    "Abs": "abs",
    "Acos": "acos",
    "Acosh": "acosh",
    "Asin": "asin",
    "Asinh": "asinh",
    "Atan": "atan",
    "Atanh": "atanh",
    "BitwiseNot": "bitwise_not",
    "Ceiling": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "ErfInv": "erfinv",
    "Exp": "exp",
    "Floor": "floor",
    "IsFinite": "isfinite",
    "IsNaN": "isnan",
    "Log": "log",
    "LogicalNot": "logical_not",
    "Negative": "neg",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
}
_BINARY: Mapping[str, str] = {
    "Add": "add",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Equal": "eq",
    "FloorMod": "remainder",
    "Greater": "gt",
    "GreaterEqual": "ge",
    "Less": "lt",
    "LessEqual": "le",
    "LogicalAnd": "logical_and",
    "LogicalOr": "logical_or",
    "LogicalXor": "logical_xor",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Mod": "fmod",
    "Multiply": "mul",
    "NotEqual": "ne",
    "Power": "pow",
    "Subtract": "sub",
}
_OTHERS: Mapping[str, tuple[Callable[[Node, Values], torch.Tensor], str]] = {
    "Divide": (_divide, f"{BROADCAST} m_pythondiv"),
    "Identity": (_identity, ""),
    "IsInf": (_is_infinite, "detect_negative detect_positive"),
    "Round": (_round, "mode"),
    "Select": (_select, BROADCAST),
    "SquaredDifference": (_squared_difference, BROADCAST),
}

TABLE: Mapping[str, Known] = {
    **{kind: Known(_unary(name)) for kind, name in _UNARY.items()},
    **{kind: Known(_binary(name), BROADCAST) for kind, name in _BINARY.items()},
    **{kind: Known(run, attributes) for kind, (run, attributes) in _OTHERS.items()},
}
