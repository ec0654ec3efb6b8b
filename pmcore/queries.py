"""Transformed queries: the same record sent to the model mirrored, shifted, with noise or with bits flipped."""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pmcore.draws import Keys, chances, gaussians, keys_of
from pmcore.errors import InputError, Misfits
from pmcore.input_facts import ROWS_AND_COLUMNS, InputFacts, facts_of
from pmcore.interfaces import Array, Inputs
from pmcore.options import build, parse_spec
from pmcore.quoting import quoted

__all__ = ["QUERIES", "BitFlip", "Flip", "InputFacts", "Noise", "Plain", "Query", "Shift", "facts_of", "parse_query"]


class Query(ABC):
    """One way to send records: every input that can carry the change is changed, the others stay as they are."""

    def obstacle(self, facts: Mapping[str, InputFacts]) -> str | None:
        """Return why no input can carry the change, in one phrase, or None if one can."""
        reasons = [(name, self.obstacle_of(fact)) for name, fact in facts.items()]
        if not reasons or any(reason is None for _, reason in reasons):
            return None
        name, reason = reasons[0]
        return f"input {name!r} {reason}"

    def apply(self, inputs: Inputs, digests: Array, facts: Mapping[str, InputFacts]) -> Inputs:
        """Return changed inputs of the same types and shapes; what is given stays as it is.

        Parameters
        ----------
        inputs : name -> (b, ...), as the model takes them
        digests : (b, 2) uint64, on which alone it depends what a record draws
        facts : of every input
        """
        changed = dict(inputs)
        for place, name in enumerate(sorted(inputs)):
            if self.obstacle_of(facts[name]) is None:
                changed[name] = self.changed(inputs[name], digests, place, facts[name])
        return changed

    @abstractmethod
    def obstacle_of(self, fact: InputFacts) -> str | None:
        """Return what keeps one input from carrying the change, to follow its name, or None."""

    @abstractmethod
    def changed(self, array: Array, digests: Keys, place: int, fact: InputFacts) -> Array:
        """Return one input changed, (b, ...); `place` tells inputs apart that draw random numbers."""


@dataclass(frozen=True)
class Plain(Query):
    """The record as it is."""

    def obstacle_of(self, fact: InputFacts) -> str | None:
        return None

    def changed(self, array: Array, digests: Keys, place: int, fact: InputFacts) -> Array:
        return array


@dataclass(frozen=True)
class Flip(Query):
    """The mirror image.

    Parameters
    ----------
    axis : "width" exchanges left and right, "height" top and bottom
    """

    axis: Literal["width", "height"] = "width"

    def obstacle_of(self, fact: InputFacts) -> str | None:
        return _no_image(fact)

    def changed(self, array: Array, digests: Keys, place: int, fact: InputFacts) -> Array:
        assert fact.layout is not None
        axis = ROWS_AND_COLUMNS[fact.layout][self.axis == "width"]
        return np.ascontiguousarray(np.flip(array, axis))  # frameworks refuse an array that runs backwards


@dataclass(frozen=True)
class Shift(Query):
    """The image moved by whole pixels; what it uncovers repeats its edge.

    Parameters
    ----------
    rows, columns : how far down and to the right
    """

    rows: int = 0
    columns: int = 0

    def __post_init__(self) -> None:
        if not self.rows and not self.columns:
            raise InputError("shift: moves nothing - give rows or columns, or use plain")

    def obstacle_of(self, fact: InputFacts) -> str | None:
        if fact.layout is None:
            return _no_image(fact)
        height, width = (fact.shape[axis - 1] for axis in ROWS_AND_COLUMNS[fact.layout])
        if abs(self.rows) >= height or abs(self.columns) >= width:
            return f"has {height} rows and {width} columns, and would be shifted out of sight"
        return None

    def changed(self, array: Array, digests: Keys, place: int, fact: InputFacts) -> Array:
        assert fact.layout is not None
        for axis, far in zip(ROWS_AND_COLUMNS[fact.layout], (self.rows, self.columns), strict=True):
            length = array.shape[axis]
            array = np.take(array, np.clip(np.arange(length) - far, 0, length - 1), axis=axis)
        return array


@dataclass(frozen=True)
class Noise(Query):
    """The record with Gaussian noise; whole numbers of images are rounded and kept within what they were seen to be.

    Parameters
    ----------
    scale : standard deviation of the noise, in units of that of the input
    draw : which draw it is
    """

    scale: float
    draw: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0.0):
            raise InputError(f"noise: scale: {self.scale:g} - give a number above 0")
        _check_draw("noise", self.draw)

    def obstacle_of(self, fact: InputFacts) -> str | None:
        if fact.deviation == 0.0:
            return "is the same number everywhere, and noise is measured by how far it spreads"
        if fact.dtype.kind == "b" or (fact.dtype.kind != "f" and fact.layout is None):
            return "takes whole numbers, which carry no noise"
        return None

    def changed(self, array: Array, digests: Keys, place: int, fact: InputFacts) -> Array:
        drawn = gaussians(_keys(digests, self.draw, place), math.prod(array.shape[1:])).reshape(array.shape)
        wide = np.dtype(np.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else np.float64)
        noisy: Array = array + (self.scale * fact.deviation * drawn).astype(wide, copy=False)
        if array.dtype.kind != "f":
            noisy = np.clip(np.rint(noisy), fact.low, fact.high)
        return noisy.astype(array.dtype, copy=False)


@dataclass(frozen=True)
class BitFlip(Query):
    """The record with some of its values exchanged, where an input has two.

    Parameters
    ----------
    share : the chance of each value to be exchanged
    draw : which draw it is
    """

    share: float
    draw: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise InputError(f"bitflip: share: {self.share:g} - give a chance between 0 and 1")
        _check_draw("bitflip", self.draw)

    def obstacle_of(self, fact: InputFacts) -> str | None:
        return "has not two values, and bits are flipped of such inputs alone" if fact.values is None else None

    def changed(self, array: Array, digests: Keys, place: int, fact: InputFacts) -> Array:
        assert fact.values is not None
        low, high = (array.dtype.type(value) for value in fact.values)
        flipped = chances(_keys(digests, self.draw, place), math.prod(array.shape[1:]), self.share)
        flipped = flipped.reshape(array.shape)
        # A third value, of a record that was not in the sample, stays.
        return np.where(flipped & (array == low), high, np.where(flipped & (array == high), low, array))


QUERIES: Mapping[str, type[Query]] = {
    "plain": Plain,
    "flip": Flip,
    "shift": Shift,
    "noise": Noise,
    "bitflip": BitFlip,
}


def parse_query(text: str) -> Query:
    """Return the query that ``name:option=value,option=value`` describes.

    Raises
    ------
    InputError
        There is no such query, or its options do not fit; one line that quotes the text.
    """
    name, options = parse_spec(text)
    if name not in QUERIES:
        close = difflib.get_close_matches(name, QUERIES, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"{quoted(text)}: there is no such query - {guess}known are {', '.join(QUERIES)}")
    try:
        return build(QUERIES[name], options, quoted(text))
    except Misfits as error:
        raise InputError("; ".join(error.complaints)) from error


def _no_image(fact: InputFacts) -> str | None:
    if fact.layout is not None:
        return None
    if len(fact.shape) == 3:
        return f"has shape {fact.shape}, in which the axis of the channels cannot be told"
    return f"has shape {fact.shape}, and is no image"


def _check_draw(query: str, draw: int) -> None:
    if not 0 <= draw < 2**32:
        raise InputError(f"{query}: draw: {draw} - give 0 or more, below 2**32")


def _keys(digests: NDArray[np.uint64], draw: int, place: int) -> Keys:
    """Return what one input of each record draws from, (b,)."""
    return keys_of(digests, draw + (place << 32))
