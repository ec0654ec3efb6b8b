"""Types of tensors: the numbers by which ONNX calls them, and casts between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, refusal, whole

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

_NAMES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
}
_BY_NAME = {name.upper().replace("FLOAT32", "FLOAT").replace("FLOAT64", "DOUBLE"): name for name in _NAMES.values()}


def torch_type(node: Node, number: object) -> torch.dtype:
    """Return torch's type for one of ONNX's, by number or, before opset 6, by name."""
    name = _BY_NAME.get(number) if isinstance(number, str) else _NAMES.get(number)  # type: ignore[call-overload]
    if name is None:
        raise refusal(node, f"tensors of type {number!r} are not known here")
    found: torch.dtype = getattr(torch, name)
    return found


def cast(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor in another type."""
    flag(node, "saturate", True)
    return given(node, values, 0).to(torch_type(node, node.attributes.get("to")))


def cast_like(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor in the type of another one."""
    return given(node, values, 0).to(given(node, values, 1).dtype)


def bit_cast(node: Node, values: Values) -> torch.Tensor:
    """Return the same bits read as another type of the same width."""
    value, kind = given(node, values, 0), torch_type(node, node.attributes.get("to"))
    if value.element_size() != kind.itemsize:
        raise refusal(node, f"{value.dtype} and {kind} differ in width")
    return value.view(kind)


def type_attribute(node: Node, name: str) -> torch.dtype | None:
    """Return the type that an attribute asks for, or None where it asks for none."""
    return torch_type(node, whole(node, name, 0)) if node.attributes.get(name) else None


TABLE = {
    "BitCast": Known(bit_cast, "to"),
    "Cast": Known(cast, "to saturate round_mode"),
    "CastLike": Known(cast_like, "saturate round_mode"),
}
