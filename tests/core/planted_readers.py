"""A reader that keeps every promise, and for each promise one that breaks it and no other."""

from __future__ import annotations

import io
import json
import os
import signal
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from pmcore.errors import AuditError, InputError
from pmcore.interfaces import Array, Inputs, Reader, Table


class GoodReader(Reader):
    """Arrays in an archive, as numpy writes it, read whole."""

    suffixes: ClassVar[tuple[str, ...]] = (".records",)

    def read(self, path: Path, x_keys: Sequence[str], y_key: str) -> Table:
        try:
            content = path.read_bytes()
        except OSError:
            return self.when_missing(path)
        arrays = self.parsed(path, content)
        if y_key not in arrays:
            return self.when_label_lacks(path, y_key)
        keys = tuple(x_keys) or self.default_keys(arrays, y_key)
        for key in keys:
            if key not in arrays:
                return self.when_input_lacks(path, key)
        table = Table({key: arrays[key] for key in keys}, arrays[y_key], (path,))
        return self.checked(path, table)

    def parsed(self, path: Path, content: bytes) -> dict[str, Array]:
        if not content:
            return self.when_empty(path)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return {name.removesuffix(".npy"): self.array(archive.read(name)) for name in archive.namelist()}
        except (zipfile.BadZipFile, ValueError, EOFError, OSError):
            return self.when_damaged(path, content)

    def array(self, content: bytes) -> Array:
        array: Array = np.load(io.BytesIO(content), allow_pickle=False)
        return array

    def default_keys(self, arrays: Mapping[str, Array], y_key: str) -> tuple[str, ...]:
        return ("x",) if "x" in arrays else tuple(key for key in arrays if key != y_key)

    def checked(self, path: Path, table: Table) -> Table:
        self.check_text(path, table)
        self.check_lengths(path, table)
        return table

    def check_text(self, path: Path, table: Table) -> None:
        if any(array.dtype.kind not in "biuf" for array in table.inputs.values()):
            raise InputError(f"{path}: holds text; encode it as numbers")

    def check_lengths(self, path: Path, table: Table) -> None:
        if any(len(array) != len(table.labels) for array in table.inputs.values()):
            raise InputError(f"{path}: records and labels are of different number; give one label each")

    def when_missing(self, path: Path) -> Table:
        raise InputError(f"{path}: no such file; check the path")

    def when_label_lacks(self, path: Path, key: str) -> Table:
        raise InputError(f"{path}: has no label {key!r}; name another")

    def when_input_lacks(self, path: Path, key: str) -> Table:
        raise InputError(f"{path}: has no input {key!r}; name another")

    def when_empty(self, path: Path) -> dict[str, Array]:
        raise InputError(f"{path}: is empty; write it again")

    def when_damaged(self, path: Path, content: bytes) -> dict[str, Array]:
        raise InputError(f"{path}: is damaged; write it again")

    @classmethod
    def write(cls, path: Path, inputs: Inputs, labels: Array) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for key, array in {**inputs, "y": labels}.items():
                stream = io.BytesIO()
                np.save(stream, array, allow_pickle=False)
                archive.writestr(f"{key}.npy", stream.getvalue())


class WritesNothing(GoodReader):
    """A reader that cannot write the records that it is checked on."""

    write = Reader.write


class WritesOneInput(GoodReader):
    """A reader of a format with a single input of two axes."""

    @classmethod
    def write(cls, path: Path, inputs: Inputs, labels: Array) -> None:
        if list(inputs) != ["x"] or inputs["x"].ndim != 2 or len(labels) != len(inputs["x"]):
            raise AuditError("the format holds one input; write another")
        super().write(path, inputs, labels)


class _Undocumented(GoodReader): ...


class _UpperSuffix(GoodReader):
    """A planted fault: the suffix is in upper case, so that no file is told by it."""

    suffixes: ClassVar[tuple[str, ...]] = (".RECORDS",)


class _TurnsAround(GoodReader):
    """A planted fault: the columns of a table of two axes are turned around."""

    def checked(self, path: Path, table: Table) -> Table:
        inputs = {
            key: array[:, ::-1] if array.shape[1:] == (5,) and np.isfinite(array).all() and key == "x" else array
            for key, array in super().checked(path, table).inputs.items()
        }
        return replace(table, inputs=inputs)


class _Narrows(GoodReader):
    """A planted fault: float64 is rounded to float32."""

    def array(self, content: bytes) -> Array:
        array = super().array(content)
        return array.astype(np.float32) if array.dtype == np.float64 else array


class _Flattens(GoodReader):
    """A planted fault: pictures become rows."""

    def array(self, content: bytes) -> Array:
        array = super().array(content)
        return array.reshape(len(array), -1) if array.ndim > 2 else array


class _FloatLabels(GoodReader):
    """A planted fault: labels become floating point."""

    def checked(self, path: Path, table: Table) -> Table:
        return replace(super().checked(path, table), labels=table.labels.astype(np.float64))


class _Squeezes(GoodReader):
    """A planted fault: the axis of a single record is dropped."""

    def array(self, content: bytes) -> Array:
        return np.squeeze(super().array(content))

    def check_lengths(self, path: Path, table: Table) -> None:
        if table.labels.ndim:
            super().check_lengths(path, table)


class _GivesMore(GoodReader):
    """A planted fault: inputs that were not asked for are read, too."""

    def read(self, path: Path, x_keys: Sequence[str], y_key: str) -> Table:
        table = super().read(path, x_keys, y_key)
        return super().read(path, (), y_key) if len(x_keys) > 1 else table


class _TakesAll(GoodReader):
    """A planted fault: without keys all inputs are read, "x" or not."""

    def default_keys(self, arrays: Mapping[str, Array], y_key: str) -> tuple[str, ...]:
        return tuple(key for key in arrays if key != y_key)


class _FillsIn(GoodReader):
    """A planted fault: missing values become noughts."""

    def array(self, content: bytes) -> Array:
        array = super().array(content)
        return np.nan_to_num(array) if array.dtype.kind == "f" else array


class _Shuffles(GoodReader):
    """A planted fault: a file that is read again comes in another order."""

    def __init__(self) -> None:
        self.seen: set[Path] = set()

    def checked(self, path: Path, table: Table) -> Table:
        again = path in self.seen
        self.seen.add(path)
        inputs = {key: array[::-1] if again else array for key, array in super().checked(path, table).inputs.items()}
        return replace(table, inputs=inputs)


class _ReusesMemory(GoodReader):
    """A planted fault: what stands under one key is read into the same memory, whatever the file."""

    def __init__(self) -> None:
        self.memory: dict[str, Array] = {}

    def parsed(self, path: Path, content: bytes) -> dict[str, Array]:
        arrays = super().parsed(path, content)
        for key, array in arrays.items():
            kept = self.memory.setdefault(key, array)
            if (kept.shape, kept.dtype) == (array.shape, array.dtype):
                kept[...] = array
                arrays[key] = kept
        return arrays


class _ForgetsFiles(GoodReader):
    """A planted fault: the file is not listed."""

    def checked(self, path: Path, table: Table) -> Table:
        return replace(super().checked(path, table), files=())


class _LeavesAnIndex(GoodReader):
    """A planted fault: an index is left beside the file."""

    def checked(self, path: Path, table: Table) -> Table:
        path.with_suffix(".index").write_bytes(b"")
        return super().checked(path, table)


class _SaysNothingOfLabels(GoodReader):
    """A planted fault: the message on a missing label does not name it."""

    def when_label_lacks(self, path: Path, key: str) -> Table:
        raise InputError(f"{path}: something is missing")


class _StumblesOverMissingInput(GoodReader):
    """A planted fault: an input that lacks is an error of another kind."""

    def when_input_lacks(self, path: Path, key: str) -> Table:
        raise KeyError(key)


class _StumblesOverMissingFile(GoodReader):
    """A planted fault: a missing file is an error of another kind."""

    def when_missing(self, path: Path) -> Table:
        if path.name.startswith("missing"):
            raise FileNotFoundError(path)
        return super().when_missing(path)


class _TakesUnequalLengths(GoodReader):
    """A planted fault: records without a label are read."""

    def check_lengths(self, path: Path, table: Table) -> None:
        return


class _TakesText(GoodReader):
    """A planted fault: text is read as it is."""

    def check_text(self, path: Path, table: Table) -> None:
        return


class _Chatters(GoodReader):
    """A planted fault: what was read is printed."""

    def checked(self, path: Path, table: Table) -> Table:
        print(json.dumps(sorted(table.inputs)))
        return super().checked(path, table)


class _PadsTruncated(GoodReader):
    """A planted fault: what a file lacks is filled with noughts."""

    def when_damaged(self, path: Path, content: bytes) -> dict[str, Array]:
        if content[:2] == b"PK" and not zipfile.is_zipfile(path):
            return {"x": np.zeros((9, 5), np.float32), "y": np.zeros(9, np.int64)}
        return super().when_damaged(path, content)


class _CrashesOnNoise(GoodReader):
    """A planted fault: noise ends the process."""

    def when_damaged(self, path: Path, content: bytes) -> dict[str, Array]:
        if len(content) == 4096:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().when_damaged(path, content)


class _TakesEmpty(GoodReader):
    """A planted fault: an empty file is an error of another kind."""

    def when_empty(self, path: Path) -> dict[str, Array]:
        raise IndexError("index out of range")


class _Unpickles(GoodReader):
    """A planted fault: arrays of objects are unpickled."""

    def array(self, content: bytes) -> Array:
        array: Array = np.load(io.BytesIO(content), allow_pickle=True)
        return array


PLANTED: dict[str, type[Reader]] = {
    "check_docstring": _Undocumented,
    "check_suffixes": _UpperSuffix,
    "check_values": _TurnsAround,
    "check_types": _Narrows,
    "check_shapes": _Flattens,
    "check_labels": _FloatLabels,
    "check_one_record": _Squeezes,
    "check_several_inputs": _GivesMore,
    "check_default_inputs": _TakesAll,
    "check_nan_is_kept": _FillsIn,
    "check_determinism": _Shuffles,
    "check_arrays_stay": _ReusesMemory,
    "check_files_listed": _ForgetsFiles,
    "check_source_unchanged": _LeavesAnIndex,
    "check_missing_label": _SaysNothingOfLabels,
    "check_missing_input": _StumblesOverMissingInput,
    "check_missing_file": _StumblesOverMissingFile,
    "check_unequal_lengths": _TakesUnequalLengths,
    "check_text": _TakesText,
    "check_no_effects": _Chatters,
    "check_truncated_files": _PadsTruncated,
    "check_noise": _CrashesOnNoise,
    "check_empty_file": _TakesEmpty,
    "check_pickles": _Unpickles,
}
"""For each check the reader that fails it alone; those on imports are modules of their own, see `IMPORTS`."""

IMPORTS: dict[str, str] = {
    "check_import": "import random\nrandom.seed()\n",
    "check_import_without_framework": "import mxnet\n",
}
"""For each check of a module's import what the module does at import."""
