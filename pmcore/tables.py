"""What every reader checks: that the file is data, that the keys are in it, that x and y belong together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Table
from pmcore.outputs import Array

USUAL_LABELS = ("label", "labels", "target", "targets", "class", "Y", "y_train", "y_test", "fine_labels")
USUAL_INPUTS = ("X", "data", "images", "features", "inputs", "x_train", "x_test")


class Shaped(Protocol):
    """An array, or the head of one that has not been read yet."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape, the records first."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of its values."""


def look(path: Path) -> bytes:
    """Return the first bytes of a data file.

    Raises
    ------
    InputError
        The file is missing, empty, a folder, or something else: a git-lfs pointer, a web page, a pickle.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_neighbour(path) or ' - check the path'}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder - name a file in it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror} - check its permissions") from None
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        raise InputError(f"{path}: the file is empty - write or download it again")
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path}: a git-lfs pointer, not the data - fetch it with: git lfs pull")
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise InputError(f"{path}: a web page, not data - download the file itself")
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise InputError(f"{path}: a pickle, which could run code when loaded - store plain arrays with numpy.savez")
    return head


def missing_key(path: Path, key: str, present: Sequence[str], what: str, usual: Sequence[str]) -> InputError:
    """Return the complaint about a key that is not in a file, with those that are and the likeliest meant.

    Parameters
    ----------
    what : what a key is in this format: "array", "column"
    usual : names that are often used for what the key stands for
    """
    close = difflib.get_close_matches(key, present, 1, 0.6) or [name for name in usual if name in present][:1]
    hint = f"; did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(present[:12]) + (", …" if len(present) > 12 else "") or "nothing"
    return InputError(f"{path}: no {what} {key!r} - it has {shown}{hint}")


def choose_inputs(path: Path, x_keys: Sequence[str], y_key: str, present: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the keys of the inputs: those asked for, or "x", or all but the label.

    Raises
    ------
    InputError
        The label or an input is not among the keys present, or nothing is left for the input.
    """
    if y_key not in present:
        raise missing_key(path, y_key, present, what, USUAL_LABELS)
    for key in x_keys:
        if key not in present:
            raise missing_key(path, key, present, what, USUAL_INPUTS)
    if y_key in x_keys:
        raise InputError(f"{path}: {y_key!r} is named as an input and as the label - name another label")
    keys = tuple(x_keys) or (("x",) if "x" in present and y_key != "x" else ())
    keys = keys or tuple(key for key in present if key != y_key)
    if not keys:
        raise missing_key(path, "x", present, what, USUAL_INPUTS)
    return keys


def checked_table(path: Path, inputs: Mapping[str, Array], labels: Array, y_key: str, files: tuple[Path, ...]) -> Table:
    """Return the table after checking that its arrays belong together.

    Raises
    ------
    InputError
        As of `check_arrays`.
    """
    check_arrays(path, inputs, labels, y_key)
    return Table(inputs=inputs, labels=labels, files=files)


def check_arrays(path: Path, inputs: Mapping[str, Shaped], labels: Shaped, y_key: str) -> None:
    """Check that inputs are numbers and that all arrays hold the same records.

    Raises
    ------
    InputError
        An input is not numeric, an array is a single number, there are no records, or lengths differ.
    """
    for name, array in {**inputs, y_key: labels}.items():
        if not array.shape:
            raise InputError(f"{path}: {name} is a single value - the first axis must be the records")
    for name, array in inputs.items():
        if array.dtype.kind not in "buif":
            raise InputError(f"{path}: {name} holds {_kind(array)} - encode it as numbers")
        if array.shape[0] != labels.shape[0]:
            raise InputError(
                f"{path}: {name} has {array.shape[0]} records, {y_key} has {labels.shape[0]} - one label per record"
            )
        if 0 in array.shape[1:] and array.shape[0]:
            raise InputError(f"{path}: {name} has shape {list(array.shape)} - its records hold no values")
    if labels.shape[0] == 0:
        raise InputError(f"{path}: holds no records - give a file with some")


def _kind(array: Shaped) -> str:
    words = {"U": "text", "S": "text", "T": "text", "c": "complex numbers", "M": "dates", "m": "durations"}
    return words.get(array.dtype.kind, f"values of type {array.dtype}")


def _neighbour(path: Path) -> str:
    try:
        close = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], 1)
    except OSError:
        return f" (and no folder {path.parent})"
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else ""
