"""What a trial run tells: how many predictions a record has, and whether an edit leaves every answer as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np

from pmcore.errors import AuditError
from pmcore.heads import check_shape
from pmcore.intake import Intake, Runtime, Shape
from pmcore.interfaces import Array

VERIFIED = 8
"""Records that must be answered as before when something about the asking is changed."""
_LARGEST = 2**26
"""Numbers that a trial run may be given; what takes more waits for real records."""


def count_columns(
    runtime: Runtime, intake: Intake, tensors: Sequence[str], declared: Mapping[str, Shape], path: Path
) -> int | None:
    """Return the number of predictions per record, or None where that cannot be told.

    Shapes that the file declares or the runtime infers tell it without a query. Only where they leave it open,
    as dynamic exports may, the model is asked about one record of zeros: the one query that loading makes.

    Parameters
    ----------
    tensors : names of what may hold the predictions, the likeliest first
    declared : the shapes that the file or the runtime states, by tensor

    Raises
    ------
    InputError
        The predictions are no row of numbers per record.
    """
    for name in tensors:
        shape = declared.get(name) or ()
        if intake.single:
            shape = (None, *shape)
        if shape:
            columns = check_shape(shape, name, path)
            if columns is not None:
                return columns
    if _numbers(intake) > _LARGEST:
        return None
    try:
        answer = intake.ask(runtime, tensors[:1], intake.blank())[0]
    except AuditError:
        return None
    return check_shape(answer.shape, tensors[0], path) if answer.ndim else None


def freed_note(fixed: Intake, expected: Sequence[Array], free: Intake, found: Sequence[Array]) -> str | None:
    """Return what a reader must know of a fixed batch that was made free, or None if that did not succeed.

    Parameters
    ----------
    fixed, free : the intake as the file has it, and as it was made
    expected, found : the answers about the same records by either
    """
    if free.batch is not None or free.single or not all(map(same_answers, found, expected)):
        return None
    return f"The file's fixed batch of {fixed.batch} was made free; {len(expected[0])} records are answered as before."


def same_answers(found: Array, expected: Array) -> bool:
    """Tell whether answers agree within 1e-5 of the largest (2e-3 in half precision), record by record."""
    if found.shape != expected.shape:
        return False
    if expected.dtype.kind != "f":
        return bool(np.array_equal(found, expected))
    share = 1e-5 if expected.dtype.itemsize >= 4 else 2e-3
    top = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0))
    return bool(np.allclose(found, expected, rtol=0.0, atol=share * top, equal_nan=True))


def _numbers(intake: Intake) -> int:
    sizes = (prod(size or 1 for size in spec.record_shape) for spec in intake.specs)
    return (intake.batch or 1) * sum(sizes)
