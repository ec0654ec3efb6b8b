"""What all workers train on: a training task whose arrays lie in files that they map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from pmcore.mapped import map_array
from pmcore.outputs import Array
from pmcore.training import TrainingTask


@dataclass(frozen=True, eq=False)
class StoredTask:
    """A training task without its arrays, which are too large to be sent to every worker.

    Parameters
    ----------
    task : the task, with neither inputs nor labels
    inputs : input of the model -> its .npy file
    labels : the .npy file of the labels
    """

    task: TrainingTask
    inputs: Mapping[str, Path]
    labels: Path

    def opened(self) -> TrainingTask:
        """Return the whole task, its arrays read-only and memory-mapped."""
        arrays = {name: map_array(path) for name, path in self.inputs.items()}
        return replace(self.task, inputs=arrays, labels=map_array(self.labels))


def without_arrays(task: TrainingTask) -> TrainingTask:
    """Return a task that can be sent."""
    return replace(task, inputs={}, labels=np.empty(0))


class ArrayFile:
    """An .npy file that is written in pieces along the first axis."""

    def __init__(self, path: Path, rows: int, first: Array) -> None:
        """Begin a file for `rows` rows like those of `first`."""
        self._stream = path.open("wb")
        self._dtype, self._shape = first.dtype, first.shape[1:]
        header = {"descr": npy.dtype_to_descr(first.dtype), "fortran_order": False, "shape": (rows, *self._shape)}
        npy.write_array_header_2_0(self._stream, header)

    def fits(self, piece: Array) -> bool:
        """Tell whether rows are like the first ones."""
        return piece.shape[1:] == self._shape and piece.dtype == self._dtype

    def write(self, piece: Array) -> None:
        """Add rows."""
        self._stream.write(np.ascontiguousarray(piece).data)

    def close(self) -> None:
        """End the file."""
        self._stream.close()
