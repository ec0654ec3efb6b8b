"""Folders as an audit leaves them, of scores that a test makes up: report.json and scores.npz, no model asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmcore.interfaces import Floats
from pmcore.reports.json_report import JsonReport
from pmcore.schema import AuditReport
from pmcore.scores import write_arrays
from pmcore.testing.example_report import attack_from_scores, example_report


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of an attack on members (n1,) and on non-members (n0,)."""

    members: Floats
    nonmembers: Floats


def gaussian(shift: float, n1: int = 400, n0: int = 500, seed: int = 0) -> Scores:
    """Return scores N(shift, 1) of members and N(0, 1) of non-members."""
    rng = np.random.default_rng(seed)
    return Scores(rng.normal(shift, 1, n1), rng.normal(0, 1, n0))


def beside(scores: Scores, shift: float, correlation: float, seed: int = 1) -> Scores:
    """Return scores of the same records, members `shift` higher, correlated with these Gaussian ones."""
    rng = np.random.default_rng(seed)
    rest = np.sqrt(1 - correlation**2)
    centre = scores.members.mean()
    return Scores(
        correlation * (scores.members - centre)
        + centre
        + shift
        + rest * rng.normal(0, scores.members.std(), scores.members.size),
        correlation * scores.nonmembers + rest * rng.normal(0, 1, scores.nonmembers.size),
    )


def store(
    folder: Path,
    attacks: Mapping[str, Scores],
    rows: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    columns: Mapping[str, Any] | None = None,
    **changes: Any,
) -> str:
    """Write the folder of an audit and return its path.

    Parameters
    ----------
    rows : which of the members and of the non-members were audited; all by default
    columns : further columns of scores.npz, or others in place of its own
    changes : whole parts of the report
    """
    first = next(iter(attacks.values()))
    inside, outside = rows if rows is not None else (np.arange(first.members.size), np.arange(first.nonmembers.size))
    found = {
        name: attack_from_scores(scores.members[inside], scores.nonmembers[outside], classes=1)
        for name, scores in attacks.items()
    }
    report: AuditReport = example_report(found, n=len(inside), **changes)
    arrays: dict[str, Any] = {
        "id": np.concatenate([inside, outside]),
        "role": np.repeat(np.array([1, 0], dtype=np.int8), [len(inside), len(outside)]),
        "label": np.concatenate([inside, outside]) % 3,
    }
    for name, scores in attacks.items():
        arrays[f"{name}.score"] = np.concatenate([scores.members[inside], scores.nonmembers[outside]])
    folder.mkdir(parents=True)
    (folder / "report.json").write_bytes(JsonReport().render(report)["report.json"])
    with (folder / "scores.npz").open("wb") as stream:
        write_arrays(stream, arrays | dict(columns or {}))
    return str(folder)


def other_file(report: AuditReport, role: str) -> Any:
    """Return the data of a report with another file behind a role."""
    part = getattr(report.data, role).model_copy(update={"path": f"other-{role}.npz", "sha256": "cd" * 32})
    return report.data.model_copy(update={role: part})
