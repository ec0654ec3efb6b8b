"""Location-30: an overfitted network, whose AUC must be what plain numpy finds on the same logits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import LOCATION, export
from pmcore.schema import RolePart

VARIABLE = "PMCORE_BENCH_DATA"
FILE = "location30.npz"
"""Arrays x (5 010, 446) of bits and y (5 010,): the data set of Shokri et al. (S&P 2017), which is not shipped."""
MEMBERS = NONMEMBERS = 1_600
EPOCHS, BATCH, RATE = 40, 64, 1e-3
AGREEMENT = 1e-9

Array = NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """What the audit found, and what plain numpy finds."""

    text: str
    difference: float

    @property
    def agrees(self) -> bool:
        """Return whether both are the same but for rounding."""
        return self.difference <= AGREEMENT


def data_path(given: str | None) -> Path:
    """Return where the data set is: as given, as the environment says, or in the current folder."""
    return Path(given or os.environ.get(VARIABLE) or FILE)


def compare(data: Path, work: Path) -> Comparison:
    """Train, export and audit the network, and compare with plain numpy on the logits of the same file."""
    from pmcore import Audit

    with np.load(data) as archive:
        x, y = archive["x"], archive["y"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(y))
    parts = np.split(order, [MEMBERS, MEMBERS + NONMEMBERS])
    files = {}
    for role, rows in zip(("members", "nonmembers", "population"), parts, strict=True):
        files[role] = work / f"{role}.npz"
        np.savez(files[role], x=x[rows], y=y[rows])
    train(x[parts[0]], y[parts[0]], work / "model.onnx")
    found = Audit(
        model=str(work / "model.onnx"),
        members=str(files["members"]),
        non_members=str(files["nonmembers"]),
        population=str(files["population"]),
        reports=["json"],
        out=str(work / "report"),
    ).run()
    attack = found.report.attacks["population"]
    assert attack.auc.value is not None
    inside, outside = (losses(work / "model.onnx", x[rows], y[rows]) for rows in parts[:2])
    by_hand = mann_whitney(-inside, -outside)
    difference = abs(attack.auc.value - by_hand)
    at = attack.tpr_at_fpr["0.01"]
    text = "\n".join(
        [
            f"Location-30: {MEMBERS} members, {NONMEMBERS} non-members, {len(parts[2])} population records",
            f"  AUC                {attack.auc.value:.12f}  [{attack.auc.low:.4f}, {attack.auc.high:.4f}]",
            f"  AUC, plain numpy   {by_hand:.12f}",
            f"  difference         {difference:.1e}  (at most {AGREEMENT:g})",
            f"  TPR at 1 % FPR     {at.value:.4f}  [{at.low:.4f}, {at.high:.4f}]",
            f"  accuracy           {_accuracy(found.report.data.members)} on members, "
            f"{_accuracy(found.report.data.nonmembers)} on non-members; valid: {found.report.valid}",
        ]
    )
    return Comparison(text, difference)


def _accuracy(part: RolePart) -> str:
    return "unknown" if part.accuracy is None or part.accuracy.value is None else f"{part.accuracy.value:.3f}"


def train(x: Array, y: Array, path: Path) -> None:
    """Train the network until it knows its records by heart, and export it."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for above, below in pairwise(LOCATION):
        layers += [nn.Linear(above, below), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    inputs, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels))
        for start in range(0, len(labels), BATCH):
            rows = order[start : start + BATCH]
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(inputs[rows]), labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    export(network, inputs[:1], path)


def losses(model: Path, x: Array, y: Array) -> NDArray[np.float64]:
    """Return logsumexp(z) - z_y in float64, shape (n,), from a session of its own."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    z = session.run(None, {"x": x.astype(np.float32)})[0].astype(np.float64)
    top = z.max(axis=1)
    result: NDArray[np.float64] = top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - z[np.arange(len(z)), y]
    return result


def mann_whitney(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Return P(member > non-member) + P(equal) / 2 by mid-ranks in the pooled sample."""
    pooled = np.concatenate([inside, outside])
    _, which, counts = np.unique(pooled, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
    n1, n0 = len(inside), len(outside)
    return float((ranks[:n1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
