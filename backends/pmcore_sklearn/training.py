"""The trainer of estimators: references that are clones of the target, fitted as it was, in `.skops` files."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory
from pmcore.interfaces import LoadOptions, Trained, Trainer, TrainingJob, TrainingProgress, TrainingTask
from pmcore.outputs import CLASSIFICATION, Array, Outputs, Task
from pmcore.runtime_failures import first_line
from pmcore.signals import Loss
from pmcore_sklearn.estimators import check_estimator, classes_of, innermost
from pmcore_sklearn.files import load_estimator
from pmcore_sklearn.fresh import forget_times, fresh, prefitted
from pmcore_sklearn.model import SklearnModel
from pmcore_sklearn.runtime import ONE_AT_A_TIME
from pmcore_sklearn.writing import write_estimator

_AT_ONCE = 1024
"""Records that are asked about at once when the loss is measured."""


@dataclass(frozen=True)
class SklearnTrainer(Trainer):
    """Fits clones of the target: estimators with its settings, for as many iterations as these say.

    How long an estimator is fitted (`max_iter`, `tol`, `early_stopping`, `n_estimators`) stands in its file, as what
    else its owner chose does: a number of epochs, or a goal, that the references are given changes nothing. Every
    `random_state` in it, also within pipelines and searches, is drawn from the reference's seed. Searches search anew.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".skops",)

    def obstacle(self, task: TrainingTask) -> str | None:
        """Return why the estimator cannot be fitted anew, or None if it can."""
        try:
            self._target(task)
        except OutOfMemory:
            raise
        except AuditError as error:
            return str(error).removeprefix(f"{task.target}: ")
        return None

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        """Fit a clone for each job and write it; see `Trainer.train`."""
        with ONE_AT_A_TIME:
            target = self._target(task)
            found = []
            for number, job in enumerate(jobs, start=1):
                found.append(_trained(target, task, job))
                progress(number, len(jobs))
            return found

    def _target(self, task: TrainingTask) -> Any:
        """Return the target's estimator.

        Raises
        ------
        InputError
            Fitting it again would not make another model.
        UntrustedError
            Loading it could run code.
        """
        target = load_estimator(task.target, task.options.get("trust_model")).estimator
        check_estimator(target, task.target)
        if not callable(getattr(target, "get_params", None)) or not callable(getattr(target, "fit", None)):
            raise InputError(f"{task.target}: {type(target).__name__} cannot be fitted - give a command that trains")
        fixed = prefitted(target)
        if fixed is not None:
            raise InputError(
                f"{task.target}: {fixed} was fitted beforehand, and fitting leaves it as it is - put the plain "
                "estimator there, fit the whole and save it again, or give a command that trains"
            )
        return target


def _trained(target: Any, task: TrainingTask, job: TrainingJob) -> Trained:
    (records,) = task.inputs.values()
    x = np.ascontiguousarray(records[job.rows], dtype=np.float64)  # the type in which the backend asks
    labels = np.asarray(task.labels)[job.rows]
    y = _answers(target, task, job, x, labels)
    with _undisturbed(job.seed):
        try:
            estimator = fresh(target, job.seed)
            estimator.fit(x, y)
            forget_times(estimator)
            path = job.out / task.target.with_suffix(".skops").name
            loss = _loss(estimator, task, x, labels)
            if loss is not None and not np.isfinite(loss):
                raise ModelError(f"the mean loss is {loss:.3g}")
            write_estimator(path, estimator)
        except MemoryError:
            raise
        except Exception as error:  # an estimator, perhaps somebody's own, may fail in any way
            reason = first_line(error).removeprefix(f"{task.target}: ")
            raise ModelError(
                f"{task.target}: reference {job.index}: fitting failed: {reason} - its settings are those of the "
                "target: choose ones that suit fewer records, fit the target with them and save it again"
            ) from error
    return Trained(path, _epochs(estimator), loss)


def _answers(target: Any, task: TrainingTask, job: TrainingJob, x: Array, labels: Array) -> Array:
    """Return labels as the estimator was given them: (t,) of its own classes, (t, k) of 0 and 1, or values."""
    if task.task is Task.MULTILABEL:
        return labels
    if task.task is Task.REGRESSION:
        return labels.reshape(len(labels), -1) if np.ndim(target.predict(x[:1])) == 2 else labels.reshape(-1)
    classes = classes_of(target, task.target)
    if classes is None:
        return labels
    missing = np.setdiff1d(np.arange(len(classes)), labels)
    if len(missing):
        raise ModelError(
            f"{task.target}: reference {job.index}: none of its {len(labels)} records is of class {missing[0]} - "
            "give a pool with more records of this class"
        )
    return classes[labels]


@contextlib.contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """Fit with one thread, without warnings, and with all random numbers by the seed; put generators back."""
    from joblib import parallel_config  # type: ignore[import-untyped]
    from threadpoolctl import threadpool_limits

    before, arrays = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), threadpool_limits(limits=1):
            warnings.simplefilter("ignore")
            with parallel_config(backend="sequential"):
                yield
    finally:
        random.setstate(before)
        np.random.set_state(arrays)


def _loss(estimator: Any, task: TrainingTask, x: Array, labels: Array) -> float | None:
    """Return the mean training loss, or None where an estimator answers with labels alone."""
    model = SklearnModel(estimator, task.target, LoadOptions(output=task.options.get("output")))
    model.prepare({"x": x[:_AT_ONCE]})
    found = model.describe()
    if found.task in CLASSIFICATION | {Task.MULTILABEL} and found.output == "predict":
        return None
    total = 0.0
    for start in range(0, len(x), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        predictions = model.predict({"x": x[part]})
        total += float(Loss().compute(Outputs(found.task, found.scale, labels[part], predictions)).sum())
    return total / len(x)


def _epochs(estimator: Any) -> int | None:
    """Return how often an estimator that learns in passes over its records went over them; None for any other."""
    last = innermost(estimator).last
    passes = getattr(last, "n_iter_", None)
    return int(passes) if hasattr(last, "partial_fit") and isinstance(passes, int | np.integer) else None
