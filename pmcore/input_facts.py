"""What a sample of records tells of a model's inputs: how far they spread, their values, whether they are images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from pmcore.interfaces import Array, Inputs

Layout: TypeAlias = Literal["nhw", "nchw", "nhwc"]

ROWS_AND_COLUMNS: Mapping[Layout, tuple[int, int]] = {"nhw": (1, 2), "nchw": (2, 3), "nhwc": (1, 2)}
"""The axes of a batch along which an image is high and wide."""
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class InputFacts:
    """What some records tell of one input, as the model takes it.

    Parameters
    ----------
    shape : of one record
    deviation : standard deviation of all its values
    low, high : the least and the largest value
    values : the two values that it has, the lower one first; None if it has more or fewer
    layout : where an image has its rows and columns; None if it is none, or that cannot be told
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    deviation: float
    low: float
    high: float
    values: tuple[float, float] | None
    layout: Layout | None


def facts_of(sample: Inputs) -> Mapping[str, InputFacts]:
    """Return what a sample tells of every input.

    Parameters
    ----------
    sample : name -> (b, ...), b at least 1
    """
    return {name: _facts(array) for name, array in sample.items()}


def _facts(array: Array) -> InputFacts:
    """Record by record, so that no second sample has to fit into memory."""
    low, high = float(array.min()), float(array.max())
    mean = float(array.mean(dtype=np.float64))
    squares = sum(float(np.square(record.astype(np.float64) - mean).sum()) for record in array)
    two = low < high and all(bool(((record == low) | (record == high)).all()) for record in array)
    return InputFacts(
        dtype=array.dtype,
        shape=array.shape[1:],
        deviation=math.sqrt(squares / array.size) if low < high else 0.0,
        low=low,
        high=high,
        values=(low, high) if two else None,
        layout=_layout(array.shape),
    )


def _layout(shape: tuple[int, ...]) -> Layout | None:
    """Tell by the axis that is as short as channels are few; three dimensions have none."""
    if len(shape) == 3:
        return "nhw"
    if len(shape) != 4:
        return None
    first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
    if first and last:  # a tiny or narrow image: rows and columns are more often as many as not
        first, last = shape[2] == shape[3], shape[1] == shape[2]
    if first == last:
        return None
    return "nchw" if first else "nhwc"
