"""Labels: what is converted and said, and what is refused by row."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pmcore.errors import InputError
from pmcore.labels import check_labels
from pmcore.outputs import Array, Task

ONE_HOT = np.eye(4)[[2, 0, 3]]


def test_int64_classes_stay_the_same_array_and_nothing_is_said() -> None:
    labels = np.array([0, 29, 3])
    checked = check_labels(labels, Task.MULTICLASS, 30, "members.npz")
    assert checked.labels is labels
    assert checked.notes == ()


@pytest.mark.parametrize(
    ("labels", "task", "classes", "expected", "note"),
    [
        (np.array([1, 2], dtype=np.uint8), Task.MULTICLASS, 3, [1, 2], None),
        (np.array([1.0, 2.0]), Task.MULTICLASS, 3, [1, 2], "float-valued"),
        (np.array([[1], [2]]), Task.MULTICLASS, 3, [1, 2], "flattened"),
        (ONE_HOT, Task.MULTICLASS, 4, [2, 0, 3], "one-hot converted to classes"),
        (ONE_HOT.astype(bool), Task.MULTICLASS, 4, [2, 0, 3], "one-hot converted to classes"),
        (np.array([True, False]), Task.BINARY, 1, [1, 0], "false and true"),
        (np.array([[1], [0]]), Task.BINARY, 2, [1, 0], "flattened"),
        (np.array([[1, 0, 1], [0, 0, 0]]), Task.MULTILABEL, 3, [[1, 0, 1], [0, 0, 0]], None),
        (np.array([[1.0, 0.0]]), Task.MULTILABEL, 2, [[1, 0]], "float-valued"),
        (np.array([1, 2]), Task.REGRESSION, 1, [1.0, 2.0], None),
        (np.array([[1.5, 2.5]]), Task.REGRESSION, 2, [[1.5, 2.5]], None),
        (np.array([[1.5], [2.5]]), Task.REGRESSION, 1, [1.5, 2.5], "flattened"),
    ],
)
def test_labels_are_converted_where_nothing_is_lost_and_it_is_said(
    labels: Array, task: Task, classes: int, expected: list[object], note: str | None
) -> None:
    checked = check_labels(labels, task, classes, "members.npz")
    np.testing.assert_array_equal(checked.labels, expected)
    assert checked.labels.dtype == (np.float64 if task is Task.REGRESSION else np.int64)
    assert len(checked.notes) == (note is not None)
    assert note is None or note in checked.notes[0]


@pytest.mark.parametrize(
    ("labels", "task", "classes", "says"),
    [
        (np.array([3] * 11 + [30]), Task.MULTICLASS, 30, "y[11]: 30 - the model has classes 0..29"),
        (np.array([0, -1]), Task.MULTICLASS, 3, "y[1]: -1 - the model has classes 0..2"),
        (np.array([2**63], dtype=np.uint64), Task.MULTICLASS, 3, "y[0]: 9223372036854775808"),
        (np.array([0, 1, 2, 1.5]), Task.MULTICLASS, 3, "y[3]: 1.5 - a class label must be a whole number"),
        (np.array([0, np.nan]), Task.MULTICLASS, 3, "y[1]: nan - a class label must be a whole number"),
        (np.array([0, np.inf]), Task.MULTICLASS, 3, "y[1]: inf - the model has classes 0..2"),
        (np.array([True, False]), Task.MULTICLASS, 3, "y holds true and false"),
        (np.array(["cat", "dog"]), Task.MULTICLASS, 3, "y holds text ('cat' at y[0]) - encode it"),
        (np.array([1j]), Task.MULTICLASS, 3, "y holds values of type complex128"),
        (np.zeros((2, 5)), Task.MULTICLASS, 3, "y has shape [n,5] - give one class 0..2 per record"),
        (np.array([[1, 0], [1, 1]]), Task.MULTICLASS, 2, "y[1]: 1 1 - one-hot has a single 1"),
        (np.array([[1, 0], [0.3, 0.7]]), Task.MULTICLASS, 2, "y[1]: 0.3 0.7 - one-hot has a single 1"),
        (np.array([2]), Task.BINARY, 2, "y[0]: 2 - the model has classes 0..1"),
        (np.array([[0, 2]]), Task.MULTILABEL, 2, "y[0,1]: 2 - each label is 0 or 1"),
        (np.array([0, 1]), Task.MULTILABEL, 2, "y has shape [n] - the model has 2 labels"),
        (np.array([0.5, np.nan]), Task.REGRESSION, 1, "y[1]: nan - a target must be a finite number"),
        (np.zeros((3, 2)), Task.REGRESSION, 1, "y has shape [n,2] - the model predicts [n] or [n,1]"),
        (np.array([True]), Task.REGRESSION, 1, "y holds true and false"),
    ],
)
def test_anything_else_is_refused_by_row(labels: Array, task: Task, classes: int, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"members.npz: {says}")):
        check_labels(labels, task, classes, "members.npz")
