"""Everything that determines a set of references, so that one that was begun is gone on with as it began."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pmcore.backend import LoadedModel
from pmcore.installed import Plugin
from pmcore.interfaces import Trainer
from pmcore.option_docs import resolved_options
from pmcore.reference_manifest import Manifest, PoolPart, TrainerPart
from pmcore.reference_training.pool import Pool
from pmcore.reference_training.settings import ReferenceSettings

_NOT_DECISIVE = {"device", "threads", "trust_model"}
"""Options of a backend that tell where it computes, and not what."""


class TrainingPlan(BaseModel):
    """What was given, by content: the same plan gives the same files.

    Parameters
    ----------
    loading : what the target's backend was told
    members, others : hashes of the files that the target is measured on
    trainer : with its options as they were asked for
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    target_sha256: str | None
    backend: str
    loading: dict[str, Any]
    pool: list[PoolPart]
    types: list[str]
    preprocessing: list[str]
    members: list[str]
    others: list[str]
    assign: Literal["in-out", "out-only"]
    count: int
    seed: int
    epochs: int | None
    trainer: TrainerPart


def make_plan(
    settings: ReferenceSettings, model: LoadedModel, pool: Pool, plugin: Plugin, trainer: Trainer
) -> TrainingPlan:
    """Return what determines the references."""

    def hashes(paths: tuple[str, ...]) -> list[str]:
        return [pool.feeds[path].records.sha256 for path in paths]

    return TrainingPlan(
        target=model.path,
        target_sha256=model.sha256,
        backend=model.plugin.name,
        loading={key: value for key, value in model.options.items() if key not in _NOT_DECISIVE},
        pool=[
            PoolPart(path=path, sha256=sha256, n=len(pool.feeds[path]))
            for path, sha256 in zip(pool.files, hashes(pool.files), strict=True)
        ],
        types=list(pool.types),
        preprocessing=list(pool.feeds[pool.files[0]].discovery.steps),
        members=hashes(pool.sides.members),
        others=hashes(pool.sides.others),
        assign=settings.assign,
        count=settings.count,
        seed=settings.seed,
        epochs=None if settings.epochs == "auto" else settings.epochs,
        trainer=trainer_part(plugin, trainer),
    )


def trainer_part(plugin: Plugin, trainer: Trainer) -> TrainerPart:
    """Return the trainer with its options as it stands in plan and manifest."""
    options = resolved_options(trainer)
    return TrainerPart(name=plugin.name, distribution=plugin.distribution, version=plugin.version, options=options)


def difference(begun: TrainingPlan, given: TrainingPlan) -> str | None:
    """Return the first thing in which two plans differ, in words; paths may."""
    then, now = _decisive(begun), _decisive(given)
    return next((_told(key, then[key], now[key]) for key in then if then[key] != now[key]), None)


def difference_from_manifest(manifest: Manifest, given: TrainingPlan) -> str | None:
    """Return the first thing in which a plan differs from references that are finished, as far as these tell."""
    then = {
        "target": manifest.target.sha256,
        "backend": manifest.target.backend,
        "pool": [part.sha256 for part in manifest.pool],
        "types": manifest.types,
        "assign": manifest.assign,
        "count": len(manifest.models),
        "seed": manifest.seed,
        "epochs": manifest.epochs,
        "trainer": manifest.trainer.name,
    }
    now = _decisive(given)
    return next((_told(key, then[key], now[key]) for key in then if then[key] != now[key]), None)


def _decisive(plan: TrainingPlan) -> dict[str, Any]:
    trainer = plan.trainer
    return {
        "target": plan.target_sha256,
        "pool": [part.sha256 for part in plan.pool],
        "count": plan.count,
        "assign": plan.assign,
        "seed": plan.seed,
        "epochs": plan.epochs,
        "trainer": trainer.name,
        "options of the trainer": trainer.options,
        "version of the trainer": f"{trainer.distribution} {trainer.version}",
        "members": plan.members,
        "non-members": plan.others,
        "backend": plan.backend,
        "options of the backend": plan.loading,
        "preprocessing": plan.preprocessing,
        "types": plan.types,
    }


def _told(key: str, then: Any, now: Any) -> str:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted(then.keys() | now.keys()):
            if then.get(name) != now.get(name):
                return _told(f"{key}: {name}", then.get(name), now.get(name))
    if key in ("target", "pool", "members", "non-members"):
        return f"{key}: other contents than when it was begun"
    shown = ["auto" if key == "epochs" and value is None else value for value in (then, now)]
    return f"{key}: {shown[0]} when it was begun, now {shown[1]}"
