"""What a reader is checked on: records written in its own format, in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np

from pmcore.errors import AuditError
from pmcore.interfaces import Array, Inputs, Reader, Table
from pmcore.testing.checking import Check, NotApplicable, check_of

Subject: TypeAlias = Reader | type[Reader]
RECORDS = 9


@dataclass
class ReaderCase:
    """A reader, and a folder of its own in which files are written and read."""

    reader: Reader
    folder: Path
    _files: int = 0

    def write(self, inputs: Inputs, labels: Array) -> Path:
        """Write a new file in the reader's format.

        Raises
        ------
        NotApplicable
            The format has no place for such arrays, or the reader cannot write.
        """
        home = self.folder / f"{self._files}"
        self._files += 1
        home.mkdir()
        suffix = self.reader.suffixes[0] if self.reader.suffixes else ""
        path = home / f"records{suffix}"
        try:
            type(self.reader).write(path, inputs, labels)
        except AuditError as error:
            raise NotApplicable(str(error)) from None
        return path

    def read(self, path: Path, x_keys: Sequence[str] = (), y_key: str = "y") -> Table:
        """Read a file."""
        return self.reader.read(path, x_keys, y_key)

    def usual(self) -> Path:
        """Write a file of the usual records: `usual_inputs` under "x", and `usual_labels`."""
        return self.write({"x": usual_inputs()}, usual_labels())


def usual_inputs() -> Array:
    """Return the usual records, (n, 5) float32, none of them a whole number and no two alike."""
    x: Array = (np.random.default_rng(11).normal(size=(RECORDS, 5)) + 0.01).astype(np.float32)
    return x


def usual_labels() -> Array:
    """Return the usual labels, (n,) int64, in no order."""
    return np.array([2, 0, 1, 1, 3, 0, 2, 3, 1], dtype=np.int64)


def instance_of(subject: Subject) -> Reader:
    """Return a reader, made with its default options if its class is given."""
    return subject() if isinstance(subject, type) else subject


def reader_check(function: Callable[[ReaderCase], None]) -> Check[Subject]:
    """Return a check of a reader from a function of a case, which gets a case with a folder of its own."""
    check = check_of(function)

    def run(subject: Subject) -> None:
        with TemporaryDirectory(prefix="pmcore-check-") as folder:
            function(ReaderCase(instance_of(subject), Path(folder)))

    return Check(check.name, check.promise, run)


def files_at(path: Path) -> set[Path]:
    """Return the file, or the files at or below a folder."""
    return {path} if path.is_file() else {file for file in path.rglob("*") if file.is_file()}
