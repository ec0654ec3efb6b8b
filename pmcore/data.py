"""Records and their roles: what is read, kept in the order of the file, and handed out in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore.checksums import files_sha256
from pmcore.errors import InputError
from pmcore.interfaces import Array, Inputs, Reader, Table
from pmcore.mapped import WINDOW, release, take

Digests = NDArray[np.uint64]
"""One 128-bit hash per record, shape (n, 2)."""


Progress = Callable[[str, int, int], None]
"""Called after each batch with what is being done to which role, the records done and the records in all."""


class Role(StrEnum):
    """What records are to the audited model."""

    MEMBERS = "members"
    NONMEMBERS = "nonmembers"
    POPULATION = "population"


def _no_digests() -> Digests:
    return np.empty((0, 2), dtype=np.uint64)


@dataclass(frozen=True, eq=False)
class Records:
    """The n records of one role: all of a file, or some of its rows.

    Parameters
    ----------
    role : what they are to the model
    path : where they come from, as shown to the user
    inputs : name -> array with all records of the file along its first axis; never copied
    labels : (n, ...), of these records alone
    rows : (n,) positions in the file, or None if all records of it are meant
    digests : (n, 2) hashes of these records, or (0, 2) before they are computed
    notes : what a reader of the report must know
    files : the files that were read
    """

    role: Role
    path: str
    inputs: Mapping[str, Array]
    labels: Array
    rows: NDArray[np.int64] | None = None
    digests: Digests = field(default_factory=_no_digests)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Return the position of each record in its file, shape (n,): its identity in every output."""
        return np.arange(len(self), dtype=np.int64) if self.rows is None else self.rows

    @cached_property
    def sha256(self) -> str:
        """Return the SHA-256 of the file, or of the list of name and SHA-256 if there are several."""
        return files_sha256(self.files)

    def select(self, rows: NDArray[np.int64]) -> Records:
        """Return some of these records, by index into these, without touching the inputs."""
        return replace(
            self,
            labels=self.labels[rows],
            rows=np.ascontiguousarray(rows, dtype=np.int64) if self.rows is None else self.rows[rows],
            digests=self.digests[rows] if len(self.digests) else self.digests,
        )

    def batch(self, start: int, stop: int) -> tuple[Inputs, Array]:
        """Return inputs (b, ...) and labels (b, ...) of records start to stop.

        Views where rows follow each other in the file. Pages of mapped files that earlier batches read are
        given back, so that a walk needs memory for one batch and `WINDOW` bytes only.

        Raises
        ------
        InputError
            A value is NaN or infinite.
        """
        self.release_passed(start, stop)
        where = self.where(start, stop)
        inputs = {name: take(array, where) for name, array in self.inputs.items()}
        check_finite(inputs, self, start)
        return inputs, self.labels[start:stop]

    def release(self) -> None:
        """Give the pages of mapped files back to the system; they are read again when needed."""
        for array in (*self.inputs.values(), self.labels):
            release(array)

    def release_passed(self, start: int, stop: int) -> None:
        """Release whenever a walk, at records start to stop, comes past another `WINDOW` bytes of records.

        Each release stops all threads of the process for a moment, too long to do it for every batch.
        """
        width = sum(array.nbytes for array in self.inputs.values()) // len(next(iter(self.inputs.values())))
        if start * width // WINDOW != stop * width // WINDOW:
            self.release()

    def where(self, start: int, stop: int) -> slice | NDArray[np.int64]:
        """Return where in the inputs records start to stop stand: a slice if they follow each other."""
        if self.rows is None:
            return slice(start, min(stop, len(self)))
        rows = self.rows[start:stop]
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
            return slice(int(rows[0]), int(rows[-1]) + 1)
        return rows


def check_finite(inputs: Inputs, records: Records, start: int) -> None:
    """Refuse NaN and infinity in a batch of `records` that begins at record `start`.

    Raises
    ------
    InputError
        Names the file, the input, the first such record and how many the batch has.
    """
    for name, array in inputs.items():
        if array.dtype.kind != "f":
            continue
        with np.errstate(all="ignore"):  # a sum is finite only if every term is; it may also overflow
            if np.isfinite(array.sum(dtype=np.promote_types(array.dtype, np.float32))):
                continue
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        bad = np.flatnonzero(~finite)
        if len(bad):
            values = array[bad[0]].reshape(-1)
            value = values[~np.isfinite(values)][0]
            position = int(bad[0]) + start if records.rows is None else int(records.rows[start + bad[0]])
            raise InputError(
                f"{records.path}: {name}[{position}] holds {value} ({len(bad)} of {len(array)} records read "
                "at once are such) - fill them in or leave them out"
            )


def read_records(
    path: str, role: Role, readers: Mapping[str, Reader], x_keys: Sequence[str] = (), y_key: str = "y"
) -> Records:
    """Read the records of a role with the reader that knows the suffix of the file.

    Parameters
    ----------
    path : as given by the user, and as shown in messages
    readers : readers by name
    x_keys, y_key : names of the inputs and of the labels in the file

    Raises
    ------
    InputError
        No reader knows the suffix, or the reader refuses the file; one line that names it.
    """
    table: Table = reader_for(path, readers).read(Path(path), tuple(x_keys), y_key)
    return Records(role=role, path=path, inputs=table.inputs, labels=table.labels, files=table.files)


def reader_for(path: str, readers: Mapping[str, Reader]) -> Reader:
    """Return the reader for a path: by its suffix, for a folder by the suffixes of what is in it.

    Raises
    ------
    InputError
        Nothing reads this suffix; those that are known are listed.
    """
    place = Path(path)
    folder = place.is_dir()
    suffixes = {entry.suffix.lower() for entry in place.iterdir()} if folder else {place.suffix.lower()}
    for reader in readers.values():
        if suffixes & set(reader.suffixes):
            return reader
    known = ", ".join(sorted({suffix for reader in readers.values() for suffix in reader.suffixes}))
    if folder:
        raise InputError(f"{path}: a folder without data files - known are {known}")
    if not place.suffix and not place.exists():
        raise InputError(f"{path}: no such file or folder - check the path")
    suffix = repr(place.suffix) if place.suffix else "a file without suffix"
    raise InputError(f"{path}: nothing reads {suffix} - known are {known}")
