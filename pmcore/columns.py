"""Records from tables of columns, .csv and .parquet: one column is the label, the others are the features."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TextIO

import numpy as np

from pmcore.errors import AuditError, InputError
from pmcore.interfaces import Reader, Table
from pmcore.outputs import Array, Inputs
from pmcore.tables import checked_table, choose_inputs, look

DELIMITERS = ",;\t"
EXACT = 2.0**53
"""Whole numbers up to here are exact in float64."""


class CsvReader(Reader):
    """A text table with a header row, separated by comma, semicolon or tab; UTF-8, with or without BOM."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)

    def read(self, path: Path, x_keys: Sequence[str], y_key: str) -> Table:
        """Read the feature columns as one input "x", (n, d) int64 if all are whole numbers, else float64."""
        look(path)
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                header, delimiter = _header(path, stream)
                columns = _feature_columns(path, x_keys, y_key, header)
                first = next((line for line in stream if line.strip()), "")
                if not first:
                    raise InputError(f"{path}: holds no records below its header row - give a file with some")
            values = _parse(path, header, delimiter)
        except UnicodeDecodeError:
            raise _not_text(path) from None
        except csv.Error as error:
            raise InputError(f"{path}: not a CSV table: {error}") from None
        cells = dict(zip(header, next(csv.reader([first], delimiter=delimiter)), strict=False))
        places = {name: place for place, name in enumerate(header)}
        labels = _narrowed(values[:, places[y_key]], [cells[y_key]])
        x = values[:, [places[name] for name in columns]]
        return checked_table(path, {"x": _narrowed(x, [cells[name] for name in columns])}, labels, y_key, (path,))

    @classmethod
    def write(cls, path: Path, inputs: Inputs, labels: Array) -> None:
        """Write a table with columns x0, x1, ... of the one input, and y."""
        if list(inputs) != ["x"] or inputs["x"].ndim != 2 or labels.ndim != 1 or len(inputs["x"]) != len(labels):
            raise AuditError('a CSV table holds one input "x" (n, d) and labels (n,); write another format')
        x = inputs["x"]
        with path.open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            table.writerow([*(f"x{column}" for column in range(x.shape[1])), "y"])
            for row, label in zip(x.tolist(), labels.tolist(), strict=True):
                table.writerow([*row, label])


class ParquetReader(Reader):
    """An Apache Parquet table; list columns are inputs of their own, single numbers become one input "x"."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)

    def read(self, path: Path, x_keys: Sequence[str], y_key: str) -> Table:
        """Read the named columns; without names "x" if it is there, or else all but the label."""
        head = look(path)
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise InputError(f"{path}: needs pyarrow; try: pip install 'pmcore[parquet]'") from None
        if not head.startswith(b"PAR1"):
            raise InputError(f"{path}: not a Parquet file - name it by what it is")
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                columns = choose_inputs(path, x_keys, y_key, file.schema_arrow.names, "column")
                table = file.read(columns=[*columns, y_key])
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError):
            raise InputError(f"{path}: damaged or cut short - copy or download it again") from None
        arrays = {name: _column(path, name, table.column(name)) for name in (*columns, y_key)}
        labels = arrays.pop(y_key)
        if all(array.ndim == 1 for array in arrays.values()) and len(labels):
            for name, array in arrays.items():
                checked_table(path, {name: array}, labels, y_key, (path,))
            arrays = {"x": np.stack(list(arrays.values()), axis=1)}
        return checked_table(path, arrays, labels, y_key, (path,))

    @classmethod
    def write(cls, path: Path, inputs: Inputs, labels: Array) -> None:
        """Write a table with a column of lists for each input, and y."""
        import pyarrow
        import pyarrow.parquet

        arrays = {**inputs, "y": labels}
        if any(array.ndim == 0 or len(array) != len(labels) for array in arrays.values()):
            raise AuditError("the columns of a Parquet table are of one length; write another format")
        table = pyarrow.table({name: _lists(array) for name, array in arrays.items()})
        pyarrow.parquet.write_table(table, path)


def _lists(array: Array) -> Any:
    """Return an array (n, ...) as a column: of numbers, or of lists of one length."""
    import pyarrow

    column = pyarrow.array(np.ascontiguousarray(array).reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        length = array.shape[axis]
        count = int(np.prod(array.shape[:axis]))
        offsets = pyarrow.array(np.arange(count + 1, dtype=np.int32) * length, pyarrow.int32())
        column = pyarrow.ListArray.from_arrays(offsets, column)
    return column


def _header(path: Path, stream: TextIO) -> tuple[list[str], str]:
    """Return the column names and the delimiter that separates most of them."""
    line = stream.readline()
    delimiter = max(DELIMITERS, key=line.count)
    header = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    if header and all(_is_number(name) for name in header):
        raise InputError(f"{path}: line 1 holds numbers - a header row with the column names must come first")
    seen = set()
    for position, name in enumerate(header, start=1):
        if not name:
            raise InputError(f"{path}: column {position} has no name - name it, or drop it if it numbers the rows")
        if name in seen:
            raise InputError(f"{path}: column {name!r} occurs twice - rename one")
        seen.add(name)
    return header, delimiter


def _feature_columns(path: Path, x_keys: Sequence[str], y_key: str, header: Sequence[str]) -> tuple[str, ...]:
    if not x_keys and y_key in header and len(header) > 1:
        return tuple(name for name in header if name != y_key)
    return choose_inputs(path, x_keys, y_key, header, "column")


def _parse(path: Path, header: Sequence[str], delimiter: str) -> Array:
    """Return all cells, shape (n, columns) float64."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        stream.readline()
        try:
            values = np.loadtxt(stream, dtype=np.float64, delimiter=delimiter, comments=None, quotechar='"', ndmin=2)
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            _complain(path, header, delimiter, str(error))
    if values.shape[1] != len(header):
        _complain(path, header, delimiter, f"{values.shape[1]} columns, the header row has {len(header)}")
    return values


def _complain(path: Path, header: Sequence[str], delimiter: str, otherwise: str) -> NoReturn:
    """Find the first cell that cannot be read, and name it."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, delimiter=delimiter)
        next(rows)
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if not row:
                continue
            if len(row) != len(header):
                raise InputError(f"{where}: {len(row)} columns, the header row has {len(header)} - mend that line")
            for name, cell in zip(header, row, strict=True):
                if not cell.strip():
                    raise InputError(f"{where}: column {name!r} is empty - fill it in or leave the record out")
                if not _is_number(cell):
                    comma = _is_number(cell.replace(",", ".", 1))
                    remedy = "write decimal points, not commas" if comma else "encode text as numbers"
                    raise InputError(f"{where}: column {name!r}: {cell.strip()[:40]!r} - {remedy}")
    raise InputError(f"{path}: {otherwise.splitlines()[0]}")


def _not_text(path: Path) -> InputError:
    """Return the complaint about the first byte that is not UTF-8; a decoder counts from the start of its block."""
    offset = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                where = f"line {number}: byte {offset + error.start} of the file"
                return InputError(f"{path}: {where} is not UTF-8 text - save it as UTF-8 CSV")
            offset += len(line)
    return InputError(f"{path}: is not UTF-8 text - save it as UTF-8 CSV")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _narrowed(values: Array, first_cells: Sequence[str]) -> Array:
    """Return whole numbers as int64 where they are also written as such, anything else as it is."""
    try:
        [int(cell) for cell in first_cells]
    except ValueError:
        return np.ascontiguousarray(values)
    with np.errstate(invalid="ignore"):
        whole = bool((np.abs(values) <= EXACT).all() and (values == np.rint(values)).all())
    return values.astype(np.int64) if whole else np.ascontiguousarray(values)


def _column(path: Path, name: str, column: Any) -> Array:
    """Return a column as an array: (n,) of numbers, or (n, …) of lists of one length."""
    if column.null_count:
        row = next(index for index, value in enumerate(column) if not value.is_valid)
        raise InputError(f"{path}: {name}[{row}] is empty - fill it in or leave the record out")
    flat, shape = column.combine_chunks(), [len(column)]
    while hasattr(flat, "flatten") and hasattr(flat.type, "value_type") and hasattr(flat, "value_lengths"):
        lengths = np.asarray(flat.value_lengths())
        if len(lengths) and (lengths != lengths[0]).any():
            row = int(np.flatnonzero(lengths != lengths[0])[0])
            raise InputError(
                f"{path}: {name}[{row}] has {lengths[row]} values, {name}[0] has {lengths[0]} - pad or cut"
            )
        shape.append(int(lengths[0]) if len(lengths) else 0)
        flat = flat.flatten()
    if flat.null_count:
        raise InputError(f"{path}: {name} has empty values - fill them in")
    array: Array = flat.to_numpy(zero_copy_only=False).reshape(shape)
    return array
