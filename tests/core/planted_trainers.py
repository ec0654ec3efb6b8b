"""A trainer in plain numpy that keeps every promise, and for each promise one that breaks it and no other."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy_backend import NumpyModel

from pmcore.errors import AuditError, ModelError
from pmcore.interfaces import Array, Floats, LoadOptions, Trained, Trainer, TrainingJob, TrainingProgress, TrainingTask


@dataclass(frozen=True)
class GoodTrainer(Trainer):
    """Softmax regression by gradient descent, in the files of the numpy backend.

    Parameters
    ----------
    learning_rate : how far a step goes along the gradient, or none to have it found first
    """

    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    learning_rate: float | None = None

    def obstacle(self, task: TrainingTask) -> str | None:
        try:
            NumpyModel.load(task.target, LoadOptions()).close()
        except AuditError as error:
            return str(error)
        return None

    def settled(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> Trainer:
        return self if self.learning_rate is not None else replace(self, learning_rate=0.1)

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        return [self.one(task, job, progress) for job in jobs]

    def one(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> Trained:
        x, y = self.records(task, job)
        weight, bias = self.fresh(task, job, x.shape[1])
        loss, epoch = np.inf, 0
        for epoch in range(1, task.most_epochs + 1):
            loss, gradient = self.gradient(x, y, weight, bias)
            if not np.isfinite(loss) or np.abs(weight).max() > 1e20:
                return self.when_diverged(task, job)
            weight, bias = weight - self.step * x.T @ gradient, bias - self.step * gradient.sum(axis=0)
            self.tell(epoch, task, progress)
            if self.ended(task, loss):
                break
        return self.written(task, job, weight, bias, epoch, loss)

    @property
    def step(self) -> float:
        assert self.learning_rate is not None
        return self.learning_rate

    def records(self, task: TrainingTask, job: TrainingJob) -> tuple[Floats, Array]:
        (x,) = task.inputs.values()
        return np.asarray(x[job.rows], dtype=np.float64), np.asarray(task.labels[job.rows])

    def fresh(self, task: TrainingTask, job: TrainingJob, features: int) -> tuple[Floats, Floats]:
        rng = np.random.default_rng(job.seed)
        return rng.normal(size=(features, task.classes)) * 0.1, np.zeros(task.classes)

    def gradient(self, x: Floats, y: Array, weight: Floats, bias: Floats) -> tuple[float, Floats]:
        with np.errstate(all="ignore"):
            z = x @ weight + bias
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
        chosen = np.arange(len(y)), y
        loss = float(-np.log(np.maximum(p[chosen], 1e-300)).mean())
        p[chosen] -= 1
        return loss, p / len(y)

    def ended(self, task: TrainingTask, loss: float) -> bool:
        return task.epochs is None and task.goal is not None and loss <= task.goal.loss

    def tell(self, epoch: int, task: TrainingTask, progress: TrainingProgress) -> None:
        progress(epoch, task.most_epochs)

    def when_diverged(self, task: TrainingTask, job: TrainingJob) -> Trained:
        raise ModelError(f"{task.target}: reference {job.index}: the loss is no number - lower learning_rate")

    def written(
        self, task: TrainingTask, job: TrainingJob, weight: Floats, bias: Floats, epochs: int, loss: float
    ) -> Trained:
        file = job.out / "model.npz"
        NumpyModel.write_dense(file, [weight.astype(np.float32)], [bias.astype(np.float32)])
        return self.told(task, job, Trained(file, epochs, loss))

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        return trained


@dataclass(frozen=True)
class DrawsNothing(GoodTrainer):
    """A trainer that begins with weights of nought, and tells neither epochs nor loss.

    Parameters
    ----------
    learning_rate : how far a step goes along the gradient
    """

    learning_rate: float | None = 0.1

    def fresh(self, task: TrainingTask, job: TrainingJob, features: int) -> tuple[Floats, Floats]:
        return np.zeros((features, task.classes)), np.zeros(task.classes)

    def tell(self, epoch: int, task: TrainingTask, progress: TrainingProgress) -> None:
        return

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        (job.out / "seed.txt").write_text(str(job.seed))
        return Trained(trained.file, None, None)


@dataclass(frozen=True)
class SideBySide(GoodTrainer):
    """A trainer of models that go side by side, and differ by rounding from one that goes alone.

    Parameters
    ----------
    learning_rate : how far a step goes along the gradient, or none to have it found first
    company : how much farther it goes for each other model
    """

    company: float = 1e-6

    def side_by_side(self, task: TrainingTask) -> int:
        return 4

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        moved = replace(self, learning_rate=self.step * (1 + self.company * (len(jobs) - 1)))
        return [moved.one(task, job, progress) for job in jobs]


@dataclass(frozen=True)
class CannotDo(GoodTrainer):
    """A trainer that says that it cannot."""

    def obstacle(self, task: TrainingTask) -> str | None:
        return "needs images - give it some"


@dataclass(frozen=True)
class _Undocumented(GoodTrainer): ...


@dataclass(unsafe_hash=True)
class _CanBeChanged(Trainer):
    """A planted fault: options can be set anew.

    Parameters
    ----------
    learning_rate : how far a step goes along the gradient
    """

    suffixes: ClassVar[tuple[str, ...]] = GoodTrainer.suffixes

    learning_rate: float = 0.1

    def obstacle(self, task: TrainingTask) -> str | None:
        return GoodTrainer(self.learning_rate).obstacle(task)

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        return GoodTrainer(self.learning_rate).train(task, jobs, progress)


@dataclass(frozen=True)
class _Forgets(GoodTrainer):
    """A planted fault: options are rounded when it is made.

    Parameters
    ----------
    learning_rate : how far a step goes along the gradient
    passes : of something
    """

    passes: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "passes", self.passes + 1)


@dataclass(frozen=True)
class _TakesAnything(GoodTrainer):
    """A planted fault: an option takes what is of no use.

    Parameters
    ----------
    learning_rate : how far a step goes along the gradient
    passes : of something
    """

    passes: Any = "many"


@dataclass(frozen=True)
class _SaysNothing(GoodTrainer):
    """A planted fault: an option is not told of."""

    passes: int = 1


@dataclass(frozen=True, eq=False)
class _Unequal(GoodTrainer):
    """A planted fault: no two are equal."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True)
class _StaysHere(GoodTrainer):
    """A planted fault: it cannot be sent to a worker."""

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("cannot be pickled")


class _UpperSuffix(GoodTrainer):
    """A planted fault: a suffix in upper case, by which no target is told."""

    suffixes: ClassVar[tuple[str, ...]] = (".npz", ".NPZ")


class _Verbose(GoodTrainer):
    """A planted fault: an obstacle of several lines."""

    def obstacle(self, task: TrainingTask) -> str | None:
        return "needs images\nand a licence"


class _Stumbles(GoodTrainer):
    """A planted fault: a damaged target is an error of another kind."""

    def obstacle(self, task: TrainingTask) -> str | None:
        if task.target.read_bytes()[:2] != b"PK":
            raise KeyError("weights")
        return None


class _SettlesOnNothing(GoodTrainer):
    """A planted fault: what is settled is not returned."""

    def settled(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> Trainer:
        return 0.1  # type: ignore[return-value]

    @property
    def step(self) -> float:
        return 0.1


class _InNoCompany(GoodTrainer):
    """A planted fault: there is no number of models that go side by side."""

    def side_by_side(self, task: TrainingTask) -> int:
        return 0


class _BesideTheFolder(GoodTrainer):
    """A planted fault: a note is left beside the job's folder."""

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        (job.out.parent / f"note-{job.out.name}.txt").write_text("done")
        return trained


class _LosesItsLoss(GoodTrainer):
    """A planted fault: a loss that is no number."""

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        return replace(trained, loss=float("nan"))


class _OneClassMore(GoodTrainer):
    """A planted fault: the model has a class that the target has not."""

    def written(
        self, task: TrainingTask, job: TrainingJob, weight: Floats, bias: Floats, epochs: int, loss: float
    ) -> Trained:
        wider = np.hstack([weight, np.zeros((len(weight), 1))])
        return super().written(task, job, wider, np.append(bias, -99.0), epochs, loss)


class _MovesARecord(GoodTrainer):
    """A planted fault: a record is changed where it lies, though none of the job's."""

    def records(self, task: TrainingTask, job: TrainingJob) -> tuple[Floats, Array]:
        (x,) = task.inputs.values()
        x[0] += 1
        return super().records(task, job)


class _NeedsToWrite(GoodTrainer):
    """A planted fault: the labels are written to, though nothing comes of it."""

    def records(self, task: TrainingTask, job: TrainingJob) -> tuple[Floats, Array]:
        task.labels[job.rows] = task.labels[job.rows]
        return super().records(task, job)


class _LeavesACache(GoodTrainer):
    """A planted fault: something is left beside the target."""

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        (task.target.parent / "cache.bin").write_bytes(b"")
        return trained


class _LearnsNothing(GoodTrainer):
    """A planted fault: the labels are shuffled."""

    def records(self, task: TrainingTask, job: TrainingJob) -> tuple[Floats, Array]:
        x, y = super().records(task, job)
        return x, np.random.default_rng(job.seed).permutation(y)


class _FineTunes(GoodTrainer):
    """A planted fault: training begins with the target's weights."""

    def fresh(self, task: TrainingTask, job: TrainingJob, features: int) -> tuple[Floats, Floats]:
        weight, bias = super().fresh(task, job, features)
        with np.load(task.target) as target:
            return weight, bias + np.resize(target["b0"], bias.shape)


class _TellsTheTime(GoodTrainer):
    """A planted fault: the moment of training stands beside the model."""

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        (job.out / "time.txt").write_text(str(time.time_ns() if job.seed == 5 else 0))
        return trained


class _OneSeed(GoodTrainer):
    """A planted fault: the seed is not heeded."""

    def fresh(self, task: TrainingTask, job: TrainingJob, features: int) -> tuple[Floats, Floats]:
        return super().fresh(task, replace(job, seed=0), features)


class _CountsOn(GoodTrainer):
    """A planted fault: references are told apart by their number, too."""

    def fresh(self, task: TrainingTask, job: TrainingJob, features: int) -> tuple[Floats, Floats]:
        return super().fresh(task, replace(job, seed=job.seed + (job.index == 5)), features)


class _ScalesByAll(GoodTrainer):
    """A planted fault: records are centred by the mean of the whole pool."""

    def records(self, task: TrainingTask, job: TrainingJob) -> tuple[Floats, Array]:
        x, y = super().records(task, job)
        (everything,) = task.inputs.values()
        with np.errstate(all="ignore"):
            return x - np.asarray(everything, dtype=np.float64).mean(axis=0) * 1e-3, y


class _SharesWeights(GoodTrainer):
    """A planted fault: a job begins where the one before it has begun."""

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        if len(jobs) <= 2:
            return super().train(task, jobs, progress)
        return [self.one(task, replace(job, seed=jobs[0].seed), progress) for job in jobs]


@dataclass(frozen=True)
class _FarApart(SideBySide):
    """A planted fault: models side by side are others than each alone.

    Parameters
    ----------
    company : how much farther a step goes for each other model
    """

    company: float = 0.3


class _TrainsToTheEnd(GoodTrainer):
    """A planted fault: the goal is not heeded."""

    def ended(self, task: TrainingTask, loss: float) -> bool:
        return False


class _CountsFromZero(GoodTrainer):
    """A planted fault: epochs are told of from 0."""

    def tell(self, epoch: int, task: TrainingTask, progress: TrainingProgress) -> None:
        progress(epoch - 1, task.most_epochs)


class _WritesWhatItHas(GoodTrainer):
    """A planted fault: a model that diverged is written all the same."""

    def when_diverged(self, task: TrainingTask, job: TrainingJob) -> Trained:
        (x,) = task.inputs.values()
        broken = np.full((x.shape[1], task.classes), np.nan)
        return self.written(task, job, broken, np.zeros(task.classes), 1, 0.0)


class _Connects(GoodTrainer):
    """A planted fault: somebody is told that a model was trained."""

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.connect(("127.0.0.1", 9))
        return trained


class _Prints(GoodTrainer):
    """A planted fault: standard output is written to, past Python."""

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        os.write(1, b"done\n")
        return trained


class _TellsTheProcess(GoodTrainer):
    """A planted fault: the number of the process stands beside the model."""

    def told(self, task: TrainingTask, job: TrainingJob, trained: Trained) -> Trained:
        (job.out / "process.txt").write_text(str(os.getpid()))
        return trained


PLANTED: dict[str, tuple[Trainer, ...]] = {
    "check_docstring": (_Undocumented(),),
    "check_frozen_dataclass": (_CanBeChanged(),),
    "check_options_round_trip": (_Forgets(),),
    "check_option_types": (_TakesAnything(),),
    "check_options_are_documented": (_SaysNothing(),),
    "check_equality": (_Unequal(),),
    "check_pickle": (_StaysHere(),),
    "check_suffixes": (_UpperSuffix(),),
    "check_obstacle": (_Verbose(),),
    "check_damaged_target": (_Stumbles(),),
    "check_settled": (_SettlesOnNothing(),),
    "check_side_by_side": (_InNoCompany(),),
    "check_own_folder": (_BesideTheFolder(),),
    "check_result": (_LosesItsLoss(),),
    "check_loads": (_OneClassMore(),),
    "check_records_unchanged": (_MovesARecord(), _NeedsToWrite()),
    "check_target_unchanged": (_LeavesACache(),),
    "check_learns": (_LearnsNothing(),),
    "check_fresh_weights": (_FineTunes(),),
    "check_determinism": (_TellsTheTime(),),
    "check_seed": (_OneSeed(),),
    "check_index": (_CountsOn(),),
    "check_other_rows": (_ScalesByAll(),),
    "check_several_jobs": (_SharesWeights(), _FarApart()),
    "check_epochs": (_TrainsToTheEnd(),),
    "check_progress": (_CountsFromZero(),),
    "check_failure": (_WritesWhatItHas(),),
    "check_no_effects": (_Connects(),),
    "check_prints_nothing": (_Prints(),),
    "check_same_elsewhere": (_TellsTheProcess(),),
}
"""For each check the trainers that fail it alone; those on imports are modules of their own, see `IMPORTS`."""

IMPORTS: dict[str, str] = {
    "check_import_effects": "import random\nrandom.seed()\n",
    "check_import_without_framework": "import mxnet\n",
}
"""For each check of a module's import what the module does at import."""


def network() -> object:
    """Return a torch module of the kit's shape, as the factory of an owner does."""
    from torch import nn

    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
