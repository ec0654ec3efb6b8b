"""What a trainer is checked on: a small task, made for it or given by its author, and jobs in folders of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pmcore.installed import surveyed_once
from pmcore.interfaces import Outputs, Trained, Trainer, TrainingJob, TrainingTask
from pmcore.reference_training.command_trainer import POOL
from pmcore.testing.checking import Check, CheckFailed, NotApplicable, check_of
from pmcore.testing.subjects import made
from pmcore.testing.trainer_answers import asked
from pmcore.testing.trainer_task import made_target, task_for

SURROUNDINGS = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
FEW = 3
"""Epochs of a training that is to learn little."""


@dataclass(frozen=True, eq=False)
class TrainerCase:
    """A trainer, and what it is to retrain where the kit cannot make a target for it.

    Parameters
    ----------
    trainer : an instance, or a class, which is made with its default options
    target : the model file; by default that of `task`, or else one that an installed backend writes
    task : the target with records and labels, whose `epochs` are enough to learn them; by default records in
        well-separated classes are made up for the target
    """

    trainer: Trainer | type[Trainer]
    target: Path | None = None
    task: TrainingTask | None = None


Subject: TypeAlias = Trainer | type[Trainer] | TrainerCase


@dataclass
class Bench:
    """A trainer with a task, and a folder of its own in which models are trained.

    Parameters
    ----------
    given : the trainer as it was given, not yet settled
    task : of `FEW` epochs
    enough : epochs after which its records are learnt
    written : whether the kit wrote the target
    """

    given: Trainer
    task: TrainingTask
    enough: int
    written: bool
    folder: Path
    _made: int = 0

    @cached_property
    def trainer(self) -> Trainer:
        """Return the trainer, settled on a first job.

        Raises
        ------
        NotApplicable
            It says that it cannot train references of the target.
        """
        self.require_able()
        settled = self.given.settled(self.task, self.job(), silent)
        return settled if isinstance(settled, Trainer) else self.given

    def require_able(self) -> None:
        """Leave a check out where the trainer says why it cannot train references of the target."""
        obstacle = self.given.obstacle(self.task)
        if obstacle is not None:
            raise NotApplicable(f"the trainer says: {obstacle}")

    @property
    def rows(self) -> NDArray[np.int64]:
        """Return the records of the usual job, two of three, shape (t,)."""
        records = len(self.task.labels)
        rows: NDArray[np.int64] = np.flatnonzero(np.arange(records) % 3).astype(np.int64)
        return rows

    def job(self, index: int = 0, seed: int = 11, rows: NDArray[np.int64] | None = None) -> TrainingJob:
        """Return a job with a new, empty folder."""
        self._made += 1
        out = self.folder / f"job{self._made}"
        out.mkdir()
        return TrainingJob(index, self.rows if rows is None else rows, seed, out)

    def variant(self, **changes: Any) -> TrainingTask:
        """Return the task with changes, and arrays of its own: what is done to them concerns no other check."""
        inputs = {name: np.array(array) for name, array in self.task.inputs.items()}
        return replace(self.task, **{"inputs": inputs, "labels": np.array(self.task.labels), **changes})

    def train(
        self,
        *jobs: TrainingJob,
        task: TrainingTask | None = None,
        progress: Callable[[int, int], None] | None = None,
        trainer: Trainer | None = None,
    ) -> list[Trained]:
        """Let the trainer carry out jobs, with the environment that a worker has."""
        task = self.variant() if task is None else task
        with _environment({**SURROUNDINGS, POOL: str(self._pool(task))}):
            found = (trainer or self.trainer).train(task, jobs, progress or silent)
        if not isinstance(found, Sequence) or not all(isinstance(each, Trained) for each in found):
            raise CheckFailed(f"train returned {type(found).__name__}; return a sequence of Trained")
        if len(found) != len(jobs):
            raise CheckFailed(f"train returned {len(found)} models for {len(jobs)} jobs; return one for each")
        return list(found)

    def answered(self, trained: Trained, rows: NDArray[np.int64] | None = None) -> Outputs:
        """Return what a trained model says about records, by default those of the usual job."""
        return asked(self.task, trained, self.rows if rows is None else rows)

    def _pool(self, task: TrainingTask) -> Path:
        self._made += 1
        path = self.folder / f"pool{self._made}.npz"
        keys = ["x"] if len(task.inputs) == 1 else list(task.inputs)
        np.savez(path, **dict(zip(keys, task.inputs.values(), strict=True)), y=task.labels)  # type: ignore[arg-type]
        return path


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def silent(epoch: int, most: int) -> None:
    """Take note of no progress."""


def trainer_of(subject: Subject) -> Trainer:
    """Return the trainer, made with its default options if its class is given."""
    return made(subject.trainer if isinstance(subject, TrainerCase) else subject, Trainer)


def trainer_check(function: Callable[[Bench], None]) -> Check[Subject]:
    """Return a check of a trainer from a function of a bench, which gets one with files of its own."""
    check = check_of(function)

    def run(subject: Subject) -> None:
        with open_bench(subject) as bench:
            function(bench)

    return Check(check.name, check.promise, run)


@contextmanager
def open_bench(subject: Subject) -> Iterator[Bench]:
    """Write the files of a bench, and remove them afterwards.

    Raises
    ------
    NotApplicable
        No target can be made, or no records for it, and none were given.
    """
    case = subject if isinstance(subject, TrainerCase) else TrainerCase(subject)
    trainer = trainer_of(case)
    with surveyed_once(), TemporaryDirectory(prefix="pmcore-check-") as name:
        folder = Path(name)
        if case.task is not None:
            task = case.task if case.target is None else replace(case.task, target=case.target)
        else:
            task = task_for(case.target or made_target(trainer, folder / "target"))
        enough = task.most_epochs
        written = case.task is None and case.target is None
        yield Bench(trainer, replace(task, epochs=FEW, goal=None), enough, written, folder)
