"""What both sides of a comparison are given: records by role, networks as files and as weights, an estimator."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.cases import Array, export
from benchmarks.gradient_attacks import Problem, problems, role_files, trained
from benchmarks.peer_driver import ESTIMATORS, FEW, REFERENCES, SHADOWS

if TYPE_CHECKING:
    from torch import nn

RECORDS, FEWER = {"Location-30": 800}, 300
"""Members, as many non-members, and as many of the population; FEWER where there is no such number."""
HIDDEN, ITERATIONS = 64, 40
"""Width and training of the scikit-learn estimator."""


def write_case(folder: Path, data: Path) -> str:
    """Train everything and write what `peer_driver.Case` reads; return it in words."""
    folder.mkdir(parents=True, exist_ok=True)
    problem = list(problems(data))[-1]
    n = RECORDS.get(problem.name, FEWER)
    problem = replace(problem, x=problem.x.astype(np.float32), members=n, others=n)
    parts = problem.parts()
    spare = parts["population"][n:]
    parts["population"] = parts["population"][:n]
    few = {f"few_{role}": parts[role][:FEW] for role in ("members", "non_members")}
    role_files(problem, {**parts, **few}, folder)
    _write(folder, "model", trained(problem))
    rng = np.random.default_rng(0)
    size = min(n, len(spare) * 2 // 3)
    for index in range(REFERENCES):
        _write(folder, f"reference{index}", _trained_on(problem, rng.permutation(spare)[:size]))
    audited = np.concatenate([parts["members"], parts["non_members"]])
    halves = [rng.permutation(2 * n) < n for _ in range(SHADOWS // 2)]
    seen = np.stack([half == first for half in halves for first in (True, False)], axis=1)
    for index in range(SHADOWS):
        _write(folder, f"shadow{index}", _trained_on(problem, audited[seen[:, index]]))
    np.save(folder / "shadows.npy", seen)
    _write_estimator(folder, problem, parts["members"])
    return (
        f"{problem.name}: {n} members, {n} non-members, {n} of the population; {REFERENCES} references that saw "
        f"{size} other records each, {SHADOWS} shadow models and {ESTIMATORS} estimators that saw {n} of the audited"
    )


def _trained_on(problem: Problem, rows: Array) -> nn.Module:
    return trained(replace(problem, x=problem.x[rows], y=problem.y[rows], members=len(rows), others=0))


def _write(folder: Path, name: str, network: nn.Module) -> None:
    """Write a network as the file that pmcore audits, and as arrays of which a peer's process makes the same."""
    import torch

    export(network, torch.zeros(1, next(network.parameters()).shape[1]), folder / f"{name}.onnx")
    np.savez(folder / f"{name}.npz", *(array.detach().numpy() for array in network.parameters()))


def _write_estimator(folder: Path, problem: Problem, rows: Array) -> None:
    from sklearn.neural_network import MLPClassifier
    from skops.io import dump

    estimator = MLPClassifier((HIDDEN,), max_iter=ITERATIONS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged is meant
        estimator.fit(problem.x[rows].astype(np.float64), problem.y[rows])
    dump(estimator, folder / "estimator.skops")
