"""Operators that make tensors out of attributes and sizes."""

from __future__ import annotations

from math import ceil, isfinite, prod
from typing import TYPE_CHECKING

import numpy as np

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import given, integers, numbers, real, reals, refusal, whole, wholes
from pmcore_autograd.operators.types import type_attribute

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

_MOST = 2**31  # elements: a file of a few bytes can ask for any number


def constant(node: Node, values: Values) -> torch.Tensor:
    """Return the tensor that an attribute holds."""
    kind = next(iter(node.attributes), "value")
    if kind == "value":
        return _tensor(node, node.attributes.get("value"))
    if kind in ("value_float", "value_floats"):
        number = real(node, kind, 0.0) if kind == "value_float" else reals(node, kind)
        return torch.tensor(number, dtype=torch.float32)
    return torch.tensor(whole(node, kind, 0) if kind == "value_int" else wholes(node, kind), dtype=torch.int64)


def constant_of_shape(node: Node, values: Values) -> torch.Tensor:
    """Return a tensor of one value everywhere, zero by default."""
    shape = given(node, values, 0)
    value = node.attributes.get("value")
    filler = torch.zeros(1) if value is None else _tensor(node, value).reshape(-1)
    return filler.to(shape.device).expand(sized(node, integers(node, shape))).clone()


def range_(node: Node, values: Values) -> torch.Tensor:
    """Return numbers from a start to a limit, by a step."""
    first = given(node, values, 0)
    start, limit, step = (numbers(node, given(node, values, place))[0] for place in range(3))
    if step == 0 or not isfinite(start + limit + step):
        raise refusal(node, f"there is no range from {start} to {limit} by {step}")
    count = max(ceil((limit - start) / step), 0)
    sized(node, [count])
    wide = torch.float64 if first.is_floating_point() else torch.int64
    counted: torch.Tensor = torch.arange(count, dtype=wide, device=first.device) * step + start
    return counted.to(first.dtype)


def eye_like(node: Node, values: Values) -> torch.Tensor:
    """Return ones on a diagonal, in the shape of the input."""
    value = given(node, values, 0)
    rows, columns = value.shape
    down = torch.arange(rows, device=value.device)[:, None] + whole(node, "k", 0)
    diagonal = down == torch.arange(columns, device=value.device)
    return diagonal.to(type_attribute(node, "dtype") or value.dtype)


def sized(node: Node, shape: list[int]) -> list[int]:
    """Return a shape that a node asks for, unless no honest graph has it."""
    if min(shape, default=0) < 0 or prod(shape) > _MOST:
        raise refusal(node, f"it asks for a tensor of shape {tuple(shape)}")
    return shape


def _tensor(node: Node, value: object) -> torch.Tensor:
    if not isinstance(value, np.ndarray):
        raise refusal(node, "it holds no tensor of numbers")
    made: torch.Tensor = torch.from_numpy(value.copy())
    return made


TABLE = {
    "Constant": Known(constant, "value value_float value_floats value_int value_ints"),
    "ConstantOfShape": Known(constant_of_shape, "value"),
    "EyeLike": Known(eye_like, "dtype k"),
    "Range": Known(range_),
}
