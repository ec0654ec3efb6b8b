"""Constants of a file as torch tensors, also those of types that numpy or torch lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pmcore.interfaces import Array
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    import torch

HALVES = frozenset({"float16", "bfloat16"})
"""Types whose weights are widened: their gradients would underflow."""
_REALS = frozenset({"float32", "float64", *HALVES})
_VIEWED = {"bfloat16": (np.uint16, "bfloat16"), "float8_e4m3fn": (np.uint8, "float8_e4m3fn")}
_VIEWED |= {name: (np.uint8, name) for name in ("float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")}
_PACKED = {"int4": np.int8, "uint4": np.uint8, "int2": np.int8, "uint2": np.uint8}


def is_real(value: Array) -> bool:
    """Tell whether an array holds real numbers that a gradient may be taken with respect to."""
    return value.dtype.name in _REALS


def to_torch(value: Array, name: str) -> torch.Tensor:
    """Return an array as a tensor in its own type, sharing memory where that may be written to.

    Raises
    ------
    Unsupported
        Torch has no such type.
    """
    import torch

    kind = value.dtype.name
    if kind in _VIEWED:
        whole, seen = _VIEWED[kind]
        target: torch.dtype = getattr(torch, seen)
        return torch.from_numpy(np.array(value).view(whole)).view(target)
    if kind in _PACKED:
        value = value.astype(_PACKED[kind])
    if value.dtype.kind not in "fiub" or not hasattr(torch, kind if kind not in _PACKED else "int8"):
        raise Unsupported(f"the constant {name!r} is of type {kind}, which has no gradients here")
    own = value if value.flags.writeable and value.flags.c_contiguous else np.array(value, order="C")
    return torch.from_numpy(own.astype(own.dtype.newbyteorder("="), copy=False))


def widened(value: torch.Tensor, working: torch.dtype) -> torch.Tensor:
    """Return real numbers in the working precision, anything else as it is."""
    return value.to(working) if value.is_floating_point() else value
