"""Whole audit cases on disk: a dense network with known weights, and records that it does or does not know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy_backend import NumpyModel

from pmcore import Audit
from pmcore.interfaces import Model
from pmcore.outputs import Array, Floats

CLASSES = 4
FEATURES = 12


@dataclass(frozen=True)
class Case:
    """Files of one audit and the arrays that they hold."""

    folder: Path
    x: Array
    y: Array
    n_members: int
    model: Path

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "model": str(self.model),
            "members": str(self.folder / "members.npz"),
            "non_members": str(self.folder / "nonmembers.npz"),
        }

    def audit(self, **settings: Any) -> Audit:
        return Audit(**{**self.arguments, **settings})


def make_case(
    folder: Path,
    n_members: int = 300,
    n_nonmembers: int = 600,
    leak: float = 1.5,
    seed: int = 0,
    backend: type[Model] = NumpyModel,
) -> Case:
    """Write a linear softmax model and records whose members have `leak` more margin than the others.

    The model reads one feature per class, so a record's logits are its first four features: the leak is planted
    in the records, with a Gaussian margin of unit variance. `backend` writes the model, by default in a format that
    needs no framework.
    """
    rng = np.random.default_rng(seed)
    n = n_members + n_nonmembers
    y = rng.integers(0, CLASSES, n)
    x = rng.normal(size=(n, FEATURES)).astype(np.float32)
    margin = rng.normal(1.5, 1.0, n) + np.where(np.arange(n) < n_members, leak, 0.0)
    x[:, :CLASSES] = 0.0
    x[np.arange(n), y] = margin
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.zeros((FEATURES, CLASSES), dtype=np.float32)
    weights[:CLASSES] = np.eye(CLASSES)
    model = folder / f"model{backend.suffixes[0]}"
    backend.write_dense(model, [weights], [np.zeros(CLASSES, dtype=np.float32)])
    write_records(folder / "members.npz", x[:n_members], y[:n_members])
    write_records(folder / "nonmembers.npz", x[n_members:], y[n_members:])
    return Case(folder, x, y, n_members, model)


def write_records(path: Path, x: Array, y: Array) -> None:
    np.savez(path, x=x, y=y)


def losses(case: Case) -> Floats:
    """Return the cross-entropy of every record, members first, by plain numpy."""
    z = case.x[:, :CLASSES].astype(np.float64)
    value: Floats = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), case.y]
    return value
