"""What every attack said about every record: one row per audited record, as CSV and as npz."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from pmcore.outputs import Array, Floats

_ROWS_PER_CHUNK = 16_384
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, eq=False)
class RecordScores:
    """The attacks' answers about n audited records.

    Parameters
    ----------
    ids : (n,) integers, the position of the record in the file of its role
    is_member : (n,) bool
    labels : (n,), or (n, k) for a multi-label task
    scores : attack name -> (n,); higher means more likely a member
    p_values : attack name -> (n,), for the attacks that have them
    beside : other columns by name, (n,)
    """

    ids: NDArray[np.int64]
    is_member: NDArray[np.bool_]
    labels: Array
    scores: Mapping[str, Floats]
    p_values: Mapping[str, Floats] = field(default_factory=dict)
    beside: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, column in self.columns().items():
            if len(column) != len(self.ids):
                raise ValueError(f"{name}: {len(column)} values for {len(self.ids)} records")

    def columns(self) -> dict[str, Array]:
        """Return the columns by name, in order; `role` is 1 for a member and 0 for a non-member."""
        found: dict[str, Array] = {
            "id": self.ids,
            "role": np.asarray(self.is_member).astype(np.int8),
            "label": np.asarray(self.labels),
        }
        for name, scores in self.scores.items():
            found[f"{name}.score"] = scores
            if name in self.p_values:
                found[f"{name}.p_value"] = self.p_values[name]
        return found | dict(self.beside)

    def write_csv(self, stream: BinaryIO) -> None:
        """Write one line per record: role in words, several labels apart by blanks, floats to the last bit.

        Names that a spreadsheet would take for a formula are disarmed by an apostrophe.
        """
        columns = self.columns()
        stream.write(_header(columns))
        roles = ("nonmember", "member")
        for start in range(0, len(self.ids), _ROWS_PER_CHUNK):
            cells = []
            for name, column in columns.items():
                values = column[start : start + _ROWS_PER_CHUNK]
                cells.append(map(roles.__getitem__, values.tolist()) if name == "role" else _texts(values))
            lines = "\n".join(map(",".join, zip(*cells, strict=True)))
            stream.write(lines.encode() + b"\n")

    def write_npz(self, stream: BinaryIO) -> None:
        """Write the same columns for `numpy.load`; `role` is 1 for a member and 0 for a non-member."""
        write_arrays(stream, self.columns())


def write_arrays(stream: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write arrays as an uncompressed npz whose bytes depend on nothing but the arrays.

    `numpy.savez` would do, but leaves date and origin of the entries to the Python version.

    Raises
    ------
    ValueError
        An array holds objects: nothing is ever pickled.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o600 << 16
            with archive.open(entry, "w", force_zip64=True) as member:
                _write_array(member, np.asarray(array))


def _write_array(member: IO[bytes], array: Array) -> None:
    np.lib.format.write_array(member, array, allow_pickle=False)


def _header(names: Mapping[str, Array]) -> bytes:
    line = io.StringIO()
    safe = [f"'{name}" if name.startswith(_FORMULA_STARTS) else name for name in names]
    csv.writer(line, lineterminator="\n").writerow(safe)
    return line.getvalue().encode("utf-8", "backslashreplace")


def _texts(values: Array) -> Iterable[str]:
    """Return the cells of one column, (n,) or (n, ...).

    `repr` gives the same shortest digits one number at a time, which takes several times as long.
    """
    if values.ndim == 1:
        return to_json(values.tolist(), inf_nan_mode="constants").decode()[1:-1].split(",")
    rows = values.reshape(len(values), -1).tolist()
    return (" ".join(map(repr, row)) for row in rows)
