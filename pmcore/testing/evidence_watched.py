"""Evidence that notices what is read of it, and a model that counts the adaptive queries it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pmcore.evidence import Evidence, EvidenceKey, LabelQueries
from pmcore.outputs import Array, Floats, Inputs, Task

K = TypeVar("K")

DIMENSIONS, REACH = 8, 10.0
"""Numbers in a record of the linear model, and how far each may be moved."""


class WatchedArrays(Mapping[K, Array]):
    """Arrays by key, and the keys that were asked for, whether they are there or not."""

    def __init__(self, arrays: Mapping[K, Array]) -> None:
        self._arrays = arrays
        self.asked: set[K] = set()

    def __getitem__(self, key: K) -> Array:
        self.asked.add(key)
        return self._arrays[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


@dataclass(frozen=True)
class WatchedEvidence(Evidence):
    """Evidence that remembers which of its attributes were read."""

    touched: set[str] = field(default_factory=set)

    def __getattribute__(self, name: str) -> Any:
        touched = object.__getattribute__(self, "__dict__").get("touched")
        if touched is not None:
            touched.add(name)
        return object.__getattribute__(self, name)

    @property
    def asked(self) -> set[EvidenceKey]:
        """Return every key that was asked for, declared or not."""
        return self.arrays.asked if isinstance(self.arrays, WatchedArrays) else set()

    @property
    def drew(self) -> bool:
        """Return whether random numbers may have been drawn."""
        return "seed" in self.touched


class OverBudget(Exception):
    """More adaptive queries about a record than were declared."""


class Oracle(LabelQueries):
    """A linear model that answers labels; what is sent is how far a record is moved, zeros being the record itself.

    Parameters
    ----------
    margins : (n,) distance of each record from the boundary; a record moved by v is right while margin + sum(v) /
        sqrt(d) is positive
    budget : queries about one record that are allowed
    limited : whether it refuses more than these
    """

    def __init__(self, task: Task, classes: int, labels: Array, margins: Floats, budget: int, *, limited: bool) -> None:
        self.bounds = {"x": (-REACH, REACH)}
        self.budget = budget
        self._task = task
        self._classes = classes
        self._labels = labels
        self._margins = margins
        self._limited = limited
        self._counts = np.zeros(len(labels), dtype=np.int64)

    def inputs(self, records: NDArray[np.intp]) -> Inputs:
        return {"x": np.zeros((len(records), DIMENSIONS), dtype=np.float32)}

    def __call__(self, records: NDArray[np.intp], inputs: Inputs) -> Array:
        np.add.at(self._counts, records, 1)
        if self._limited and self._counts.max(initial=0) > self.budget:
            raise OverBudget(f"asks {self._counts.max()} times about a record, and declares {self.budget}")
        moves = np.concatenate([np.asarray(array).reshape(len(records), -1) for array in inputs.values()], axis=1)
        right = self._margins[records] + moves.sum(axis=1) / np.sqrt(moves.shape[1]) > 0
        labels = self._labels[records]
        if self._task is Task.MULTILABEL:
            return np.where(right[:, None], labels, 1 - labels)
        if self._task is Task.REGRESSION:
            return np.where(right, labels, labels + 1.0)
        return np.where(right, labels, (labels + 1) % self._classes)
