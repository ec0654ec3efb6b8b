"""What a trainer of reference models is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Array, Inputs, Scale, Task

TrainingProgress = Callable[[int, int], None]
"""Called after each epoch with its number, from 1, and the most that there will be."""

MOST_EPOCHS = 200
"""Epochs after which training by a goal ends, reached or not."""


@dataclass(frozen=True)
class Goal:
    """How well the target knows the records that trained it: training ends when a reference knows its own as well.

    Parameters
    ----------
    loss : mean of the training loss (cross-entropy, sum of binary ones, or squared error) over the target's members
    accuracy : share of them that it predicts right, or None for a regression
    """

    loss: float
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """What all references of one target have in common.

    Parameters
    ----------
    target : the target's file
    task, classes, output, scale : as the target describes itself; `output` names the tensor of its predictions
    inputs : input of the model -> (n, ...) the records of the pool, as the model takes them; may be memory-mapped
    labels : (n,) or (n, k)
    epochs : how many, or None to stop at the goal
    goal : what to reach where `epochs` is None; for the others a figure to compare with
    options : what the target's backend was loaded with, as text: ``model_class`` for files of weights alone, ...
    """

    target: Path
    task: Task
    classes: int
    output: str
    scale: Scale
    inputs: Inputs
    labels: Array
    epochs: int | None = None
    goal: Goal | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def most_epochs(self) -> int:
        """Return after how many epochs training ends at the latest."""
        return MOST_EPOCHS if self.epochs is None else self.epochs


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """One reference that is to be trained.

    Parameters
    ----------
    index : its number among the references, from 0
    rows : (t,) the records of the pool that train it, ascending
    seed : of its weights and of the order of its batches
    out : an empty folder that the model's files are written to
    """

    index: int
    rows: NDArray[np.int64]
    seed: int
    out: Path


@dataclass(frozen=True)
class Trained:
    """A reference that was trained.

    Parameters
    ----------
    file : the model file, within the job's folder
    epochs : how many it took
    loss : mean training loss over its records at the end, or None where it is not known
    loading : what its backend must be told to load it, besides what the target's is told: ``{"model_class": …}``
    """

    file: Path
    epochs: int | None
    loss: float | None
    loading: Mapping[str, str] = field(default_factory=dict)
