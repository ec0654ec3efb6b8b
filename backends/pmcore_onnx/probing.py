"""What a trial run tells: how many predictions a record has, and whether an edit leaves every answer as it was."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from pmcore.errors import AuditError
from pmcore.interfaces import Array
from pmcore_onnx.feeding import Feed
from pmcore_onnx.reading import check_shape
from pmcore_onnx.session import Session

_LARGEST = 2**26
"""Numbers that a trial run may be fed with; what takes more waits for real records."""


def count_columns(session: Session, feed: Feed, tensors: Sequence[str], path: Path) -> int | None:
    """Return the number of predictions per record, or None where that cannot be told.

    Shapes that the file declares or the runtime infers tell it without a query. Only where they leave it open,
    as dynamic exports may, the model is asked about one record of zeros: the one query that loading makes.

    Raises
    ------
    InputError
        The predictions are no row of numbers per record.
    """
    declared = {value.name: value.shape for value in session.runtime.get_outputs()}
    for name in tensors:
        shape = declared.get(name) or ()
        if feed.single:
            shape = (None, *shape)
        if shape:
            columns = check_shape(shape, name, path)
            if columns is not None:
                return columns
    if _numbers(feed) > _LARGEST:
        return None
    try:
        answer = feed.ask(session, tensors[:1], feed.blank())[0]
    except AuditError:
        return None
    return check_shape(answer.shape, tensors[0], path) if answer.ndim else None


def same_answers(found: Array, expected: Array) -> bool:
    """Tell whether answers agree within 1e-5 of the largest (2e-3 in half precision), record by record."""
    if found.shape != expected.shape:
        return False
    if expected.dtype.kind != "f":
        return bool(np.array_equal(found, expected))
    share = 1e-5 if expected.dtype.itemsize >= 4 else 2e-3
    top = float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0))
    return bool(np.allclose(found, expected, rtol=0.0, atol=share * top, equal_nan=True))


def _numbers(feed: Feed) -> int:
    sizes = (prod(size or 1 for size in spec.record_shape) for spec in feed.specs)
    return (feed.batch or 1) * sum(sizes)
