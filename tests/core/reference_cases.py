"""Audits with references: what each model answers is planted, and so is which record trained which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from numpy_backend import NumpyModel

from pmcore import Audit
from pmcore.checksums import files_sha256
from pmcore.outputs import Array
from pmcore.reference_manifest import (
    MANIFEST,
    MEMBERSHIP,
    Manifest,
    PoolPart,
    ReferencePart,
    TargetPart,
    TrainerPart,
    manifest_text,
)
from tests.core.cases import CLASSES, FEATURES, Case, make_case

MODELS = 8


@dataclass(frozen=True, eq=False)
class ReferenceCase:
    """An audit whose references know half of the records each.

    Parameters
    ----------
    logits : (r, n, k) what the references answer, members first
    membership : (n, r)
    """

    case: Case
    logits: Array
    membership: NDArray[np.bool_]
    archive: Path

    def audit(self, **settings: Any) -> Audit:
        return self.case.audit(**{"references": str(self.archive), "attacks": ("lira",), **settings})


def make_reference_case(
    folder: Path,
    leak: float = 2.0,
    n_members: int = 300,
    n_nonmembers: int = 600,
    models: int = MODELS,
    seed: int = 3,
) -> ReferenceCase:
    """Write an audit with recorded references; records differ in how easy they are, which every model sees alike."""
    case = make_case(folder, n_members, n_nonmembers, leak=0.0, seed=seed)
    rng = np.random.default_rng([3, seed])
    n = len(case.y)
    ease = rng.normal(0.0, 2.0, n)
    halves = rng.permuted(np.tile(np.arange(n) % 2 == 0, (models // 2, 1)), axis=1)
    membership = np.stack([halves, ~halves], axis=2).transpose(1, 0, 2).reshape(n, models)
    truth = np.arange(n) < n_members
    x = case.x.copy()
    x[np.arange(n), case.y] = 1.5 + ease + leak * truth + rng.normal(size=n)
    for name, rows in (("members", truth), ("nonmembers", ~truth)):
        np.savez(folder / f"{name}.npz", x=x[rows], y=case.y[rows])
    logits = np.zeros((models, n, CLASSES), dtype=np.float32)
    logits[:, np.arange(n), case.y] = 1.5 + ease + leak * membership.T + rng.normal(size=(models, n))
    archive = folder / "references.npz"
    np.savez(archive, logits=logits, membership=membership)
    return ReferenceCase(Case(folder, x, case.y, n_members, case.model), logits, membership, archive)


def write_network(path: Path, scale: float, classes: int = CLASSES, shift: float = 0.0) -> Path:
    """Write a linear network like the one of `make_case`, with other weights."""
    weights = np.zeros((FEATURES, classes), dtype=np.float32)
    weights[: min(classes, FEATURES), :classes] = scale * np.eye(min(classes, FEATURES), classes, dtype=np.float32)
    NumpyModel.write_dense(path, [weights], [np.full(classes, shift, dtype=np.float32) * np.arange(classes)])
    return path


def write_folder(folder: Path, case: Case, membership: NDArray[np.bool_], digests: Array, types: list[Any]) -> Path:
    """Write what `pmcore references` leaves behind, with networks that nobody trained."""
    (folder / "models").mkdir(parents=True)
    parts = []
    for index in range(membership.shape[1]):
        path = write_network(folder / "models" / f"{index:03}.npz", 1.0 + 0.1 * (index + 1))
        parts.append(
            ReferencePart(
                file=f"models/{index:03}.npz",
                sha256=files_sha256([path]),
                seed=index,
                records=int(membership[:, index].sum()),
                epochs=3,
                loss=0.1,
                accuracy_in=0.9,
                accuracy_out=0.8,
            )
        )
    np.savez(folder / MEMBERSHIP, membership=membership, digests=digests)
    manifest = Manifest(
        target=TargetPart(
            path=case.model.name,
            sha256=files_sha256([case.model]),
            backend="numpy",
            loss_members=0.1,
            accuracy_members=0.9,
            accuracy_others=0.8,
        ),
        pool=[PoolPart(path="members.npz", sha256="0" * 64, n=len(membership))],
        types=types,
        assign="in-out",
        seed=0,
        epochs=3,
        trainer=TrainerPart(name="nobody", distribution="pmcore", version="0", options={}),
        membership_sha256=files_sha256([folder / MEMBERSHIP]),
        models=parts,
    )
    (folder / MANIFEST).write_bytes(manifest_text(manifest))
    return folder
