"""Elementary functions of each element: roots, exponentials, angles, rounding, bounds."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, numbers, optional, real, version

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def clip(node: Node, values: Values) -> torch.Tensor:
    """Return elements held between two bounds, which were attributes before opset 11.

    At a bound the gradient is zero, as it is for the ReLU6 that this mostly was.
    """
    value = given(node, values, 0)
    if version(node) < 11:
        low, high = real(node, "min", -inf), real(node, "max", inf)
    else:
        low, high = (_bound(node, optional(values, place), default) for place, default in ((1, -inf), (2, inf)))
    if value.is_floating_point() and low <= high:
        return torch.nn.functional.hardtanh(value, low, high)
    if low == -inf and high == inf:
        return value
    return torch.clamp(value, low if low > -inf else None, high if high < inf else None)


def is_infinite(node: Node, values: Values) -> torch.Tensor:
    """Return which elements are infinite, of one sign or both."""
    value = given(node, values, 0)
    up = torch.isposinf(value) if flag(node, "detect_positive", True) else torch.zeros_like(value, dtype=torch.bool)
    down = torch.isneginf(value) if flag(node, "detect_negative", True) else torch.zeros_like(value, dtype=torch.bool)
    return up | down


def sign(node: Node, values: Values) -> torch.Tensor:
    """Return -1, 0 or 1; what is not a number stays so."""
    value = given(node, values, 0)
    return torch.where(torch.isnan(value), value, torch.sign(value))


def _bound(node: Node, bound: torch.Tensor | None, default: float) -> float:
    return default if bound is None or not bound.numel() else float(numbers(node, bound)[0])


def _one(name: str) -> Operator:
    """Return the operator that torch calls by a name and that takes one tensor."""

    def operator(node: Node, values: Values) -> torch.Tensor:
        result: torch.Tensor = getattr(torch, name)(given(node, values, 0))
        return result

    return operator


_OLD = "consumed_inputs"  # of opsets before 6
TABLE = {
    "Abs": Known(_one("abs"), _OLD),
    "Acos": Known(_one("acos")),
    "Acosh": Known(_one("acosh")),
    "Asin": Known(_one("asin")),
    "Asinh": Known(_one("asinh")),
    "Atan": Known(_one("atan")),
    "Atanh": Known(_one("atanh")),
    "Ceil": Known(_one("ceil"), _OLD),
    "Clip": Known(clip, "max min consumed_inputs"),
    "Cos": Known(_one("cos")),
    "Cosh": Known(_one("cosh")),
    "Erf": Known(_one("erf")),
    "Exp": Known(_one("exp"), _OLD),
    "Floor": Known(_one("floor"), _OLD),
    "IsInf": Known(is_infinite, "detect_negative detect_positive"),
    "IsNaN": Known(_one("isnan")),
    "Log": Known(_one("log"), _OLD),
    "Neg": Known(_one("neg"), _OLD),
    "Reciprocal": Known(_one("reciprocal"), _OLD),
    "Round": Known(_one("round")),
    "Sign": Known(sign),
    "Sin": Known(_one("sin")),
    "Sinh": Known(_one("sinh")),
    "Sqrt": Known(_one("sqrt"), _OLD),
    "Tan": Known(_one("tan")),
    "Tanh": Known(_one("tanh"), _OLD),
}
