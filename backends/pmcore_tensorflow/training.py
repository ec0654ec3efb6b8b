"""The trainer of Keras networks: references after the target's own description, in `.keras` files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pmcore.errors import AuditError, InputError, OutOfMemory
from pmcore.interfaces import LoadOptions, Trained, Trainer, TrainingJob, TrainingProgress, TrainingTask
from pmcore_tensorflow.architecture import KerasArchitecture, read_architecture
from pmcore_tensorflow.device import choose_device
from pmcore_tensorflow.fitting import Fitting
from pmcore_tensorflow.optimisers import make_optimiser
from pmcore_tensorflow.starting import ONE_AT_A_TIME, tensorflow
from pmcore_tensorflow.writing import write_model

_PLACE = LoadOptions(device="cpu")
"""Where references are trained: there the same numbers come out on every run, and workers do not share a device."""


@dataclass(frozen=True)
class KerasTrainer(Trainer):
    """Trains networks of the target's layers from fresh weights.

    What training did not change in the target is kept: frozen layers, and what was adapted to data, such as
    Normalization. Penalties and dropout are those of the layers; the loss is that of the task.

    Parameters
    ----------
    optimiser : "adam", "adamw", "sgd", or "auto" for the one that the target was compiled with, as its file tells, and
        adam where it tells of none
    learning_rate : a number, or none for that of the target's optimiser (the last one, where a callback changed it),
        and for Keras's own where one is named
    batch_size : records per step; a last batch of a single record joins the one before it
    weight_decay : penalty on the weights, or none for that of the optimiser
    momentum : of "sgd" where it is named
    """

    suffixes: ClassVar[tuple[str, ...]] = (".keras",)

    optimiser: Literal["auto", "adam", "adamw", "sgd"] = "auto"
    learning_rate: float | None = None
    batch_size: int = 64
    weight_decay: float | None = None
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Refuse numbers that nothing can be trained with."""
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate: {self.learning_rate} - give a number above 0, or none")
        if self.batch_size < 1:
            raise InputError(f"batch_size: {self.batch_size} - give 1 or more")
        if self.weight_decay is not None and not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay: {self.weight_decay} - give a number from 0, or none")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum: {self.momentum} - give a number from 0 to below 1")

    def obstacle(self, task: TrainingTask) -> str | None:
        """Return why the network cannot be trained anew, or None if it can."""
        try:
            tf = tensorflow()
            with choose_device(tf, _PLACE).computing(tf):
                architecture = read_architecture(task.target)
                self._optimiser(architecture)
        except OutOfMemory:
            raise
        except AuditError as error:
            return str(error).removeprefix(f"{task.target}: ")
        return None

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        """Train a network for each job and write it; see `Trainer.train`."""
        tf = tensorflow()
        found = []
        with contextlib.suppress(RuntimeError):  # too late: TensorFlow was running already
            tf.config.threading.set_inter_op_parallelism_threads(1)
        with ONE_AT_A_TIME, choose_device(tf, replace(_PLACE, threads=1)).computing(tf):
            architecture = read_architecture(task.target)
            fitting = Fitting(task, architecture, self._optimiser(architecture), self.batch_size)
            for number, job in enumerate(jobs):
                fitted = fitting.run(job, _counted(progress, number, len(jobs)))
                path = job.out / task.target.name
                write_model(path, fitted.model)
                found.append(Trained(path, fitted.epochs, fitted.loss))
        return found

    def _optimiser(self, architecture: KerasArchitecture) -> object:
        given = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        told = {name: value for name, value in given.items() if value is not None}
        named = None if self.optimiser == "auto" else self.optimiser
        if named == "sgd":
            told["momentum"] = self.momentum
        return make_optimiser(architecture, named, told)


def _counted(progress: TrainingProgress, before: int, parts: int) -> TrainingProgress:
    """Return progress over several trainings in a row, each with as many epochs at most."""

    def told(epoch: int, most: int) -> None:
        progress(before * most + epoch, parts * most)

    return told
