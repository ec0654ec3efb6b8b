"""Inputs of examples: random numbers from one generator, and short names for arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from pmcore.interfaces import Array

RANDOM = np.random.default_rng(20_240_611)


def x(*shape: int, low: float | None = None, high: float = 1.0) -> Array:
    """Return random numbers, normal ones or between two bounds."""
    numbers = RANDOM.normal(size=shape) if low is None else RANDOM.uniform(low, high, shape)
    return numbers.astype(np.float32)


def f(*numbers: float) -> Array:
    """Return a vector of real numbers."""
    return np.array(numbers, dtype=np.float32)


def i(*numbers: int) -> Array:
    """Return a vector of whole numbers."""
    return np.array(numbers, dtype=np.int64)


def s(number: float, kind: Any = np.float32) -> Array:
    """Return a scalar."""
    return np.array(number, dtype=kind)
