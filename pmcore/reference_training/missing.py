"""Training of the references that are not there yet, in groups that the plan fixes and not what is left."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Progress
from pmcore.errors import PluginError
from pmcore.interfaces import Trainer
from pmcore.option_docs import resolved_options
from pmcore.options import build
from pmcore.plugin_failures import answerable
from pmcore.reference_training.assignment import seed_of
from pmcore.reference_training.command_trainer import POOL
from pmcore.reference_training.messages import Epochs, Finished, Order
from pmcore.reference_training.settings import ReferenceSettings
from pmcore.reference_training.stored_task import StoredTask
from pmcore.reference_training.trainers import ChosenTrainer
from pmcore.reference_training.work_folder import WorkFolder
from pmcore.reference_training.workers import Workers
from pmcore.training import Trained, TrainingJob

TRAINER = "trainer.json"


def train_missing(
    folder: WorkFolder,
    chosen: ChosenTrainer,
    stored: StoredTask,
    membership: NDArray[np.bool_],
    settings: ReferenceSettings,
    progress: Progress,
) -> Trainer:
    """Train what is not there yet; return the trainer as it was settled.

    Parameters
    ----------
    membership : (n, r)

    Raises
    ------
    AuditError
        The trainer refuses or fails, or a worker dies.
    """
    folder.clear_strangers()
    there = {index for index, _ in folder.every()}
    count = membership.shape[1]
    jobs = [_job(folder, index, membership[:, index], settings.seed) for index in range(count)]
    surroundings = {POOL: os.pathsep.join(map(_absolute, settings.pool))}
    most = _cores() if settings.jobs == "auto" else settings.jobs
    with Workers(stored, chosen.plugin, most, folder.scratch, surroundings) as workers:
        trainer = _settled(folder, chosen, jobs[0], workers, progress)
        with answerable(chosen.plugin):
            size = max(1, trainer.side_by_side(stored.opened()))
        groups = [tuple(jobs[start : start + size]) for start in range(0, count, size)]
        orders = [Order(trainer, group) for group in groups if any(job.index not in there for job in group)]
        for order in orders:
            for job in order.jobs:
                job.out.mkdir(mode=0o700)
        epochs = _EpochCount(len(orders), progress)
        progress("references", len(there), count)
        for news in workers.carry_out(orders):
            epochs.add(news.order, news.message)
            if not isinstance(news.message, Finished):
                continue
            group = orders[news.order].jobs
            with answerable(chosen.plugin):
                _check(chosen, group, news.message.trained)
            for job, trained in zip(group, news.message.trained, strict=True):
                if job.index not in there:
                    folder.keep(job, trained)
                    there.add(job.index)
            progress("references", len(there), count)
    return trainer


def _settled(
    folder: WorkFolder, chosen: ChosenTrainer, job: TrainingJob, workers: Workers, progress: Progress
) -> Trainer:
    """Return the trainer with what it was asked to find out, found now or by an earlier process."""
    if type(chosen.trainer).settled is Trainer.settled:
        return chosen.trainer
    options: Mapping[str, object] | None = folder.read_json(TRAINER)
    if options is None:
        found = chosen.trainer
        job.out.mkdir(mode=0o700)
        for news in workers.carry_out([Order(chosen.trainer, (job,), settle=True)]):
            if isinstance(news.message, Epochs):
                progress("settling", news.message.done, news.message.most)
            else:
                assert news.message.trainer is not None
                found = news.message.trainer
        folder.forget(job.out)
        options = resolved_options(found)
        folder.write_json(TRAINER, options)
    with answerable(chosen.plugin):
        return build(type(chosen.trainer), options, f"trainer {chosen.plugin.name!r}")


class _EpochCount:
    """Epochs of all groups together: those that a group did not need count when it ends."""

    def __init__(self, groups: int, progress: Progress) -> None:
        self._groups = groups
        self._progress = progress
        self._done: dict[int, float] = {}
        self._most = 0

    def add(self, group: int, message: Epochs | Finished) -> None:
        if isinstance(message, Epochs):
            self._most = max(self._most, message.most)
            self._done[group] = min(1.0, message.done / max(1, message.most))
        else:
            self._done[group] = 1.0
        if self._most:
            self._progress("epochs", int(sum(self._done.values()) * self._most), self._groups * self._most)


def _job(folder: WorkFolder, index: int, chosen: NDArray[np.bool_], seed: int) -> TrainingJob:
    rows = np.flatnonzero(chosen).astype(np.int64)
    return TrainingJob(index, rows, seed_of(seed, index), folder.scratch / f"{index:03d}")


def _check(chosen: ChosenTrainer, jobs: Sequence[TrainingJob], trained: Sequence[Trained]) -> None:
    """Refuse what a trainer returned if it is not a file of each job."""
    title = chosen.plugin.title
    if len(trained) != len(jobs):
        raise PluginError(f"{title}: returned {len(trained)} models for {len(jobs)} jobs; tell its authors")
    for job, one in zip(jobs, trained, strict=True):
        if not one.file.exists() or not one.file.resolve().is_relative_to(job.out.resolve()):
            raise PluginError(
                f"{title}: {one.file.name} is not in the folder of reference {job.index}; tell its authors"
            )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _absolute(path: str) -> str:
    """Return an absolute path; of a pair ``x.npy,y.npy`` both."""
    several = [path] if os.path.exists(path) else path.split(",")
    return ",".join(os.path.abspath(part.strip()) for part in several)
