"""Checks of what a reader reads: values, types, shapes, order and keys as they stand in the file."""

from __future__ import annotations

import numpy as np

from pmcore.interfaces import Array
from pmcore.testing.checking import NotApplicable
from pmcore.testing.damage import contents
from pmcore.testing.reader_case import RECORDS, ReaderCase, files_at, usual_inputs, usual_labels
from pmcore.testing.refusals import require, require_documented

TYPES = ("float32", "float64", "int8", "uint8", "int32", "int64")


def check_values(case: ReaderCase) -> None:
    """Read values exactly as written, in the order of the records."""
    found = case.read(case.usual()).inputs
    require(list(found) == ["x"], f"a file of input 'x' gives inputs {list(found)}")
    _require_equal(found["x"], usual_inputs(), "inputs")


def check_types(case: ReaderCase) -> None:
    """Keep the kind of every type of number, and lose no digits."""
    tried = 0
    for name in TYPES:
        dtype = np.dtype(name)
        x = np.arange(RECORDS * 3).reshape(RECORDS, 3).astype(dtype)
        x = x + np.pi if dtype.kind == "f" else np.where(x == 4, np.iinfo(dtype).max if dtype.itemsize < 8 else x, x)
        x = x.astype(dtype)
        try:
            path = case.write({"x": x}, usual_labels())
        except NotApplicable:
            continue
        tried += 1
        found = case.read(path).inputs["x"]
        same_kind = found.dtype.kind == dtype.kind or {found.dtype.kind, dtype.kind} == {"i", "u"}
        require(same_kind, f"{name} is read as {found.dtype}")
        _require_equal(found, x, f"inputs of {name}")
    if not tried:
        raise NotApplicable("the reader cannot write records of any type")


def check_shapes(case: ReaderCase) -> None:
    """Keep the shape of records of several axes, such as pictures."""
    x = np.arange(RECORDS * 24, dtype=np.float32).reshape(RECORDS, 2, 3, 4) / 7
    _require_equal(case.read(case.write({"x": x}, usual_labels())).inputs["x"], x, "records of shape (2, 3, 4)")


def check_labels(case: ReaderCase) -> None:
    """Read labels exactly, as whole numbers, in the order of the records."""
    labels = np.array([2, 0, 1, 1, 2**31 - 1, 0, 2, 2**24 + 1, 1], dtype=np.int64)
    found = case.read(case.write({"x": usual_inputs()}, labels)).labels
    require(found.dtype.kind in "iu", f"labels of int64 are read as {found.dtype}")
    _require_equal(found, labels, "labels")


def check_one_record(case: ReaderCase) -> None:
    """Read one record from a file of one, with its axis kept."""
    found = case.read(case.write({"x": usual_inputs()[:1]}, usual_labels()[:1]))
    shapes = found.inputs["x"].shape, found.labels.shape
    require(shapes == ((1, 5), (1,)), f"one record of 5 features gives shapes {shapes[0]} and {shapes[1]}")


def check_several_inputs(case: ReaderCase) -> None:
    """Read inputs that are asked for by key under these keys, all of them and nothing else."""
    a, b = usual_inputs(), usual_inputs()[::-1].copy()
    path = case.write({"a": a, "b": b, "c": a + 1}, usual_labels())
    found = case.read(path, ("b", "a")).inputs
    require(set(found) == {"a", "b"}, f"asked for inputs 'b' and 'a', got {list(found)}")
    _require_equal(found["a"], a, "input 'a'")
    _require_equal(found["b"], b, "input 'b'")


def check_default_inputs(case: ReaderCase) -> None:
    """Read the input "x" without keys if the file has it, or else all that is not the label."""
    a, b = usual_inputs(), usual_inputs()[::-1].copy()
    with_x = case.read(case.write({"more": b, "x": a}, usual_labels())).inputs
    require(list(with_x) == ["x"], f"a file of 'more', 'x' and 'y' gives inputs {list(with_x)}")
    without = case.read(case.write({"a": a, "b": b}, usual_labels())).inputs
    require(set(without) == {"a", "b"}, f"a file of 'a', 'b' and 'y' gives inputs {list(without)}")


def check_nan_is_kept(case: ReaderCase) -> None:
    """Read NaN and infinity as they are: to refuse them is the audit's part."""
    x = usual_inputs()
    x[2, 1], x[3, 0], x[4, 4] = np.nan, np.inf, -np.inf
    _require_equal(case.read(case.write({"x": x}, usual_labels())).inputs["x"], x, "inputs with NaN and infinity")


def check_determinism(case: ReaderCase) -> None:
    """Give the same records when a file is read twice."""
    path = case.usual()
    first, second = case.read(path), case.read(path)
    same = first.files == second.files and np.array_equal(first.labels, second.labels)
    same = same and all(np.array_equal(first.inputs[name], second.inputs[name]) for name in first.inputs)
    require(same, "read twice, the same file gives different records")


def check_arrays_stay(case: ReaderCase) -> None:
    """Leave records as they are while another file is read."""
    first = case.read(case.usual())
    before = {name: np.array(array) for name, array in {**first.inputs, "y": first.labels}.items()}
    case.read(case.write({"x": usual_inputs() + 1}, usual_labels()[::-1].copy()))
    after = {**first.inputs, "y": first.labels}
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    require(not changed, f"reading another file changes {', '.join(changed)} of the one read before")


def check_files_listed(case: ReaderCase) -> None:
    """List every file that was read, once: the audit's fingerprint is of these."""
    path = case.usual()
    listed = [file.resolve() for file in case.read(path).files]
    expected = {file.resolve() for file in files_at(path)}
    require(
        sorted(listed) == sorted(expected),
        f"the table lists {[file.name for file in listed]}, the records are in {sorted(f.name for f in expected)}",
    )


def check_source_unchanged(case: ReaderCase) -> None:
    """Change no file and leave none behind."""
    path = case.usual()
    before = contents(case.folder)
    case.read(path)
    after = contents(case.folder)
    changed = sorted(file for file in {*before, *after} if before.get(file) != after.get(file))
    require(not changed, f"reading changed {', '.join(changed)}")


def check_docstring(case: ReaderCase) -> None:
    """Open the docstring of the class with one whole sentence."""
    require_documented(type(case.reader))


def check_suffixes(case: ReaderCase) -> None:
    """Have suffixes, in lower case and with their dot: files are told by them."""
    suffixes = case.reader.suffixes
    require(bool(suffixes), f"{type(case.reader).__name__} has no suffixes, so that no file is ever given to it")
    wrong = [suffix for suffix in suffixes if not suffix.startswith(".") or suffix != suffix.lower() or suffix == "."]
    require(not wrong, f"suffixes {wrong} are not like '.npz'")


def _require_equal(found: Array, expected: Array, what: str) -> None:
    require(
        found.shape == expected.shape,
        f"{what} of shape {list(expected.shape)} are read as {list(found.shape)}",
    )
    same = found.astype(expected.dtype) if found.dtype.kind in "biuf" else found
    wrong = ~((same == expected) | ((same != same) & (expected != expected)))
    if wrong.any():
        place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
        require(False, f"{what}: {expected[place]!r} at {list(place)} is read as {found[place]!r}")
