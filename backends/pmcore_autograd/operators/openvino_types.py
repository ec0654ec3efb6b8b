"""OpenVINO's element types: what holds them here, and the operations that go from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import given, refusal

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
"""All of which are computed with in the precision of the module, as the runtime computes them in its own."""
_WHOLE: Mapping[str, str] = {
    "boolean": "bool",
    "i4": "int8",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u1": "uint8",
    "u4": "uint8",
    "u8": "uint8",
    "u16": "int32",
    "u32": "int64",
    "u64": "int64",
}
"""Types that torch computes with; unsigned ones that it only stores are held in wider ones."""


def cast(node: Node, x: torch.Tensor, kind: object) -> torch.Tensor:
    """Return a tensor in an element type of OpenVINO; floats stay in the precision that they have."""
    if kind in FLOATS:
        return x if x.dtype.is_floating_point else x.to(torch.get_default_dtype())
    held = _WHOLE.get(str(kind))
    if held is None:
        raise refusal(node, f"element type {kind!r} is not known here")
    return x.to(getattr(torch, held))


def _convert(node: Node, values: Values) -> torch.Tensor:
    return cast(node, given(node, values, 0), node.attributes.get("destination_type"))


def _convert_like(node: Node, values: Values) -> torch.Tensor:
    x, like = given(node, values, 0), given(node, values, 1)
    return x if x.dtype.is_floating_point and like.dtype.is_floating_point else x.to(like.dtype)


def _promote(node: Node, values: Values) -> tuple[torch.Tensor, torch.Tensor]:
    left, right = given(node, values, 0), given(node, values, 1)
    kind = torch.promote_types(left.dtype, right.dtype)
    return left.to(kind), right.to(kind)


TABLE: Mapping[str, Known] = {
    "Convert": Known(_convert, "destination_type no_clamp use_rounding"),
    "ConvertLike": Known(_convert_like),
    "ConvertPromoteTypes": Known(_promote, "promote_unsafe pytorch_scalar_promotion u64_integer_promotion_target"),
}
