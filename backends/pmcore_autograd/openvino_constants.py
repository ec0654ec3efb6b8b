"""The constants of an OpenVINO model as arrays, of types that numpy and torch have."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from pmcore.interfaces import Array
from pmcore.quoting import printable
from pmcore_autograd.openvino_importing import import_openvino
from pmcore_autograd.unsupported import Unsupported

LOW_BITS = frozenset({"i8", "u8", "i4", "u4"})
"""Types in which weights are kept that were rounded to few levels."""
_PLAIN = frozenset({"boolean", "i8", "i16", "i32", "i64", "u8", "f16", "f32", "f64"})
_WIDER = {"u16": np.int32, "u32": np.int64, "u64": np.int64}
"""Unsigned integers, with which torch does not compute."""


def constant_value(node: Any) -> Array:
    """Return the value of a constant; it may be a read-only view of the model's memory.

    Raises
    ------
    Unsupported
        It is of a type that is not known here.
    """
    kind = str(node.get_element_type().get_type_name())
    shape = tuple(int(size) for size in node.get_output_shape(0))
    if kind in _PLAIN:
        return _data(node)
    if kind in _WIDER:
        return _data(node).astype(_WIDER[kind])
    if kind == "bf16":
        halves = np.frombuffer(_data(node).tobytes(), dtype=np.uint16)
        return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(shape)
    if kind in ("i4", "u4"):
        packed = np.frombuffer(_data(node).tobytes(), dtype=np.uint8)
        digits = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[: prod(shape)].astype(np.int8)
        signed: Array = np.where(digits > 7, digits - 16, digits).astype(np.int8) if kind == "i4" else digits
        return signed.reshape(shape)
    raise Unsupported(
        f"Constant {printable(str(node.get_friendly_name()), 60)!r}: element type {kind!r} is not known here "
        "- no gradients of this file"
    )


def constant_node(value: Array, kind: str) -> Any:
    """Return a new constant in an element type; its memory is its own.

    Parameters
    ----------
    value : in the numpy type of that name; in float32 for bfloat16, to whose nearest number it is rounded, and in 8
        bits for integers of 4
    """
    openvino = import_openvino()
    if kind == "bf16":
        bits = np.ascontiguousarray(value, dtype=np.float32).view(np.uint32)
        return _packed(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16), "bf16", value.shape)
    if kind in ("i4", "u4"):
        digits = np.ascontiguousarray(value).view(np.uint8).reshape(-1) & 15
        digits = np.append(digits, np.zeros(digits.size % 2, np.uint8))
        return _packed(digits[::2] | (digits[1::2] << 4), kind, value.shape)
    return openvino.opset13.constant(np.array(value, order="C"))


def _packed(bits: Array, kind: str, shape: tuple[int, ...]) -> Any:
    openvino = import_openvino()
    tensor = openvino.Tensor(getattr(openvino.Type, kind), openvino.Shape(shape))
    tensor.data.reshape(-1).view(bits.dtype)[...] = bits.reshape(-1)
    return openvino.opset13.constant(tensor)


def _data(node: Any) -> Array:
    found: Array = node.data
    return found
