"""What the numbers are: presumed from the graph and the options, settled on a few real records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pmcore.errors import InputError
from pmcore.heads import Ending, Head, rows
from pmcore.interfaces import Array, Scale, Task

_LIMITED = "Only probabilities could be read: very confident records tie (resolution limited)."


@dataclass(frozen=True)
class Reading:
    """How predictions are read.

    Parameters
    ----------
    tensor : the tensor that is fetched
    ending : the activation between it and the model's output; NONE if the output itself is read
    task : the task head
    columns : predictions per record, or None while they are not known
    scale : what the numbers are
    limited : whether confident records tie
    notes : what a reader of the report must know
    """

    tensor: str
    ending: Ending
    task: Task
    columns: int | None
    scale: Scale
    limited: bool = False
    notes: tuple[str, ...] = ()

    def scores(self, answer: Array, records: int, path: Path) -> Array:
        """Return what `predict` returns, (b, k), for what the runtime answered; float16 is widened."""
        found = self.ending.scores(rows(answer, records, self.tensor, path))
        return found.astype(np.float32) if found.dtype == np.float16 else found

    @property
    def classes(self) -> int:
        """Return the number of classes, labels or values; 0 while it is not known."""
        return 2 if self.task is Task.BINARY else self.columns or 0


def presume(head: Head, columns: int | None, asked: Task | None, path: Path) -> Reading:
    """Say what the predictions are as far as the graph and the options tell.

    Raises
    ------
    InputError
        The task that was asked for does not fit the model.
    """
    ending = head.ending if head.before is not None else Ending.NONE
    if ending is Ending.COMPLEMENT:
        columns = 1
    if columns == 1 and ending in (Ending.SOFTMAX, Ending.LOG_SOFTMAX):
        head, ending = head.without_step(), Ending.NONE
    task = asked or _task(head, ending, columns)
    _check_task(task, ending, columns, path)
    notes = list(head.notes)
    if task is Task.REGRESSION:
        if asked is None and columns == 1 and not head.regressor:
            notes.append(
                "One column without an activation is taken for a regression; if it is the logit of a class, "
                "give --task binary."
            )
        return Reading(head.output, Ending.NONE, task, columns, Scale.VALUES, notes=tuple(notes))
    if ending is not Ending.NONE and head.before is not None:
        if task is Task.MULTICLASS and ending is Ending.SIGMOID:
            notes.append("A sigmoid per class is read as one score per class.")
        return Reading(head.before, ending, task, columns, Scale.LOGITS, notes=tuple(notes))
    if head.probabilities:
        return Reading(head.output, ending, task, columns, Scale.PROBABILITIES, limited=True, notes=(*notes, _LIMITED))
    return Reading(head.output, ending, task, columns, Scale.LOGITS, notes=tuple(notes))


def settle(
    head: Head, before: Array | None, output: Array, asked: Task | None, path: Path, *, coarse: bool = False
) -> Reading:
    """Say what the predictions are, having seen them for a few records.

    The tensor before the activation is read only if the activation makes the model's own output of it.
    An output without one holds probabilities if its rows are non-negative and sum to one.

    Parameters
    ----------
    before : (b, k) the tensor before the activation, or None if it has none
    output : (b, k) what the model returns
    asked : the task that the options name
    coarse : whether the model computes in half precision, whatever the type of its answers
    """
    coarse = coarse or any(array.dtype.itemsize < 4 for array in (before, output) if array is not None)
    if before is None or asked is Task.REGRESSION:
        return _look(presume(head.without_step(), output.shape[1], asked, path), output, head, coarse)
    for ending in (head.ending, *head.others):
        if _agrees(ending.apply(before), output, coarse):
            return presume(replace(head, ending=ending), before.shape[1], asked, path)
    note = "The tensor before the activation does not reproduce the output, which is read instead."
    plain = replace(head.without_step(), notes=(*head.notes, note))
    return _look(presume(plain, output.shape[1], asked, path), output, head, coarse)


def _task(head: Head, ending: Ending, columns: int | None) -> Task:
    if head.regressor:
        return Task.REGRESSION
    if ending is Ending.SIGMOID:
        return Task.BINARY if columns == 1 else Task.MULTILABEL
    if ending is Ending.COMPLEMENT or columns == 2:
        return Task.BINARY
    return Task.REGRESSION if columns == 1 else Task.MULTICLASS


def _check_task(task: Task, ending: Ending, columns: int | None, path: Path) -> None:
    if columns is None:
        return
    if task is Task.BINARY and columns > 2:
        raise InputError(f"{path}: task binary does not fit {columns} columns; use --task multiclass")
    if task is Task.MULTICLASS and columns == 1 and ending is not Ending.COMPLEMENT:
        raise InputError(f"{path}: task multiclass does not fit one column; use --task binary or regression")
    if task is Task.MULTILABEL and ending in (Ending.SOFTMAX, Ending.LOG_SOFTMAX):
        raise InputError(f"{path}: task multilabel does not fit a {ending} output; use --task multiclass")


def _agrees(made: Array, output: Array, coarse: bool) -> bool:
    if made.shape != output.shape:
        return False
    log = bool(np.any(output < 0))
    scale = float(np.nanmax(np.abs(output), initial=1.0)) if log else 1.0
    return bool(np.allclose(made, output, rtol=0.0, atol=(5e-3 if coarse else 1e-4) * scale, equal_nan=True))


def _look(reading: Reading, output: Array, head: Head, coarse: bool) -> Reading:
    """Correct the scale of an output that is read as it stands, by its numbers."""
    if reading.scale is Scale.VALUES:
        return reading
    notes = tuple(note for note in reading.notes if note != _LIMITED)
    slack = 5e-3 if coarse else 1e-3
    within = bool(np.all((output >= 0) & (output <= 1 + slack)))
    with np.errstate(invalid="ignore"):  # a sum with infinities is no share of anything, and needs no warning
        sums = output.astype(np.float64).sum(axis=1)
    if reading.task in (Task.MULTICLASS, Task.BINARY) and output.shape[1] > 1:
        within &= bool(np.all(np.abs(sums - 1) < slack))
    if within or head.ending is Ending.SIGMOID:
        return replace(reading, scale=Scale.PROBABILITIES, limited=True, notes=(*notes, _LIMITED))
    return replace(reading, scale=Scale.LOGITS, limited=False, notes=notes)
