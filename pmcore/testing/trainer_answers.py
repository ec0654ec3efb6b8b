"""A model that a trainer wrote, loaded as an audit loads a reference, and what it says about records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from pmcore.backend import Loading, load_model
from pmcore.installed import policy_from_environment
from pmcore.interfaces import Array, Model, Outputs, Task, Trained, TrainingTask
from pmcore.signals import Correctness, Loss
from pmcore.testing.checking import CheckFailed

BATCH = 64
SAMPLE = 16


@contextmanager
def opened(task: TrainingTask, trained: Trained) -> Iterator[Model]:
    """Load a trained model with what the target and `loading` say; close it afterwards."""
    told = trained.loading
    unknown = set(told) - {"backend", "output", "model_class"}
    if unknown:
        raise CheckFailed(f"`loading` names {', '.join(sorted(unknown))}; backend, output and model_class may be told")
    model_class = told.get("model_class", task.options.get("model_class"))
    loading = Loading(backend=told.get("backend"), output=told.get("output"), model_class=model_class)
    model = load_model(str(trained.file), policy_from_environment(os.environ), loading).model
    try:
        model.prepare({name: np.array(array[:SAMPLE]) for name, array in task.inputs.items()})
        yield model
    finally:
        model.close()


def asked(task: TrainingTask, trained: Trained, rows: Array) -> Outputs:
    """Return what a trained model says about records of a task."""
    with opened(task, trained) as model:
        found = [
            np.asarray(model.predict({name: np.array(array[part]) for name, array in task.inputs.items()}))
            for part in np.array_split(rows, max(len(rows) // BATCH, 1))
        ]
        described = model.describe()
    return Outputs(described.task, described.scale, np.array(task.labels[rows]), np.concatenate(found))


def predictions(outputs: Outputs) -> Array:
    """Return predictions, (t, k)."""
    assert outputs.predictions is not None
    return outputs.predictions


def knowledge(outputs: Outputs) -> tuple[float, float]:
    """Return how much is known of some records, and how much of it by guessing: both from 0 to 1, the whole.

    That is the share of records that are predicted right, or of the variance that is explained for a regression.
    """
    if outputs.task is Task.REGRESSION:
        spread = outputs.labels.astype(np.float64)
        variance = float(((spread - spread.mean(axis=0)) ** 2).reshape(len(spread), -1).sum(axis=1).mean())
        return 1.0 - float(Loss().compute(outputs).mean()) / (variance or 1.0), 0.0
    _, counts = np.unique(outputs.labels, axis=0, return_counts=True)
    return float(Correctness().compute(outputs).mean()), float(counts.max() / len(outputs))
