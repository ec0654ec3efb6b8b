"""The activation that ends a network, found by walking back from an output over what only reshapes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pmcore.heads import Ending

V = TypeVar("V")

_PASSING_WORDS = (
    "view reshape _unsafe_view flatten squeeze unsqueeze to _to_copy type_as clone contiguous alias detach float "
    "double dropout dropout_ feature_dropout alpha_dropout view_as expand "
    "lift_fresh_copy _assert_tensor_metadata permute transpose t"
)
PASSING = frozenset(_PASSING_WORDS.split())
ENDINGS = {
    "softmax": Ending.SOFTMAX,
    "_softmax": Ending.SOFTMAX,
    "special_softmax": Ending.SOFTMAX,
    "log_softmax": Ending.LOG_SOFTMAX,
    "_log_softmax": Ending.LOG_SOFTMAX,
    "special_log_softmax": Ending.LOG_SOFTMAX,
    "sigmoid": Ending.SIGMOID,
    "sigmoid_": Ending.SIGMOID,
    "special_expit": Ending.SIGMOID,
}
"""Operators by their names in PyTorch."""
_STEPS = 64


@dataclass(frozen=True)
class Ended(Generic[V]):
    """The value before an activation, and which activation it is."""

    before: V
    ending: Ending


def find_ending(output: V, operator: Callable[[V], str], source: Callable[[V], V | None]) -> Ended[V] | None:
    """Return the value before the activation that an output comes from, or None where there is none.

    Parameters
    ----------
    operator : value -> the name of the operator that made it, "" for none
    source : value -> the first value that its operator reads
    """
    value: V | None = output
    outer = ""
    for _ in range(_STEPS):
        if value is None:
            return None
        name = operator(value)
        if name in ENDINGS:
            return _ended(source(value), ENDINGS[name], outer)
        if name in ("exp", "log") and not outer:
            outer = name
        elif name not in PASSING:
            return None
        value = source(value)
    return None


def _ended(before: V | None, ending: Ending, outer: str) -> Ended[V] | None:
    """Return the ending of an activation that an exponential or a logarithm may follow."""
    if before is None:
        return None
    joined = {
        ("", ending): ending,
        ("exp", Ending.LOG_SOFTMAX): Ending.SOFTMAX,
        ("log", Ending.SOFTMAX): Ending.LOG_SOFTMAX,
    }.get((outer, ending))
    return None if joined is None else Ended(before, joined)
