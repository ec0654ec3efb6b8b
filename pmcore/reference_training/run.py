"""From settings to a finished folder of references, or on from where an earlier process was ended."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore.backend import LoadedModel, load_model, loading_from
from pmcore.data import Progress, Records
from pmcore.errors import AuditError, Complaints, InputError
from pmcore.installed import PluginPolicy, policy_from_environment, surveyed_once
from pmcore.outputs import CLASSIFICATION
from pmcore.plugin_failures import answerable
from pmcore.reference_manifest import Manifest
from pmcore.reference_training.assignment import assign, check_strata, strata_of
from pmcore.reference_training.finishing import Finishing, finish
from pmcore.reference_training.missing import train_missing
from pmcore.reference_training.plan import make_plan, trainer_part
from pmcore.reference_training.pool import Pool, make_pool, read_pool
from pmcore.reference_training.resuming import begun_plan, finished_manifest
from pmcore.reference_training.settings import ReferenceSettings
from pmcore.reference_training.storing import store_task
from pmcore.reference_training.target import measured_target
from pmcore.reference_training.trainers import ChosenTrainer, able_trainer, named_trainer
from pmcore.reference_training.work_folder import WorkFolder
from pmcore.training import TrainingTask


@dataclass(frozen=True)
class TrainedReferences:
    """A folder of references.

    Parameters
    ----------
    already : how many of them had been finished before
    """

    out: Path
    manifest: Manifest
    already: int


def train_references(settings: ReferenceSettings, progress: Progress | None = None) -> TrainedReferences:
    """Train the references of a target and write them, with their manifest and membership matrix.

    Raises
    ------
    AuditError
        Something does not fit; a trainer refuses or fails; a worker dies; the disk is full.
    """
    try:
        with surveyed_once():
            return _train(settings, progress or _silent)
    except OSError as error:
        if error.filename is not None:
            raise
        text = error.strerror or str(error)
        raise AuditError(
            f"{settings.out}{os.sep}: {text[:1].lower()}{text[1:]} - free some space, or choose another --out"
        ) from None


@dataclass(frozen=True)
class _Given:
    """What was given, as far as it could be checked one by one."""

    settings: ReferenceSettings
    policy: PluginPolicy
    model: LoadedModel
    tables: dict[str, Records]
    named: ChosenTrainer | None


def _train(settings: ReferenceSettings, progress: Progress) -> TrainedReferences:
    policy = policy_from_environment(os.environ, no_third_party=not settings.third_party)
    complaints = Complaints()
    folder = model = named = None
    with complaints.collect():
        folder = WorkFolder(Path(settings.out), settings.resume)
    with complaints.collect():
        named = named_trainer(settings, policy)
    with complaints.collect():
        loading = loading_from(settings)
        model = load_model(settings.model, policy, loading)
    tables = read_pool(settings, policy, complaints)
    try:
        complaints.raise_any()
        assert model is not None
        assert folder is not None
        return _trained_in(folder, _Given(settings, policy, model, tables, named), progress)
    finally:
        if model is not None:
            model.model.close()


def _trained_in(folder: WorkFolder, given: _Given, progress: Progress) -> TrainedReferences:
    settings, model = given.settings, given.model
    with answerable(model.plugin):
        pool = make_pool(given.tables, model.model, model.source, settings, progress)
    membership = _membership(pool, settings)
    if settings.epochs == "auto" and not pool.sides.members:
        raise InputError(
            "epochs: auto trains until a reference knows its records as the target knows its members - name these "
            "with --members, or give a number of epochs"
        )
    with folder:
        task = _task(given, pool)
        stored = store_task(task, pool, folder.scratch, progress)
        chosen = able_trainer(given.named, settings, stored.opened(), given.policy)
        plan = make_plan(settings, model, pool, chosen.plugin, chosen.trainer)
        finished = finished_manifest(folder, plan)
        if finished is not None:
            folder.dismiss()
            return TrainedReferences(folder.out, finished, plan.count)
        plan = begun_plan(folder, plan)
        target = measured_target(folder, model, pool, progress)
        model.model.close()
        stored = replace(stored, task=replace(stored.task, goal=target.goal))
        already = len(list(folder.every()))
        trainer = train_missing(folder, chosen, stored, membership, settings, progress)
        part = trainer_part(chosen.plugin, trainer)
        manifest = finish(Finishing(folder, settings, given.policy, plan, target, part), pool, membership, progress)
    return TrainedReferences(folder.out, manifest, already)


def _membership(pool: Pool, settings: ReferenceSettings) -> NDArray[np.bool_]:
    strata = strata_of(pool.labels, pool.single_labels)
    classes = max(pool.description.classes, 2) if pool.description.task in CLASSIFICATION else 1
    check_strata(pool.digests, strata, classes, pool.sources, pool.files)
    return assign(pool.digests, strata, settings.count, settings.seed)


def _task(given: _Given, pool: Pool) -> TrainingTask:
    description = pool.description
    told = {key: str(value) for key, value in given.model.options.items() if value is not None and key != "threads"}
    epochs = given.settings.epochs
    return TrainingTask(
        target=Path(given.settings.model).absolute(),
        task=description.task,
        classes=description.classes,
        output=description.output,
        scale=description.scale,
        inputs={},
        labels=pool.labels,
        epochs=None if epochs == "auto" else epochs,
        options=told,
    )


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
