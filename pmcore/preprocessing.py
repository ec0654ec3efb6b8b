"""What is done to a record on its way to a model input: layout, scale, mean, deviation, flatten, type."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pmcore.errors import InputError
from pmcore.outputs import Array
from pmcore.quoting import quoted

LARGEST = 2.0**126
"""Scales, means and deviations are at most this, and scales and deviations at least its inverse: normal in float32."""


class Layout(StrEnum):
    """Where the model wants the channels of an image."""

    AS_IS = "as-is"
    NCHW = "nchw"
    NHWC = "nhwc"


class PreprocessingSettings(BaseModel):
    """Preprocessing as somebody states it; what is left out is looked for elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scale: float | None = Field(default=None, description="what every value is multiplied by, such as 1/255")
    mean: tuple[float, ...] | None = Field(
        default=None, description="subtracted after scaling; one, or one per channel"
    )
    std: tuple[float, ...] | None = Field(default=None, description="divided by at last; one, or one per channel")
    layout: Layout | None = Field(default=None, description="what the model wants: as-is, nchw or nhwc")
    dtype: str | None = Field(default=None, description="type of the model's input, where the model does not tell")
    flatten: bool | None = Field(default=None, description="whether each record becomes one row of numbers")

    @field_validator("scale", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        return _number(value) if isinstance(value, str) else value

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(_number(part) for part in value.split(","))
        return (value,) if isinstance(value, int | float) else value

    @field_validator("scale", "std")
    @classmethod
    def _not_zero(cls, value: Any) -> Any:
        if value == 0 or (isinstance(value, tuple) and (0 in value or not value)):
            raise ValueError(f"{quoted(value)} - give numbers other than 0")
        if any(abs(number) < 1 / LARGEST for number in _each(value)):
            raise ValueError(f"{quoted(value)} - too close to 0 to divide by, give a larger number")
        return value

    @field_validator("scale", "mean", "std")
    @classmethod
    def _within_float32(cls, value: Any) -> Any:
        if any(abs(number) > LARGEST for number in _each(value)):
            raise ValueError(f"{quoted(value)} - too large for 32-bit numbers, give a smaller one")
        return value

    @field_validator("layout", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("dtype")
    @classmethod
    def _number_type(cls, value: str | None) -> str | None:
        try:
            known = value is None or bool(_TYPE_NAME.fullmatch(value) and np.dtype(value).kind in "buif")
        except TypeError:
            known = False
        if not known:
            raise ValueError(f"{quoted(value)} - give a number type such as float32, float16, int64 or uint8")
        return value

    @classmethod
    def parse(cls, settings: object, where: str) -> Self:
        """Return settings from a mapping with these keys, read from `where`.

        Raises
        ------
        InputError
            A key is unknown or a value does not fit; one line that names both.
        """
        if not isinstance(settings, Mapping):
            raise InputError(f"{where}: give keys and values: {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise InputError(
                    f"{where}: unknown key {quoted(field)} - known are {', '.join(cls.model_fields)}"
                ) from None
            raise InputError(f"{where}: {field}: {first['msg'].removeprefix('Value error, ')}") from None

    @property
    def states_values(self) -> bool:
        """Return whether anything is said about the values: scale, mean or deviation."""
        return self.scale is not None or self.mean is not None or self.std is not None


@dataclass(frozen=True)
class Preprocessing:
    """The steps for one input, in this order, none of them by default.

    Parameters
    ----------
    name : the input of the model, for messages
    axes : order of the axes of a batch after which the layout is the model's, or None
    shape : shape of a record with a channel axis put in or taken out, or None
    layout : words for those two steps
    scale : multiplied, or None
    mean, std : then subtracted and divided by; one number, or one per channel; () for none
    channel_axis : axis of a batch that mean and std belong to
    flatten : then make each record one row
    dtype : at last cast to this type, refusing what would change values; None leaves the type
    source : where this was found, in words
    """

    name: str = "x"
    axes: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    layout: str = ""
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channel_axis: int = -1
    flatten: bool = False
    dtype: str | None = None
    casts: bool = False
    source: str = "nothing to do"

    def steps(self) -> list[str]:
        """Return the steps in words: "/255", "mean .49 .48 .45", "NHWC to NCHW", "flatten", "float32"."""
        steps = [self.layout] if self.layout else []
        if self._scales:
            divisor = _divisor(self.scale)
            steps.append(f"/{divisor}" if divisor else f"x{self.scale:g}")
        steps += [f"mean {_words(self.mean)}"] if self.mean else []
        steps += [f"std {_words(self.std)}"] if self.std else []
        steps += ["flatten"] if self.flatten else []
        return steps + ([str(self.dtype)] if self.casts else [])

    def apply(self, array: Array) -> Array:
        """Return b records as the model wants them; the same array where nothing is to be done.

        Parameters
        ----------
        array : (b, ...) as in the file

        Raises
        ------
        InputError
            A value has no equal in the type that the model takes.
        """
        if self.axes is not None:
            array = array.transpose(self.axes)
        if self.shape is not None:
            array = array.reshape(len(array), *self.shape)
        if self._scales or self.mean or self.std:
            try:
                with np.errstate(over="raise", under="ignore", divide="raise", invalid="ignore"):
                    array = self._normalised(array)
            except FloatingPointError:
                raise self._refusal(array, np.dtype(self.dtype or np.float32), "a value is too large") from None
        if self.flatten:
            array = array.reshape(len(array), -1)
        return array if self.dtype is None else self._cast(array, np.dtype(self.dtype))

    @property
    def _scales(self) -> bool:
        return self.scale is not None and self.scale != 1

    def _normalised(self, array: Array) -> Array:
        wide = array.dtype.itemsize > {"f": 4, "i": 2, "u": 2, "b": 1}[array.dtype.kind]
        result: NDArray[np.floating[Any]] = array.astype(np.float64 if wide else np.float32, order="C")
        if self._scales:
            assert self.scale is not None
            divisor = _divisor(self.scale)
            if divisor:
                result /= result.dtype.type(divisor)
            else:
                result *= result.dtype.type(self.scale)
        if self.mean:
            result -= self._along_channels(self.mean, result)
        if self.std:
            result /= self._along_channels(self.std, result)
        return result

    def _along_channels(self, values: tuple[float, ...], array: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        shape = [1] * array.ndim
        shape[self.channel_axis] = len(values)
        return np.array(values, dtype=array.dtype).reshape(shape)

    def _cast(self, array: Array, dtype: np.dtype[Any]) -> Array:
        if array.dtype == dtype:
            return array
        try:
            with np.errstate(over="raise", invalid="raise"):
                result: Array = array.astype(dtype, order="C")
        except FloatingPointError:
            raise self._refusal(array, dtype, "a value is too large") from None
        exact = dtype.kind == "f" or np.can_cast(array.dtype, dtype, "safe")
        if not exact and not (result == array).all():
            value = array[result != array].reshape(-1)[0]
            raise self._refusal(array, dtype, f"{value} would become {dtype.type(value)}")
        return result

    def _refusal(self, array: Array, dtype: np.dtype[Any], why: str) -> InputError:
        scaled = " leave out scale, mean and std, or" if self._scales or self.mean or self.std else ""
        return InputError(f"input {self.name} takes {dtype}, not {array.dtype}: {why} -{scaled} give records that fit")


_TYPE_NAME = re.compile(r"[<>=|]?[a-z]+[0-9]*", re.IGNORECASE | re.ASCII)


def _each(value: float | tuple[float, ...] | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _number(text: str) -> float:
    """Return a number written as "0.0039", "1/255" or "1e-3"."""
    try:
        if "/" in text:
            above, below = text.split("/")
            value = float(above) / float(below)
        else:
            value = float(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{quoted(text.strip())} - give a number such as 0.5 or 1/255") from None
    if not math.isfinite(value):
        raise ValueError(f"{quoted(text.strip())} - give a finite number")
    return value


def _divisor(scale: float | None) -> int | None:
    """Return m if the scale is 1/m for a whole m > 1: dividing rounds as training code does."""
    if scale is None or not 1 / LARGEST <= scale <= 0.5:
        return None
    fraction = Fraction(1 / scale).limit_denominator(1)
    return int(fraction) if math.isclose(1 / int(fraction), scale, rel_tol=1e-9) else None


def _words(values: tuple[float, ...]) -> str:
    return " ".join(_word(value) for value in values)


def _word(value: float) -> str:
    """Return at least two decimals, at most four digits, without a leading zero: .49, -.50, 123.70."""
    text = f"{value:.4g}"
    if "e" in text:
        return text
    whole, _, decimals = text.partition(".")
    short = whole.replace("0", "", 1) if whole in ("0", "-0") else whole
    return f"{short}.{decimals:0<2}"
