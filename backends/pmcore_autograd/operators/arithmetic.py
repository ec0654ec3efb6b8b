"""Arithmetic, comparisons and logic on two or more tensors whose shapes fit each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, refusal, version, whole, word

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def divide(node: Node, values: Values) -> torch.Tensor:
    """Return quotients; those of whole numbers are cut towards zero."""
    left, right = pair(node, values)
    return torch.div(left, right, rounding_mode=None if left.is_floating_point() else "trunc")


def power(node: Node, values: Values) -> torch.Tensor:
    """Return powers in the type of their bases."""
    left, right = pair(node, values)
    return torch.pow(left, right).to(left.dtype)


def modulo(node: Node, values: Values) -> torch.Tensor:
    """Return remainders with the sign of the divisor, or with ``fmod`` that of the dividend."""
    left, right = pair(node, values)
    return torch.fmod(left, right) if flag(node, "fmod") else torch.remainder(left, right)


def shift(node: Node, values: Values) -> torch.Tensor:
    """Return whole numbers with their bits moved."""
    left, right = pair(node, values)
    to_the_left = word(node, "direction", "? LEFT RIGHT") == "LEFT"
    return torch.bitwise_left_shift(left, right) if to_the_left else torch.bitwise_right_shift(left, right)


def mean(node: Node, values: Values) -> torch.Tensor:
    """Return the mean of several tensors."""
    return _folded(torch.add, node, values) / len(values)


def negate(node: Node, values: Values) -> torch.Tensor:
    """Return the opposite truth."""
    return torch.logical_not(given(node, values, 0))


def invert(node: Node, values: Values) -> torch.Tensor:
    """Return whole numbers with every bit turned."""
    return torch.bitwise_not(given(node, values, 0))


def where(node: Node, values: Values) -> torch.Tensor:
    """Return elements of one tensor where a condition holds, and of another elsewhere."""
    return torch.where(given(node, values, 0).bool(), given(node, values, 1), given(node, values, 2))


def pair(node: Node, values: Values) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two operands in shapes that fit, by the rules of the node's version."""
    left, right = given(node, values, 0), given(node, values, 1)
    if version(node) >= 7 or not flag(node, "broadcast"):
        return left, right
    axis = whole(node, "axis", left.dim() - right.dim())  # the second fits into the first from this axis on
    behind = left.dim() - (axis + left.dim() if axis < 0 else axis) - right.dim()
    if behind < 0:
        raise refusal(node, f"axis {axis} leaves no room for the second operand")
    return left, right.reshape(right.shape + (1,) * behind)


def _two(name: str) -> Operator:
    """Return the operator that torch calls by a name and that takes two operands."""

    def operator(node: Node, values: Values) -> torch.Tensor:
        result: torch.Tensor = getattr(torch, name)(*pair(node, values))
        return result

    return operator


def _several(name: str) -> Operator:
    """Return the operator that folds any number of operands by a function of torch."""
    return lambda node, values: _folded(getattr(torch, name), node, values)


def _folded(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], node: Node, values: Values) -> torch.Tensor:
    return reduce(function, (given(node, values, place) for place in range(len(values))))


_OLD = "axis broadcast consumed_inputs"  # attributes of opsets before 7
TABLE = {
    "Add": Known(_two("add"), _OLD),
    "Sub": Known(_two("sub"), _OLD),
    "Mul": Known(_two("mul"), _OLD),
    "Div": Known(divide, _OLD),
    "Pow": Known(power, _OLD),
    "Mod": Known(modulo, "fmod"),
    "Max": Known(_several("maximum"), "consumed_inputs"),
    "Min": Known(_several("minimum"), "consumed_inputs"),
    "Sum": Known(_several("add"), "consumed_inputs"),
    "Mean": Known(mean, "consumed_inputs"),
    "BitShift": Known(shift, "direction"),
    "BitwiseAnd": Known(_two("bitwise_and")),
    "BitwiseOr": Known(_two("bitwise_or")),
    "BitwiseXor": Known(_two("bitwise_xor")),
    "BitwiseNot": Known(invert),
    "And": Known(_two("logical_and"), _OLD),
    "Or": Known(_two("logical_or"), _OLD),
    "Xor": Known(_two("logical_xor"), _OLD),
    "Not": Known(negate),
    "Equal": Known(_two("eq"), _OLD),
    "Greater": Known(_two("gt"), _OLD),
    "GreaterOrEqual": Known(_two("ge")),
    "Less": Known(_two("lt"), _OLD),
    "LessOrEqual": Known(_two("le")),
    "Where": Known(where),
}
