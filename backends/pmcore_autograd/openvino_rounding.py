"""New values of weights that an OpenVINO model keeps rounded: put back on the levels of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import ModelError
from pmcore.interfaces import Array
from pmcore.quoting import quoted
from pmcore_autograd.openvino_constants import LOW_BITS, constant_value

_HALF = 0.5 + 1e-3
"""Of a step: how far rounding may move a weight."""
_FLOATS = frozenset({"f16", "f32", "bf16"})


@dataclass(frozen=True)
class Kept:
    """What a constant of the file is to hold so that rounded weights come out.

    Parameters
    ----------
    constant : the node
    value : its new value, real or whole
    """

    constant: Any
    value: Array


def kept_as(node: Any, value: Array, name: str, where: Path) -> Kept | None:
    """Return what stands in the file for weights that a node makes by rounding, or of whole numbers.

    Parameters
    ----------
    node : makes the weights of constants
    value : what it is to make; each weight moves to the nearest level
    name : of the weights

    Returns
    -------
    Kept or None
        None where nothing is rounded.

    Raises
    ------
    ModelError
        A weight lies beyond the levels, or they are made in a way that cannot be undone.
    """
    if not _is_rounded(node):
        return None
    if node.get_type_name() == "FakeQuantize":
        found = _before_rounding(node, value)
    elif node.get_type_name() == "Multiply":
        found = _whole(node, value)
    else:
        found = None
    if found is None:
        raise ModelError(
            f"{where}: the weight {quoted(name)} is rounded in a way that cannot be undone; it is not saved"
        )
    constant, fresh, beyond = found
    if beyond:
        raise ModelError(
            f"{where}: {beyond} of {value.size} weights of {quoted(name)} are larger than its scales reach; clip them, "
            "or quantise a float model anew"
        )
    return Kept(constant, fresh)


_Found = tuple[Any, Array, int]


def _before_rounding(node: Any, value: Array) -> _Found | None:
    """Return the constant that a FakeQuantize reads, its new value, and how many weights it would move too far."""
    constant = node.input_value(0).get_node()
    ends = [_constant(node.input_value(place)) for place in range(1, 5)]
    low, high, out_low, out_high = ends
    if low is None or high is None or out_low is None or out_high is None or constant.get_type_name() != "Constant":
        return None
    if not (np.array_equal(low, out_low) and np.array_equal(high, out_high)):
        return None
    if constant.get_element_type().get_type_name() not in _FLOATS:
        return None
    room = _HALF * (high - low) / max(int(node.get_attributes()["levels"]) - 1, 1)
    return constant, value, int(((value < low - room) | (value > high + room)).sum())


def _whole(node: Any, value: Array) -> _Found | None:
    """Return the constant of which (whole - zero) * scale is made, its new value, and how many weights do not fit."""
    scale, below = _constant(node.input_value(1)), node.input_value(0).get_node()
    zero: Array | None = np.zeros(())
    if below.get_type_name() == "Subtract":
        zero, below = _constant(below.input_value(1)), below.input_value(0).get_node()
    if scale is None or zero is None or below.get_type_name() != "Convert" or not scale.all():
        return None
    constant = below.input_value(0).get_node()
    kind = constant.get_element_type().get_type_name()
    if constant.get_type_name() != "Constant" or kind not in _BOUNDS:
        return None
    exact = value / scale + zero
    lowest, highest = _BOUNDS[kind]
    whole = np.clip(np.rint(exact), lowest, highest)
    beyond = int((np.abs(exact - whole) > _HALF).sum()) + int((~np.isfinite(exact)).sum())
    old = constant_value(constant)
    if whole.shape != old.shape:
        return None
    return constant, whole.astype(old.dtype), beyond


_BOUNDS = {"i4": (-8, 7), "u4": (0, 15), "i8": (-128, 127), "u8": (0, 255), "i32": (-(2**31), 2**31 - 1)}


def _constant(value: Any) -> Array | None:
    """Return the numbers of a constant, also of one that is converted, in double precision."""
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return constant_value(node).astype(np.float64) if node.get_type_name() == "Constant" else None


def _is_rounded(node: Any) -> bool:
    """Tell whether a constant tensor is made by rounding, or of whole numbers."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node.get_name() in seen:
            continue
        seen.add(node.get_name())
        kind = node.get_type_name()
        bits = node.get_element_type().get_type_name() if kind == "Constant" else ""
        if kind in ("FakeQuantize", "Convert") and (kind != "Convert" or not node.get_input_element_type(0).is_real()):
            return True
        if bits in LOW_BITS:
            return True
        waiting.extend(value.get_node() for value in node.input_values())
    return False
