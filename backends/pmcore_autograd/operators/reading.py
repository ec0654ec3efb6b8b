"""What an operator reads of its node: attributes, and inputs that must be constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Values
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    import torch

_LATEST = 1_000  # a node that does not say its version is read by the newest definition


def numbers(node: Node, value: torch.Tensor) -> list[Any]:
    """Return the elements of a constant as numbers, flattened; refuse what differs from record to record."""
    try:
        read: list[Any] = value.detach().reshape(-1).tolist()
    except RuntimeError as error:  # torch.func.vmap gives a tensor of all records no values
        raise refusal(node, "a shape, an axis or an index depends on the values of a record") from error
    return read


def integers(node: Node, value: torch.Tensor) -> list[int]:
    """Return the elements of a constant as whole numbers, flattened."""
    return [int(number) for number in numbers(node, value)]


def given(node: Node, values: Values, place: int) -> torch.Tensor:
    """Return an input that must be there."""
    value = optional(values, place)
    if value is None:
        raise refusal(node, f"input {place} is missing")
    return value


def optional(values: Values, place: int) -> torch.Tensor | None:
    """Return an input, or None where it is absent."""
    return values[place] if place < len(values) else None


def whole(node: Node, name: str, default: int) -> int:
    """Return an attribute that is a whole number."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int):
        raise _wrong(node, name, value)
    return int(value)


def wholes(node: Node, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return an attribute that is several whole numbers."""
    value = node.attributes.get(name, default)
    if not isinstance(value, tuple) or not all(isinstance(number, int) for number in value):
        raise _wrong(node, name, value)
    return value


def real(node: Node, name: str, default: float) -> float:
    """Return an attribute that is a number."""
    value = node.attributes.get(name, default)
    if not isinstance(value, int | float):
        raise _wrong(node, name, value)
    return float(value)


def reals(node: Node, name: str, default: tuple[float, ...] = ()) -> tuple[float, ...]:
    """Return an attribute that is several numbers."""
    value = node.attributes.get(name, default)
    if not isinstance(value, tuple) or not all(isinstance(number, int | float) for number in value):
        raise _wrong(node, name, value)
    return tuple(float(number) for number in value)


def word(node: Node, name: str, words: str) -> str:
    """Return an attribute that is one of some words separated by blanks, the first of which is the default."""
    value = node.attributes.get(name, words.split()[0])
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if text not in words.split():
        raise refusal(node, f"{name}={text!r} is not known here")
    return str(text)


def flag(node: Node, name: str, default: bool = False) -> bool:
    """Return an attribute that is a switch."""
    return bool(whole(node, name, int(default)))


def version(node: Node) -> int:
    """Return the version of the operator set by which the node is defined."""
    return node.version or _LATEST


def axis_of(node: Node, axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    if not -rank <= axis < max(rank, 1):
        raise refusal(node, f"axis {axis} does not exist in a tensor of {rank} dimensions")
    return axis + rank if axis < 0 else axis


def refusal(node: Node, why: str) -> Unsupported:
    """Return the error that refuses a node."""
    return Unsupported(f"{node.title}: {why} - no gradients of this file")


def _wrong(node: Node, name: str, value: object) -> Unsupported:
    return refusal(node, f"{name}={value!r} is of the wrong type")
