"""Where parameters enter operators: tables by dialect and kind of what an input of an operator is to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from math import prod
from typing import TypeAlias

from pmcore_autograd.graph import Node

Fan: TypeAlias = Callable[[Node, tuple[int, ...]], int]
"""What tells how many numbers a weight adds up, from its node and its shape."""


class Role(Enum):
    """What a tensor is to the operator that it enters."""

    WEIGHT = "weight"
    RECURRENT = "recurrent"
    TABLE = "table"
    SCALE = "scale"
    BIAS = "bias"
    SLOPE = "slope"
    ADDED = "added"
    FACTOR = "factor"
    MEAN = "mean"
    VARIANCE = "variance"

    @property
    def is_buffer(self) -> bool:
        """Tell whether a tensor in this role is what training has measured, and not what it has learnt."""
        return self in (Role.MEAN, Role.VARIANCE)

    @property
    def is_plain(self) -> bool:
        """Tell whether any constant may enter in this role: a mask, a unit, a shift of the input."""
        return self in (Role.ADDED, Role.FACTOR)


@dataclass(frozen=True)
class Slot:
    """An input of an operator that a parameter enters.

    Parameters
    ----------
    role : what it is there
    fan_in : tells how many numbers each number of the result adds up; of weights only
    """

    role: Role
    fan_in: Fan | None = None


@dataclass(frozen=True)
class Slots:
    """What is known of one dialect.

    Parameters
    ----------
    entering : kind of operator -> place of an input -> what enters there
    passing : kind of operator -> places of the inputs of which it merely arranges the elements; None for all of them.
        What a parameter is, is asked of what stands before such operators
    integers : kinds whose weights are whole numbers, which no gradient reaches
    rounding : kinds that round, whose gradient is that of what stands in for them
    """

    entering: Mapping[str, Mapping[int, Slot]]
    passing: Mapping[str, tuple[int, ...] | None]
    integers: frozenset[str] = field(default_factory=frozenset)
    rounding: frozenset[str] = field(default_factory=frozenset)


_TABLES = {
    "onnx": "slots_onnx",
    "ai.onnx.ml": "slots_onnx",
    "com.microsoft": "slots_microsoft",
    "openvino": "slots_openvino",
}
_NONE = Slots({}, {})


def slots_of(dialect: str) -> Slots:
    """Return what is known of a dialect; a module of a dialect's own holds its table as SLOTS."""
    name = _TABLES.get(dialect)
    if name is None:
        return _NONE
    found: Slots = import_module(f"pmcore_autograd.{name}").SLOTS
    return found


def product_of_rows(node: Node, shape: tuple[int, ...]) -> int:
    """Return the fan-in of a matrix from the right: (..., in, out)."""
    return shape[-2] if len(shape) > 1 else prod(shape)


def product_of_columns(node: Node, shape: tuple[int, ...]) -> int:
    """Return the fan-in of a matrix from the left: (..., out, in)."""
    return shape[-1] if shape else 1


def convolution(node: Node, shape: tuple[int, ...]) -> int:
    """Return the fan-in of a convolution: (out, in, *kernel)."""
    return prod(shape[1:])


def transposed_convolution(node: Node, shape: tuple[int, ...]) -> int:
    """Return the fan-in of a transposed convolution: (in, out, *kernel)."""
    return shape[0] * prod(shape[2:]) if shape else 1
