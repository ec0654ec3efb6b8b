"""From named arrays to what a model takes: types, fixed batches, and models that take single records."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array, Inputs, TensorSpec
from pmcore.quoting import quoted

Shape = tuple[int | str | None, ...]
RESHAPE = "give it records of the shape that the model was trained on"


class Runtime(Protocol):
    """What answers for a model: a session of ONNX Runtime, a compiled model, a module."""

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Return the named outputs for one batch of arrays, which fit the model in type."""
        ...


@runtime_checkable
class Pipeline(Runtime, Protocol):
    """A runtime that has several batches under way at once: what insists on small batches need not wait for each."""

    def run_each(self, outputs: Sequence[str], parts: Iterable[Mapping[str, Array]]) -> list[list[Array]]:
        """Return for each batch the named outputs, in order; batches are drawn as there is room for them."""
        ...


@dataclass(frozen=True)
class Intake:
    """What a model takes: names and types, and the batch that it insists on.

    Parameters
    ----------
    specs : one per input, always with a batch axis in front
    batch : the batch size that the model insists on, or None
    single : whether the model takes one record at a time, without a batch axis
    path : the model's file, for messages
    """

    specs: tuple[TensorSpec, ...]
    batch: int | None
    single: bool
    path: Path

    def ask(self, runtime: Runtime, outputs: Sequence[str], inputs: Inputs) -> list[Array]:
        """Return the named outputs for all records, each (b, ...)."""
        feeds = self.taken(inputs)
        records = len(next(iter(feeds.values())))
        if self.batch is None and not self.single:
            return runtime.run(outputs, feeds)
        if records == 0:
            raise InputError(f"{self.path}: was asked about no records; give at least one")
        batches = self._parts(feeds, records)
        if isinstance(runtime, Pipeline):
            parts = runtime.run_each(outputs, batches)
        else:
            parts = [runtime.run(outputs, batch) for batch in batches]
        if self.single:
            return [np.stack(column) for column in zip(*parts, strict=True)]
        return [np.concatenate(column)[:records] for column in zip(*parts, strict=True)]

    def taken(self, inputs: Inputs) -> dict[str, Array]:
        """Return what the model takes of the records, by input, in the types that it declares; each (b, ...).

        Raises
        ------
        InputError
            An input is missing, or holds what does not fit its type.
        """
        if len(self.specs) == 1 and len(inputs) == 1:
            found: Mapping[str, Array] = {self.specs[0].name: next(iter(inputs.values()))}
        else:
            found = inputs
        return {spec.name: self._fitted(spec, found) for spec in self.specs}

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


def intake_of(inputs: Sequence[TensorSpec], output: Shape, path: Path) -> Intake:
    """Return the intake for inputs as the file declares them, batch axis first if there is one.

    A model takes single records if nothing in its shapes is free and its output does not repeat the first
    dimension of its first input, or if both have but one dimension.

    Parameters
    ----------
    output : shape of the output that holds the predictions; () if it is not known
    """
    shapes = [spec.shape for spec in inputs]
    single = bool(output) and _takes_one(shapes, output)
    sizes = [s[0] for s in shapes if s and isinstance(s[0], int)]
    batch = None if single or not sizes else int(sizes[0])
    specs = tuple(
        TensorSpec(spec.name, ("batch", *spec.shape) if single else spec.shape or ("batch",), spec.dtype)
        for spec in inputs
    )
    return Intake(specs, batch, single, path)


def refuse_misfit(name: str, wanted: Shape, given: Sequence[int], path: Path) -> None:
    """Refuse an array of another shape than an input takes, before the runtime does in words of its own.

    Raises
    ------
    ModelError
        The number of dimensions, or a size that the model insists on, is another.
    """
    if len(given) != len(wanted):
        raise ModelError(
            f"{path}: input {quoted(name)} takes {len(wanted)} dimensions and was given {len(given)}; {RESHAPE}"
        )
    for axis, (size, found) in enumerate(zip(wanted, given, strict=True)):
        if isinstance(size, int) and size != found:
            raise ModelError(
                f"{path}: input {quoted(name)} takes {size} along axis {axis} and was given {found}; {RESHAPE}"
            )


def _takes_one(shapes: Sequence[Shape], output: Shape) -> bool:
    sizes = [size for shape in (*shapes, output) for size in shape]
    if not all(isinstance(size, int) for size in sizes) or not shapes[0]:
        return False
    if len(shapes[0]) == 1 and len(output) <= 1:
        return shapes[0][0] != 1
    return bool(output) and output[0] != shapes[0][0]
