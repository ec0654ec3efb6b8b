"""From named arrays to what the graph takes: types, fixed batches, and graphs that take single records."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array, Inputs, TensorSpec
from pmcore_onnx.session import Session

_TYPES: Mapping[str, str] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
    **{f"tensor({kind})": kind for kind in ("int8", "int16", "int32", "int64")},
    **{f"tensor({kind})": kind for kind in ("uint8", "uint16", "uint32", "uint64")},
}


@dataclass(frozen=True)
class Feed:
    """The inputs of a graph.

    Parameters
    ----------
    specs : one per input, always with a batch axis in front
    batch : the batch size that the graph insists on, or None
    single : whether the graph takes one record at a time, without a batch axis
    path : the model's file, for messages
    """

    specs: tuple[TensorSpec, ...]
    batch: int | None
    single: bool
    path: Path

    def ask(self, session: Session, outputs: Sequence[str], inputs: Inputs) -> list[Array]:
        """Return the named outputs for all records, each (b, ...)."""
        feeds = self._cast(inputs)
        records = len(next(iter(feeds.values())))
        if self.batch is None and not self.single:
            return session.run(outputs, feeds)
        if records == 0:
            raise InputError(f"{self.path}: was asked about no records; give at least one")
        parts = [session.run(outputs, part) for part in self._parts(feeds, records)]
        if self.single:
            return [np.stack(column) for column in zip(*parts, strict=True)]
        return [np.concatenate(column)[:records] for column in zip(*parts, strict=True)]

    def blank(self) -> dict[str, Array]:
        """Return one record of zeros."""
        return {
            spec.name: np.zeros((1, *(size or 1 for size in spec.record_shape)), dtype=spec.dtype)
            for spec in self.specs
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the report must know about batches."""
        if self.single:
            return ("The model takes no batch: records are sent one by one.",)
        if self.batch is None:
            return ()
        how = "one by one" if self.batch == 1 else f"{self.batch} at a time"
        return (f"The model has a fixed batch of {self.batch}: records are sent {how}.",)

    def _parts(self, feeds: Mapping[str, Array], records: int) -> Iterator[dict[str, Array]]:
        if self.single:
            for i in range(records):
                yield {name: np.ascontiguousarray(array[i]) for name, array in feeds.items()}
            return
        size = self.batch or 1
        for start in range(0, records, size):
            chosen = np.minimum(np.arange(start, start + size), records - 1)
            yield {name: array[chosen] for name, array in feeds.items()}

    def _cast(self, inputs: Inputs) -> dict[str, Array]:
        if len(self.specs) == 1 and len(inputs) == 1:
            found: Mapping[str, Array] = {self.specs[0].name: next(iter(inputs.values()))}
        else:
            found = inputs
        return {spec.name: self._fitted(spec, found) for spec in self.specs}

    def _fitted(self, spec: TensorSpec, inputs: Inputs) -> Array:
        if spec.name not in inputs:
            own = ", ".join(repr(other.name) for other in self.specs)
            near = difflib.get_close_matches(spec.name, list(inputs), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise InputError(
                f"{self.path}: input {spec.name!r} is not among the arrays given{hint}: "
                f"{', '.join(map(repr, inputs))}; its inputs are {own}"
            )
        return np.ascontiguousarray(self._typed(spec, np.asarray(inputs[spec.name])))

    def _typed(self, spec: TensorSpec, array: Array) -> Array:
        if spec.dtype == "str":
            return array.astype(object)
        wanted = np.dtype(spec.dtype)
        if array.dtype == wanted:
            return array
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{self.path}: input {spec.name!r} takes {spec.dtype} and was given {array.dtype}; "
                "give an array of numbers"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            cast = array.astype(wanted)
        if wanted.kind == "f" and wanted.itemsize >= 4:
            return cast
        kept = np.isfinite(cast) | ~np.isfinite(array) if wanted.kind == "f" else cast == array
        if not np.all(kept):
            raise InputError(
                f"{self.path}: input {spec.name!r} takes {spec.dtype} and was given {array.dtype} numbers "
                "that do not fit; give it the preprocessing that the model was trained with"
            )
        return cast


def read_feed(runtime: Any, outputs: Sequence[str], path: Path) -> Feed:
    """Read the inputs of a session, and what it wants of a batch.

    A graph takes single records if nothing in its shapes is free and its first output does not repeat
    the first dimension of its first input, or if both have but one dimension.
    """
    taken = runtime.get_inputs()
    if not taken:
        raise ModelError(f"{path}: takes no inputs, so it cannot be asked about records; export the trained model")
    shapes = [_shape(value.shape) for value in taken]
    for value in taken:
        if value.type not in _TYPES:
            raise ModelError(
                f"{path}: input {value.name!r} is of type {value.type}, which arrays cannot carry; "
                "export the model with float32 inputs"
            )
    made = {value.name: _shape(value.shape) for value in runtime.get_outputs()}
    shape = next((made[name] for name in outputs if made.get(name)), ())
    single = bool(shapes) and _takes_one(shapes, shape)
    sizes = [s[0] for s in shapes if s and isinstance(s[0], int)]
    batch = None if single or not sizes else int(sizes[0])
    specs = tuple(
        TensorSpec(value.name, ("batch", *shape) if single else shape or ("batch",), _TYPES[value.type])
        for value, shape in zip(taken, shapes, strict=True)
    )
    return Feed(specs, batch, single, path)


def _takes_one(shapes: Sequence[tuple[int | str | None, ...]], output: Sequence[int | str | None]) -> bool:
    sizes = [size for shape in (*shapes, output) for size in shape]
    if not all(isinstance(size, int) for size in sizes) or not shapes[0]:
        return False
    if len(shapes[0]) == 1 and len(output) <= 1:
        return shapes[0][0] != 1
    return bool(output) and output[0] != shapes[0][0]


def _shape(sizes: Sequence[int | str | None]) -> tuple[int | str | None, ...]:
    return tuple(size if size != "" else None for size in sizes)
