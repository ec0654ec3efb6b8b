"""Answers of reference models that were recorded: logits in an archive, in place of the models."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.interfaces import Array, ModelDescription, Outputs, Scale, Task


@dataclass(frozen=True, eq=False)
class RecordedAnswers:
    """What r references answered about the records of an audit.

    Parameters
    ----------
    path : the archive
    logits : (r, n, k) in the order of the files: members, non-members, and the population's own file if it is there
    membership : (n, r) bool, which record trained which reference; None where none did
    """

    path: Path
    logits: Array
    membership: NDArray[np.bool_] | None

    @property
    def models(self) -> int:
        """Return how many references there are."""
        return len(self.logits)

    def outputs(self, model: int, rows: NDArray[np.int64], labels: Array, task: Task) -> Outputs:
        """Return what one reference answered about some records."""
        scale = Scale.VALUES if task is Task.REGRESSION else Scale.LOGITS
        return Outputs(task=task, scale=scale, labels=labels, predictions=self.logits[model, rows])

    def check(self, target: ModelDescription) -> None:
        """Refuse answers that are not of the target's kind.

        Raises
        ------
        InputError
            There are more or fewer columns than the target has classes.
        """
        columns = self.logits.shape[2]
        one_column = target.task is Task.BINARY and columns == 1
        if target.classes and columns != target.classes and not one_column:
            raise InputError(
                f"{self.path}: logits: {columns} classes, and the audited model {target.classes} - give references of "
                "its kind"
            )


def is_recording(path: Path) -> bool:
    """Tell an archive of recorded answers from a model in an .npz file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "logits.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_recorded(path: Path) -> RecordedAnswers:
    """Read an archive with ``logits`` (r, n, k) and, if some records trained some reference, ``membership`` (n, r).

    Raises
    ------
    InputError
        It is missing, damaged, or its arrays do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive)
            logits = archive["logits"] if "logits" in names else None
            membership = archive["membership"] if "membership" in names else None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file - give the recorded answers of the references") from None
    except Exception as error:  # numpy fails in many ways on foreign files
        raise InputError(f"{path}: cannot be read as recorded answers ({error}) - write it with numpy.savez") from None
    if logits is None:
        raise InputError(f"{path}: holds no array 'logits', but {', '.join(names) or 'nothing'} - name it so")
    if logits.ndim != 3 or logits.dtype.kind != "f":
        raise InputError(
            f"{path}: logits: {logits.dtype} {logits.shape} - give real numbers (references, records, classes)"
        )
    if not np.isfinite(logits).all():
        raise InputError(f"{path}: logits: {int((~np.isfinite(logits)).sum())} are not finite - record them anew")
    if membership is not None:
        wanted = (logits.shape[1], logits.shape[0])
        if membership.shape != wanted or membership.dtype.kind not in "biu" or not np.isin(membership, (0, 1)).all():
            raise InputError(
                f"{path}: membership: {membership.dtype} {membership.shape} - give 0 and 1, shape {wanted}: a row per "
                "record and a column per reference"
            )
    return RecordedAnswers(path, logits, None if membership is None else membership.astype(np.bool_))
