"""The trainer of exported graphs: references of exactly what is shipped, without the owner's training code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal

from pmcore.errors import AuditError, OutOfMemory, PluginError
from pmcore.interfaces import Trained, Trainer, TrainingJob, TrainingProgress, TrainingTask
from pmcore_autograd.training.recipe import Recipe

if TYPE_CHECKING:
    from pmcore_autograd.training.exported import ExportedArchitecture


@dataclass(frozen=True)
class ExportTrainer(Recipe, Trainer):
    """Trains the target's own graph from fresh weights, and writes them into a copy of its file.

    The graph is read from the ONNX or OpenVINO file and differentiated by torch; layers, names and types stay those of
    the file. Normalisation layers that are left in it normalise by the batch while it is trained.

    Parameters
    ----------
    batch_norm : what is done where an exporter has folded BatchNormalization into convolutions, which makes training
        slow: "auto" puts one behind each convolution that shows it by its name, for the time of training; "all" behind
        each convolution with a bias; "none" trains the graph as it is
    """

    suffixes: ClassVar[tuple[str, ...]] = (".onnx", ".xml")

    batch_norm: Literal["auto", "all", "none"] = "auto"

    def obstacle(self, task: TrainingTask) -> str | None:
        """Return why the graph cannot be trained, or None if it can."""
        try:
            return self._architecture(task).obstacle
        except OutOfMemory:
            raise
        except AuditError as error:
            reason = str(error).removeprefix(f"{task.target}: ")
            return f"{reason}; or train with the trainer torch, or a command of your own"

    def settled(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> ExportTrainer:
        """Return the trainer with a learning rate, found on one job if it is to be."""
        if self.learning_rate != "auto":
            return self
        from pmcore_autograd.training.running import best_rate

        return replace(self, learning_rate=best_rate(self, task, job, self._architecture(task), progress))

    def side_by_side(self, task: TrainingTask) -> int:
        """Return how many models are best trained at once in one process."""
        from pmcore_autograd.training.running import side_by_side

        return side_by_side(task, self._architecture(task))

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        """Train a model for each job and write it as a file of the target's kind and name; see `Trainer.train`."""
        from pmcore_autograd.training.running import train

        return train(self, task, jobs, self._architecture(task), progress)

    def _architecture(self, task: TrainingTask) -> ExportedArchitecture:
        if find_spec("torch") is None:
            raise PluginError("needs torch - try: pip install 'pmcore[whitebox]'")
        from pmcore_autograd.quiet import start_torch

        start_torch()
        from pmcore_autograd.training.exported import ExportedArchitecture

        return ExportedArchitecture(task, self.batch_norm)
