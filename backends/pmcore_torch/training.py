"""The trainer of torch modules: references made by a class or function of the user's, written as safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from pmcore.errors import AuditError, InputError, OutOfMemory, PluginError
from pmcore.interfaces import Trained, Trainer, TrainingJob, TrainingProgress, TrainingTask
from pmcore_autograd.training.recipe import Recipe

if TYPE_CHECKING:
    from pmcore_torch.architecture import ModuleArchitecture


@dataclass(frozen=True)
class TorchTrainer(Recipe, Trainer):
    """Trains any torch module from the weights that its factory draws, and writes them as safetensors.

    Parameters
    ----------
    factory : "package.module:factory", a class or function without arguments that makes the module; by default what
        the target was loaded with (`model_class`)
    """

    suffixes: ClassVar[tuple[str, ...]] = (".safetensors", ".pt", ".pth", ".pt2")

    factory: str | None = None

    def obstacle(self, task: TrainingTask) -> str | None:
        """Return why modules cannot be made and trained, or None if they can."""
        try:
            self._architecture(task)
        except OutOfMemory:
            raise
        except AuditError as error:
            return str(error).removeprefix(f"{task.target}: ")
        return None

    def settled(self, task: TrainingTask, job: TrainingJob, progress: TrainingProgress) -> TorchTrainer:
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
        """Train a model for each job and write its weights; see `Trainer.train`."""
        from pmcore_autograd.training.running import train

        return train(self, task, jobs, self._architecture(task), progress)

    def _architecture(self, task: TrainingTask) -> ModuleArchitecture:
        factory = self.factory or task.options.get("model_class")
        if factory is None:
            raise InputError("there is no telling what makes its modules - give factory=package.module:factory")
        if find_spec("torch") is None:
            raise PluginError("needs torch - try: pip install 'pmcore[torch]'")
        from pmcore_autograd.quiet import start_torch

        start_torch()
        from pmcore_torch.architecture import ModuleArchitecture

        return ModuleArchitecture(task, factory)
