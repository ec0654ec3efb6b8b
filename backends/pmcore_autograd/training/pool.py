"""The records that train some references, as tensors, and the order in which each reference sees its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pmcore.outputs import Array
from pmcore.training import TrainingJob, TrainingTask
from pmcore_autograd.training.losses import Objective


class Pool:
    """The records of k references that are trained at once, each of t; what several of them see is held once.

    Parameters
    ----------
    names : inputs, in the order in which the network takes them
    """

    def __init__(self, task: TrainingTask, jobs: Sequence[TrainingJob], names: Sequence[str], objective: Objective):
        rows = np.unique(np.concatenate([job.rows for job in jobs]))
        self._inputs = [tensor_of(task.inputs[name][rows]) for name in names]
        self._labels = objective.labels(np.asarray(task.labels)[rows])
        self._places = torch.from_numpy(np.stack([np.searchsorted(rows, job.rows) for job in jobs]))
        self._orders = [generator(job.seed, 0) for job in jobs]

    def __len__(self) -> int:
        return self._places.shape[1]

    def shuffled(self) -> torch.Tensor:
        """Return where the records of the next epoch stand, shape (k, t)."""
        orders = torch.stack([torch.randperm(len(self), generator=random) for random in self._orders])
        return self._places.gather(1, orders)

    def places(self) -> torch.Tensor:
        """Return where the records stand, in their own order, shape (k, t)."""
        return self._places

    def batch(self, places: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return inputs, each (k, b, ...), and labels (k * b, ...) of the records at some places, (k, b)."""
        flat = places.reshape(-1)
        inputs = [value.index_select(0, flat) for value in self._inputs]
        return [value.view(*places.shape, *value.shape[1:]) for value in inputs], self._labels.index_select(0, flat)

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with some of the references."""
        self._places = self._places[list(kept)]
        self._orders = [self._orders[place] for place in kept]


def tensor_of(array: Array) -> torch.Tensor:
    """Return an array as a tensor, half precision widened."""
    own = np.require(array, requirements=("C", "W"))  # of what is mapped for reading a copy: torch has no such tensors
    return torch.from_numpy(own.astype(np.float32) if own.dtype == np.float16 else own)


def generator(seed: int, stream: int) -> torch.Generator:
    """Return a generator of a reference's own for one of the things that are drawn."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
