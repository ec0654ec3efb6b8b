"""The training loop: epochs of shuffled batches, until there were enough or the references know their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import nn

from pmcore.errors import AuditError, ModelError, OutOfMemory
from pmcore.runtime_failures import failure, first_line
from pmcore.training import Goal, TrainingJob, TrainingProgress, TrainingTask
from pmcore_autograd.training.augmenting import Augmentation
from pmcore_autograd.training.descent import Descent
from pmcore_autograd.training.losses import Objective
from pmcore_autograd.training.network import Architecture
from pmcore_autograd.training.pool import Pool
from pmcore_autograd.training.recipe import Recipe
from pmcore_autograd.training.stack import Stack

_AT_ONCE = 1024
"""Records that are asked about at once when the loss is measured."""
_NEAR = 8.0
"""The loss is measured once that of the epoch's own batches is no more than so many times the goal's ..."""
_SELDOM = 4
"""... and every so many epochs at least: networks with dropout may know more than their batches show."""
_BLOWN_UP = 1e3
"""Times the first loss at which training has diverged, finite or not."""


@dataclass(frozen=True)
class Knowledge:
    """What a network knows of the records that trained it: mean loss, and the share that it predicts right."""

    loss: float
    accuracy: float | None

    def reaches(self, goal: Goal) -> bool:
        """Tell whether it is as much as the goal says."""
        enough = self.accuracy is None or goal.accuracy is None or self.accuracy >= goal.accuracy
        return enough and self.loss <= goal.loss


@dataclass(frozen=True)
class Fitted:
    """How the training of one reference ended."""

    epochs: int
    loss: float


class Training:
    """References that are trained at once, each on as many records.

    Parameters
    ----------
    networks : with fresh parameters, one for each job; in the end they hold what was learnt
    """

    def __init__(
        self,
        recipe: Recipe,
        task: TrainingTask,
        jobs: Sequence[TrainingJob],
        architecture: Architecture,
        networks: Sequence[nn.Module],
    ) -> None:
        self._recipe = recipe
        self._task = task
        self._jobs = jobs
        self._networks = networks
        self._objective = Objective(task.task, architecture.scale)
        self._pool = Pool(task, jobs, architecture.names, self._objective)
        self._spans = recipe.spans(len(self._pool))
        self._stack = Stack(networks)
        self._descent = Descent(recipe, self._stack, len(self._spans) * task.most_epochs)
        self._augmentation = Augmentation(recipe, [job.seed for job in jobs])
        self._going = list(range(len(jobs)))
        self._first: list[float] = []

    def run(self, progress: TrainingProgress) -> list[Fitted]:
        """Train, and return how it ended for each job.

        Raises
        ------
        ModelError
            The loss grows beyond measure, memory runs out, or torch fails.
        """
        found: dict[int, Fitted] = {}
        for epoch in range(1, self._task.most_epochs + 1):
            try:
                losses = self._epoch(epoch)
                ended = self._ended(epoch, losses)
            except OutOfMemory:
                raise self._failed(epoch, "memory ran out", "lower batch_size") from None
            except AuditError:
                raise
            except Exception as error:  # torch raises its own kinds, and Python's
                raise failure(error, "torch", first_line(error), self._task.target, "failed in training") from error
            found |= {self._going[place]: fitted for place, fitted in ended.items()}
            self._drop(list(ended))
            progress(epoch, self._task.most_epochs)
            if not self._going:
                break
        return [found[place] for place in range(len(self._jobs))]

    def _epoch(self, epoch: int) -> list[float]:
        """Go through the records once, and return the mean loss of the batches of each network."""
        places = self._pool.shuffled()
        total = torch.zeros(len(places))
        self._stack.train(True)
        for span in self._spans:
            inputs, labels = self._pool.batch(places[:, span])
            predictions = self._stack(self._augmentation(inputs))
            losses = self._objective.losses(predictions, labels, self._recipe.label_smoothing).view(len(places), -1)
            means = losses.mean(1)
            self._descent.step(means.sum())
            total += means.detach() * losses.shape[1]
            if not self._first:
                self._first = means.tolist()
        found: list[float] = (total / len(self._pool)).tolist()
        self._check(epoch, found, _BLOWN_UP)
        return found

    def _ended(self, epoch: int, losses: Sequence[float]) -> dict[int, Fitted]:
        """Return place among those that still go on -> how it ended, for the networks that have enough."""
        last, goal = epoch == self._task.most_epochs, self._task.goal if self._task.epochs is None else None
        asked = [
            place
            for place, loss in enumerate(losses)
            if last or (goal is not None and (loss <= _NEAR * goal.loss or epoch % _SELDOM == 0))
        ]
        if not asked:
            return {}
        known = self._measured()
        self._check(epoch, [each.loss for each in known], inf)
        return {
            place: Fitted(epoch, known[place].loss)
            for place in asked
            if last or (goal is not None and known[place].reaches(goal))
        }

    def _measured(self) -> list[Knowledge]:
        """Return what each network knows of its records, in evaluation mode."""
        places = self._pool.places()
        total, right = torch.zeros(len(places), dtype=torch.float64), torch.zeros(len(places))
        counted = True
        self._stack.train(False)
        with torch.no_grad():
            for part in torch.split(places, _AT_ONCE, dim=1):
                inputs, labels = self._pool.batch(part)
                predictions = self._stack(inputs).double()
                total += self._objective.losses(predictions, labels).view(len(places), -1).sum(1)
                hits = self._objective.right(predictions, labels)
                counted = hits is not None
                right += 0 if hits is None else hits.view(len(places), -1).sum(1)
        shares = (right.double() / places.shape[1]).tolist()
        means = (total / places.shape[1]).tolist()
        return [Knowledge(loss, share if counted else None) for loss, share in zip(means, shares, strict=True)]

    def _check(self, epoch: int, losses: Sequence[float], most: float) -> None:
        """Refuse to go on with a network whose loss is no number, or more than `most` times its first one."""
        for place, loss in enumerate(losses):
            if not isfinite(loss) or loss > most * max(self._first[place], 1.0):
                remedy = f"lower learning_rate (it is {self._recipe.rate:g}), or give clip_gradient"
                index = self._jobs[self._going[place]].index
                raise self._failed(epoch, f"the loss is {loss:.3g}", remedy, index)

    def _drop(self, ended: Sequence[int]) -> None:
        """Go on without the networks that have ended."""
        if not ended:
            return
        for place in ended:
            self._stack.finish(place, self._networks[self._going[place]])
        kept = [place for place in range(len(self._going)) if place not in ended]
        self._going = [self._going[place] for place in kept]
        self._first = [self._first[place] for place in kept]
        if kept:
            for part in (self._stack, self._descent, self._pool, self._augmentation):
                part.keep(kept)

    def _failed(self, epoch: int, what: str, remedy: str, index: int | None = None) -> ModelError:
        index = self._jobs[self._going[0]].index if index is None else index
        return ModelError(f"{self._task.target}: reference {index}: {what} after epoch {epoch} - {remedy}")
