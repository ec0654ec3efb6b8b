"""Checks of what a trainer writes and leaves alone: its folder, its model file, the records, the target."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from pmcore.errors import AuditError
from pmcore.interfaces import Array
from pmcore.mapped import map_array
from pmcore.testing.checking import CheckFailed
from pmcore.testing.damage import contents
from pmcore.testing.refusals import require
from pmcore.testing.trainer_answers import opened, predictions
from pmcore.testing.trainer_case import Bench


def check_own_folder(bench: Bench) -> None:
    """Write in the job's folder alone, and return the path of a file there."""
    jobs = [bench.job(0), bench.job(1)]
    bench.train(bench.job())  # first, so that it is settled
    before = _all_but_pools(bench)
    trained = bench.train(*jobs)
    for job, each in zip(jobs, trained, strict=True):
        file: object = each.file
        if not isinstance(file, Path):
            raise CheckFailed(f"`file` is {type(file).__name__}; return a pathlib.Path")
        require(file.exists(), f"returned {file.name}, which is not there; write the model and return its path")
        inside = job.out.resolve() in file.resolve().parents
        require(inside, f"the model of reference {job.index} is in {file.parent}; write it in the folder of its job")
    new = _all_but_pools(bench) - before
    strays = sorted(path.name for path in new if not any(job.out in path.parents for job in jobs))
    require(not strays, f"training leaves {', '.join(strays[:3])} elsewhere; write in the folder of the job alone")


def _all_but_pools(bench: Bench) -> set[Path]:
    return set(bench.folder.rglob("*")) - set(bench.folder.glob("pool*.npz"))


def check_result(bench: Bench) -> None:
    """Tell the epochs that it took and the loss at the end, or None where they are not known."""
    (trained,) = bench.train(bench.job())
    epochs: object = trained.epochs
    known = isinstance(epochs, int) and not isinstance(epochs, bool) and epochs >= 1
    require(epochs is None or known, f"`epochs` is {epochs!r}; tell how many it took, or None")
    loss: object = trained.loss
    number = isinstance(loss, int | float) and math.isfinite(loss)
    require(loss is None or number, f"`loss` is {loss!r}; return the mean loss over the job's records, or None")


def check_loads(bench: Bench) -> None:
    """Write a model that a backend loads, with the task and classes of the target, and that answers with numbers."""
    (trained,) = bench.train(bench.job())
    try:
        with opened(bench.task, trained) as model:
            found = model.describe()
    except AuditError as error:
        raise CheckFailed(f"the model that it wrote does not load: {error}") from error
    require(found.task is bench.task.task, f"the model is {found.task}, and the target {bench.task.task}")
    differ = found.classes != bench.task.classes and 0 not in (found.classes, bench.task.classes)
    require(not differ, f"the model has {found.classes} classes, and the target {bench.task.classes}")
    finite = np.isfinite(predictions(bench.answered(trained))).all()
    require(bool(finite), "the model answers with what is no number; raise ModelError when training fails")


def check_records_unchanged(bench: Bench) -> None:
    """Leave inputs and labels as they are, and train on arrays that can only be read."""
    inputs = {name: np.array(array) for name, array in bench.task.inputs.items()}
    labels, rows = np.array(bench.task.labels), bench.rows
    job = bench.job(rows=rows)
    bench.train(job, task=bench.variant(inputs=inputs, labels=labels))
    arrays = {**inputs, "the labels": labels}
    before = {**bench.task.inputs, "the labels": bench.task.labels}
    changed = [name for name, array in arrays.items() if not _same(array, before[name])]
    changed += [] if np.array_equal(rows, bench.rows) else ["the rows"]
    require(not changed, f"training changes {', '.join(changed)}; work on a copy")
    mapped = {name: _mapped(array, bench.folder / f"{place}.npy") for place, (name, array) in enumerate(before.items())}
    labels = mapped.pop("the labels")
    try:
        bench.train(bench.job(), task=bench.variant(inputs=mapped, labels=labels))
    except ValueError as error:
        if "read-only" not in str(error) and "readonly" not in str(error):
            raise
        raise CheckFailed(f"it cannot train on arrays that can only be read ({error}); work on a copy") from error


def _same(first: Array, second: Array) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _mapped(array: Array, path: Path) -> Array:
    np.save(path, array)
    return map_array(path)


def check_target_unchanged(bench: Bench) -> None:
    """Leave the target's file as it is, and all that lies beside it."""
    before = contents(bench.task.target.parent)
    bench.train(bench.job())
    after = contents(bench.task.target.parent)
    changed = sorted(Path(path).name for path in {*before, *after} if before.get(path) != after.get(path))
    require(not changed, f"training changes {', '.join(changed[:3])} beside the target; write a copy")
