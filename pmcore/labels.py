"""Labels checked against the model's task: converted where nothing is lost, and said; else refused by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.outputs import Array, Task

CHUNK = 2**16
"""One-hot rows converted at a time."""


@dataclass(frozen=True)
class CheckedLabels:
    """Labels as `Outputs` wants them, and what had to be done to them, one sentence each."""

    labels: Array
    notes: tuple[str, ...] = ()


def check_labels(labels: Array, task: Task, classes: int, path: str, y_key: str = "y") -> CheckedLabels:
    """Return labels that fit the task; int64 class indices stay the same array.

    Parameters
    ----------
    labels : (n, ...) as found in the file
    classes : classes, labels (multi-label) or predicted values (regression) of the model
    path, y_key : where they come from, for messages

    Returns
    -------
    CheckedLabels
        (n,) int64; (n, k) int64 of 0 and 1 for multi-label; (n,) or (n, t) float64 for regression.

    Raises
    ------
    InputError
        Names the first row that is not a label of this model, and the remedy.
    """
    where = f"{path}: {y_key}"
    if labels.dtype.kind in "USTO":
        raise InputError(
            f"{where} holds text ({str(labels.reshape(-1)[0])[:40]!r} at {y_key}[0]) - encode it as numbers, "
            "in the order of the model's outputs"
        )
    if labels.dtype.kind not in "buif":
        raise InputError(f"{where} holds values of type {labels.dtype} - encode them as numbers")
    notes: list[str] = []
    single = task in (Task.MULTICLASS, Task.BINARY)
    flat = labels.ndim > 1 and labels.shape[1:] == (1,) * (labels.ndim - 1)
    if flat and (single or (task is Task.REGRESSION and classes == 1)):
        notes.append(f"labels: {_shape(labels)} flattened to [n]")
        labels = labels.reshape(len(labels))
    if task is Task.REGRESSION:
        return CheckedLabels(_targets(labels, classes, where), tuple(notes))
    if task is Task.MULTILABEL:
        return CheckedLabels(_label_sets(labels, classes, where, notes), tuple(notes))
    classes = max(classes, 2)
    if labels.ndim == 2 and labels.shape[1] == classes:
        notes.append("labels: one-hot converted to classes")
        return CheckedLabels(_from_one_hot(labels, where), tuple(notes))
    if labels.ndim != 1:
        raise InputError(
            f"{where} has shape {_shape(labels)} - give one class 0..{classes - 1} per record, or one-hot [n,{classes}]"
        )
    return CheckedLabels(_classes(labels, classes, where, notes), tuple(notes))


def _classes(labels: Array, classes: int, where: str, notes: list[str]) -> NDArray[np.int64]:
    if labels.dtype.kind == "b" and classes > 2:
        raise InputError(f"{where} holds true and false - the model has classes 0..{classes - 1}")
    if labels.dtype.kind == "f":
        _refuse(labels != np.rint(labels), labels, where, "a class label must be a whole number")
    elif labels.dtype.kind != "b" and labels.min() >= 0 and labels.max() < classes:
        return labels.astype(np.int64, copy=False)
    _refuse((labels < 0) | (labels >= classes), labels, where, f"the model has classes 0..{classes - 1}")
    if labels.dtype.kind == "f":
        notes.append("labels: float-valued whole numbers converted to classes")
    elif labels.dtype.kind == "b":
        notes.append("labels: false and true converted to classes 0 and 1")
    return labels.astype(np.int64)


def _from_one_hot(labels: Array, where: str) -> NDArray[np.int64]:
    result = np.empty(len(labels), dtype=np.int64)
    for start in range(0, len(labels), CHUNK):
        rows = labels[start : start + CHUNK]
        hot = rows == 1
        right = (hot.sum(axis=1) == 1) & ((rows == 0) | hot).all(axis=1)
        if not right.all():
            row = int(np.argmin(right))
            raise InputError(f"{where}[{start + row}]: {_values(rows[row])} - one-hot has a single 1 among zeros")
        result[start : start + CHUNK] = hot.argmax(axis=1)
    return result


def _label_sets(labels: Array, classes: int, where: str, notes: list[str]) -> NDArray[np.int64]:
    if labels.ndim == 1 and classes == 1:
        labels = labels.reshape(-1, 1)
    if labels.ndim != 2 or labels.shape[1] != classes:
        raise InputError(f"{where} has shape {_shape(labels)} - the model has {classes} labels: give [n,{classes}]")
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        raise InputError(f"{where}[{row},{column}]: {labels[row, column]} - each label is 0 or 1")
    if labels.dtype.kind == "f":
        notes.append("labels: float-valued 0 and 1 converted to whole numbers")
    return labels.astype(np.int64, copy=False)


def _targets(labels: Array, values: int, where: str) -> NDArray[np.float64]:
    if labels.dtype.kind == "b":
        raise InputError(f"{where} holds true and false - a regression model needs numbers")
    if labels.shape[1:] not in ((values,), *([()] if values == 1 else [])):
        wanted = "[n] or [n,1]" if values == 1 else f"[n,{values}]"
        raise InputError(f"{where} has shape {_shape(labels)} - the model predicts {wanted}")
    finite = np.isfinite(labels.reshape(len(labels), -1)).all(axis=1)
    _refuse(~np.atleast_1d(finite), labels, where, "a target must be a finite number")
    return labels.astype(np.float64, copy=False)


def _refuse(wrong: NDArray[np.bool_], labels: Array, where: str, why: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{where}[{row}]: {_values(labels[row])} - {why}")


def _values(row: Array) -> str:
    flat = np.asarray(row).reshape(-1)
    return " ".join(str(value) for value in flat[:8]) + (" …" if len(flat) > 8 else "")


def _shape(labels: Array) -> str:
    return "[" + ",".join(["n", *(str(size) for size in labels.shape[1:])]) + "]"
