"""A task for a trainer: a dense network that an installed backend writes, and records in well-separated classes."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np

from pmcore import registry
from pmcore.backend import load_model
from pmcore.errors import AuditError
from pmcore.installed import list_plugins, policy_from_environment
from pmcore.interfaces import Array, Floats, Model, TensorSpec, Trainer, TrainingTask
from pmcore.outputs import CLASSIFICATION
from pmcore.testing.backend_case import LARGEST, overrides
from pmcore.testing.checking import NotApplicable

WIDTHS = (6, 16, 3)
"""Features, hidden units and classes of the network."""
RECORDS = 240
CLASSES = 3
"""Most classes that records are made up for."""
FLOATS = ("float16", "float32", "float64")
APART = 2.0
"""Deviation of the classes' centres in each feature, where that of the records about them is 0.5."""


def made_target(trainer: Trainer, folder: Path, seed: int = 7) -> Path:
    """Write a dense network in a format that the trainer is for, or in any if it names none; return its path.

    Raises
    ------
    NotApplicable
        No installed backend writes such files.
    """
    policy = policy_from_environment(os.environ)
    reasons = []
    plugins = sorted(list_plugins("backends", policy), key=lambda plugin: plugin.third_party)
    for suffix in trainer.suffixes or (None,):
        for plugin in plugins:
            try:
                backend = registry.load("backends", plugin.name, policy)
                if not overrides(backend, "write_dense") or suffix not in (None, *backend.suffixes):
                    continue
                with registry.framework_needed("backends", plugin.name):
                    return _written(backend, suffix or next(iter(backend.suffixes), ""), folder, seed)
            except AuditError as error:
                reasons.append(str(error))
    named = ", ".join(trainer.suffixes) or "model"
    because = f" ({reasons[0]})" if reasons else ""
    raise NotApplicable(f"no installed backend writes {named} files{because}; give a target: TrainerCase(…, target=…)")


def _written(backend: type[Model], suffix: str, folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    pairs = list(pairwise(WIDTHS))
    weights = [(rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32) for shape in pairs]
    biases = [(rng.normal(size=shape[1]) / 2).astype(np.float32) for shape in pairs]
    folder.mkdir(parents=True)
    path = folder / f"target{suffix}"
    try:
        backend.write_dense(path, weights, biases)
    except AuditError:
        folder.rmdir()
        raise
    return path


def task_for(target: Path) -> TrainingTask:
    """Return a task on records that are made up for a target.

    Raises
    ------
    NotApplicable
        It is no classifier, or its inputs cannot be made up.
    PluginError
        Its framework is not installed.
    """
    loaded = load_model(str(target), policy_from_environment(os.environ))
    try:
        found = loaded.model.describe()
        if found.task not in CLASSIFICATION or not found.classes:
            raise NotApplicable(
                f"{target.name}: no records are made up for {found.task}; give a task: TrainerCase(…, task=…)"
            )
        rng = np.random.default_rng(5)
        labels = rng.permutation(np.arange(RECORDS) % min(max(found.classes, 2), CLASSES)).astype(np.int64)
        inputs = {spec.name: _about_centres(spec, labels, rng) for spec in found.inputs}
        loaded.model.prepare({name: array[:16] for name, array in inputs.items()})
        found = loaded.model.describe()
    finally:
        loaded.model.close()
    told = {key: str(value) for key, value in loaded.options.items() if value is not None and key != "threads"}
    return TrainingTask(
        target.absolute(), found.task, found.classes, found.output, found.scale, inputs, labels, options=told
    )


def _about_centres(spec: TensorSpec, labels: Array, rng: np.random.Generator) -> Array:
    """Return records, one for each label, close to the centre of its class."""
    shape = tuple(size or 1 for size in spec.record_shape)
    if spec.dtype not in FLOATS or np.prod(shape) > LARGEST // RECORDS:
        raise NotApplicable(
            f"no records are made up for input {spec.name} ({spec.dtype}); give a task: TrainerCase(…, task=…)"
        )
    centres: Floats = rng.normal(size=(int(labels.max()) + 1, *shape)) * APART
    records: Array = (centres[labels] + rng.normal(size=(len(labels), *shape)) / 2).astype(spec.dtype)
    return records
