"""From trained models to the finished folder: each is asked about the pool, and the manifest is written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore.backend import Loading, load_model, loading_from
from pmcore.data import Progress
from pmcore.errors import ModelError
from pmcore.feed import Feed
from pmcore.installed import PluginPolicy
from pmcore.plugin_failures import answerable
from pmcore.reference_manifest import Manifest, ReferencePart, TargetPart, TrainerPart, manifest_text
from pmcore.reference_set import check_description, loading_of
from pmcore.reference_training.assignment import seed_of
from pmcore.reference_training.measuring import Knowledge, measure
from pmcore.reference_training.plan import TrainingPlan
from pmcore.reference_training.pool import Pool
from pmcore.reference_training.settings import ReferenceSettings
from pmcore.reference_training.target import Target
from pmcore.reference_training.work_folder import Facts, WorkFolder


@dataclass(frozen=True)
class Finishing:
    """What stands in the manifest, besides the references themselves."""

    folder: WorkFolder
    settings: ReferenceSettings
    policy: PluginPolicy
    plan: TrainingPlan
    target: Target
    trainer: TrainerPart


def finish(parts: Finishing, pool: Pool, membership: NDArray[np.bool_], progress: Progress) -> Manifest:
    """Ask every reference about the pool, write manifest and membership matrix, and return the manifest.

    Parameters
    ----------
    membership : (n, r)

    Raises
    ------
    AuditError
        A reference cannot be loaded or asked, or is not of the target's kind.
    """
    plan, target = parts.plan, parts.target
    matrix = _packed(membership, pool)
    models = []
    for index, facts in parts.folder.every():
        models.append(_measured(parts, index, facts, pool, membership[:, index]))
        progress("measuring", len(models), plan.count)
    manifest = Manifest(
        target=TargetPart(
            path=plan.target,
            sha256=plan.target_sha256,
            backend=plan.backend,
            loss_members=None if target.members is None else target.members.loss,
            accuracy_members=None if target.members is None else target.members.accuracy,
            accuracy_others=None if target.others is None else target.others.accuracy,
        ),
        pool=plan.pool,
        types=plan.types,
        assign=plan.assign,
        seed=plan.seed,
        epochs=plan.epochs,
        trainer=parts.trainer,
        membership_sha256=sha256(matrix).hexdigest(),
        models=models,
    )
    parts.folder.finish(matrix, manifest_text(manifest))
    return manifest


def _measured(parts: Finishing, index: int, facts: Facts, pool: Pool, inside: NDArray[np.bool_]) -> ReferencePart:
    path = parts.folder.out / facts.file
    try:
        loaded = load_model(str(path), parts.policy, _loading(parts.settings, path, facts))
        try:
            with answerable(loaded.plugin):
                loaded.model.prepare(pool.feeds[pool.files[0]].sample())
                check_description(loaded.model.describe(), pool.description, str(path))
                known, unknown = (measure(loaded.model, _part(pool, side)) for side in (inside, ~inside))
        finally:
            loaded.model.close()
    except ModelError as error:
        raise type(error)(f"{path}: {error}") from error
    return ReferencePart(
        file=facts.file,
        sha256=facts.sha256,
        seed=seed_of(parts.plan.seed, index),
        records=int(inside.sum()),
        epochs=facts.epochs,
        loss=facts.loss if facts.loss is not None or known is None else known.loss,
        accuracy_in=_accuracy(known),
        accuracy_out=_accuracy(unknown),
        loading=facts.loading,
    )


def _loading(settings: ReferenceSettings, path: Path, facts: Facts) -> Loading:
    """Return how a reference is loaded; who vouched for the target vouches for what was just made of it."""
    loading = loading_of(settings.model, loading_from(settings), path, facts.loading)
    return loading if settings.trust_model is None else replace(loading, trust_model=f"sha256:{facts.sha256}")


def _part(pool: Pool, chosen: NDArray[np.bool_]) -> Iterator[Feed]:
    """Yield the chosen records of the pool, file by file."""
    start = 0
    for path in pool.files:
        feed = pool.feeds[path]
        rows = np.flatnonzero(chosen[start : start + len(feed)]).astype(np.int64)
        start += len(feed)
        yield replace(feed, records=feed.records.select(rows))


def _accuracy(known: Knowledge | None) -> float | None:
    return None if known is None else known.accuracy


def _packed(membership: NDArray[np.bool_], pool: Pool) -> bytes:
    """Return the membership matrix as it is written."""
    packed = io.BytesIO()
    np.savez_compressed(packed, membership=membership, digests=pool.digests)
    return packed.getvalue()
