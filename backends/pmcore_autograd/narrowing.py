"""Weights put back into the type in which a file holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pmcore.errors import ModelError
from pmcore.interfaces import Array
from pmcore.quoting import quoted


def narrowed(value: Array, dtype: str, name: str, where: Path) -> Array:
    """Return an array in a type of real numbers by its name.

    Raises
    ------
    ModelError
        A number is too large for the type, or none.
    """
    if dtype == "bfloat16":
        from ml_dtypes import bfloat16

        found: Array = value.astype(bfloat16)
        finite = bool(np.isfinite(found.astype(np.float32)).all())
    else:
        with np.errstate(over="ignore"):
            found = value.astype(np.dtype(dtype))
        finite = bool(np.isfinite(found).all())
    if not finite and bool(np.isfinite(value).all()):
        raise ModelError(f"{where}: the weight {quoted(name)} has numbers that {dtype} cannot hold; it is not saved")
    return found
