"""Trainers for the tests: a sound one that needs no framework, and others that each do one thing wrong."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy_backend import NumpyModel

from pmcore.errors import ModelError
from pmcore.interfaces import Trainer
from pmcore.training import Trained, TrainingJob, TrainingProgress, TrainingTask


@dataclass(frozen=True)
class PlantedTrainer(Trainer):
    """Softmax regression by gradient descent.

    Parameters
    ----------
    rate : learning rate, or none to have it found first
    pause : seconds that each epoch waits
    together : models side by side
    """

    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    rate: float | None = None
    pause: float = 0.0
    together: int = 1

    def settled(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> Trainer:
        progress(1, 1)
        return self if self.rate is not None else replace(self, rate=0.25)

    def side_by_side(self, task: TrainingTask) -> int:
        return self.together

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        return [self.one(task, job, progress) for job in jobs]

    def one(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> Trained:
        assert self.rate is not None
        x = np.asarray(next(iter(task.inputs.values()))[job.rows], dtype=np.float64)
        y = task.labels[job.rows]
        rng = np.random.default_rng(job.seed)
        w, b = rng.normal(size=(x.shape[1], task.classes)) * 0.01, np.zeros(task.classes)
        loss, epoch = np.inf, 0
        for epoch in range(1, min(task.most_epochs, 40) + 1):
            z = x @ w + b
            log_p = z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) - z.max(1, keepdims=True)
            loss = float(-log_p[np.arange(len(y)), y].mean())
            if task.epochs is None and task.goal is not None and loss <= task.goal.loss:
                break
            g = np.exp(log_p)
            g[np.arange(len(y)), y] -= 1
            w -= self.rate * x.T @ g / len(y)
            b -= self.rate * g.mean(axis=0)
            time.sleep(self.pause)
            progress(epoch, task.most_epochs)
        file = job.out / "net.npz"
        NumpyModel.write_dense(file, [w.astype(np.float32)], [b.astype(np.float32)])
        return Trained(file, epoch, round(loss, 6))


@dataclass(frozen=True)
class InAFolder(PlantedTrainer):
    """Writes a file beside the model, and says how it is loaded."""

    suffixes: ClassVar[tuple[str, ...]] = ()

    def one(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> Trained:
        trained = super().one(task, job, progress)
        (job.out / "notes").mkdir()
        (job.out / "notes" / "log.txt").write_text("done")
        return replace(trained, loading={"backend": "numpy", "output": "logits"})


@dataclass(frozen=True)
class Planted(PlantedTrainer):
    """Does what `fault` says.

    Parameters
    ----------
    fault : name of what goes wrong
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    fault: str = "none"

    def obstacle(self, task: TrainingTask) -> str | None:
        return "needs images - give it some" if self.fault == "obstacle" else None

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        return FAULTS[self.fault](self, task, jobs, progress)


def _diverges(trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], _: TrainingProgress) -> list[Trained]:
    raise ModelError(f"training diverged: the loss of reference {jobs[0].index} is NaN - lower the learning rate")


def _fails(trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], _: TrainingProgress) -> list[Trained]:
    raise KeyError("weights\nof the second layer")


def _runs_out(trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], _: TrainingProgress) -> list[Trained]:
    raise MemoryError


def _crashes(trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], _: TrainingProgress) -> list[Trained]:
    print("about to fall", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(10)
    return []


def _is_killed(trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], _: TrainingProgress) -> list[Trained]:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(10)
    return []


def _leaves(trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], _: TrainingProgress) -> list[Trained]:
    print("no licence found", file=sys.stderr, flush=True)
    os._exit(3)


def _is_short(trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], _: TrainingProgress) -> list[Trained]:
    return []


def _elsewhere(trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], _: TrainingProgress) -> list[Trained]:
    return [Trained(Path(os.devnull), 1, 0.0) for _ in jobs]


def _prints(
    trainer: Planted, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress
) -> Sequence[Trained]:
    print("epoch 1")
    os.write(1, b"from C\n")
    return PlantedTrainer.train(trainer, task, jobs, progress)


_Fault = Callable[[Planted, TrainingTask, Sequence[TrainingJob], TrainingProgress], Sequence[Trained]]
FAULTS: dict[str, _Fault] = {
    "none": PlantedTrainer.train,
    "diverges": _diverges,
    "fails": _fails,
    "memory": _runs_out,
    "crashes": _crashes,
    "killed": _is_killed,
    "leaves": _leaves,
    "short": _is_short,
    "elsewhere": _elsewhere,
    "prints": _prints,
}
