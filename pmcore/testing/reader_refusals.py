"""Checks of what a reader refuses: keys and files that are not there, records that cannot be; each in one line."""

from __future__ import annotations

import numpy as np

from pmcore.errors import InputError
from pmcore.testing.reader_case import ReaderCase, usual_inputs, usual_labels
from pmcore.testing.refusals import require_refusal


def check_missing_label(case: ReaderCase) -> None:
    """Refuse a label key that the file lacks with an InputError that names file and key."""
    path = case.usual()
    require_refusal(lambda: case.read(path, (), "no_such_key"), "label 'no_such_key'", InputError, naming="no_such_key")
    require_refusal(lambda: case.read(path, (), "no_such_key"), "label 'no_such_key'", InputError, naming=path.name)


def check_missing_input(case: ReaderCase) -> None:
    """Refuse an input key that the file lacks with an InputError that names file and key."""
    path = case.usual()
    for part in ("no_such_input", path.name):
        require_refusal(lambda: case.read(path, ("no_such_input",)), "input 'no_such_input'", InputError, naming=part)


def check_missing_file(case: ReaderCase) -> None:
    """Refuse a file that is not there with an InputError that names it."""
    suffix = case.reader.suffixes[0] if case.reader.suffixes else ""
    path = case.folder / f"missing{suffix}"
    require_refusal(lambda: case.read(path), "a file that is not there", InputError, naming=path.name)


def check_unequal_lengths(case: ReaderCase) -> None:
    """Refuse inputs and labels of different numbers of records with an InputError."""
    path = case.write({"x": usual_inputs()}, usual_labels()[:-1])
    require_refusal(lambda: case.read(path), "9 records with 8 labels", InputError)


def check_text(case: ReaderCase) -> None:
    """Refuse text where the records should be with an InputError."""
    path = case.write({"x": np.full((9, 2), "text")}, usual_labels())
    require_refusal(lambda: case.read(path), "inputs of text", InputError)
