"""What an earlier process left in the folder: a finished set, or one that is gone on with as it was begun."""

from __future__ import annotations

import os

from pmcore.errors import InputError
from pmcore.reference_manifest import MANIFEST, Manifest, read_manifest
from pmcore.reference_training.missing import TRAINER
from pmcore.reference_training.plan import TrainingPlan, difference, difference_from_manifest
from pmcore.reference_training.work_folder import Facts, WorkFolder, reference_sha256

PLAN = "plan.json"


def finished_manifest(folder: WorkFolder, plan: TrainingPlan) -> Manifest | None:
    """Return the manifest if nothing is left to do; where models of a finished set are gone, take the others over.

    Raises
    ------
    InputError
        The folder holds references of another plan.
    """
    begun = folder.read_json(PLAN)
    other = difference(TrainingPlan.model_validate(begun), plan) if begun is not None else None
    manifest = read_manifest(folder.out) if (folder.out / MANIFEST).is_file() else None
    if other is None and manifest is not None:
        other = difference_from_manifest(manifest, plan)
    if other is not None:
        raise InputError(f"{folder.out}{os.sep}: {other} - give the same, or choose another --out")
    if manifest is None:
        return None
    parts = list(enumerate(manifest.models))
    whole = [(index, part) for index, part in parts if reference_sha256(folder.out, part.file) == part.sha256]
    if len(whole) == len(parts):
        return manifest
    for index, part in whole:
        folder.note(index, Facts(part.file, part.sha256, part.epochs, part.loss, part.loading))
    folder.write_json(TRAINER, manifest.trainer.options)
    return None


def begun_plan(folder: WorkFolder, plan: TrainingPlan) -> TrainingPlan:
    """Return the plan as it was begun, whose paths the manifest names; write it down if this is the beginning."""
    begun = folder.read_json(PLAN)
    if begun is not None:
        return TrainingPlan.model_validate(begun)
    folder.write_json(PLAN, plan.model_dump(mode="json"))
    return plan
