"""Every attack on Location-30 with references that were retrained from the file, in each form of the network.

Run it by ``python -m benchmarks.reference_attacks [--data location30.npz] [--count 16] [--forms onnx openvino torch]``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import location
from benchmarks.cases import LOCATION
from benchmarks.gradient_attacks import FORMS, Problem, role_files, shipped, trained
from benchmarks.processes import PMCORE, ROOT
from pmcore.reports.words import area_with_interval, rate_with_interval
from pmcore.schema import AuditReport, ReferencesPart, Share

if TYPE_CHECKING:
    from torch import nn

FACTORY = "benchmarks.reference_attacks:network"
ATTACKS = (
    "population",
    "reference",
    "lira",
    "lira:mode=offline",
    "lira:variance=shrink",
    "rmia",
    "rmia:mode=offline",
    "calibrated",
    "shadow",
    "quantile",
    "gap",
    "robustness:perturbation=bitflip",
    "boundary",
    "gradient",
    "gradient:calibrate=references",
    "nasr",
    "trained",
)
LIKE = 0.03
"""How far the accuracy of a reference may be from the model's."""


def main() -> int:
    """Print the tables; return 1 if LiRA or RMIA do not beat the population attack, or references are unlike."""
    given = _arguments()
    data = location.data_path(given.data)
    if not data.is_file():
        print(f"Location-30: SKIPPED, there is no {data}; give --data PATH or set {location.VARIABLE}", file=sys.stderr)
        return 0
    with np.load(data) as archive:
        x, y = archive["x"].astype(np.float32), archive["y"].astype(np.int64)
    problem = Problem("Location-30", x, y, LOCATION, location.MEMBERS, location.NONMEMBERS, location.EPOCHS)
    holds = True
    with tempfile.TemporaryDirectory(prefix="pmcore-bench-", dir=given.work) as folder:
        module = trained(problem)
        for form in given.forms:
            report, seconds = _audited(problem, module, form, Path(folder) / form, given.count, given.attacks)
            print("\n".join(_table(form, report, seconds)), flush=True)
            holds &= _holds(report)
    return 0 if holds else 1


def network() -> nn.Module:
    """Return the network of Location-30 with fresh weights, for `--model-class`."""
    from itertools import pairwise

    from torch import nn

    layers: list[nn.Module] = []
    for above, below in pairwise(LOCATION):
        layers += [nn.Linear(above, below), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reference_attacks", description=__doc__)
    parser.add_argument("--data", metavar="PATH", help=f"location30.npz; by default ${location.VARIABLE}, or here")
    parser.add_argument("--count", type=int, default=16, help="of references")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), metavar="ATTACK")
    parser.add_argument("--work", metavar="DIR", help="where temporary files go")
    return parser.parse_args()


def _audited(
    problem: Problem, module: nn.Module, form: str, work: Path, count: int, attacks: list[str]
) -> tuple[AuditReport, float]:
    """Return the report of one form of the network, and how long its references took."""
    from pmcore import Audit

    work.mkdir(parents=True)
    model = str(work / "model.safetensors") if form == "torch" else str(shipped(module, form, work))
    told = {"model_class": FACTORY} if form == "torch" else {}
    if form == "torch":
        from safetensors.torch import save_file

        save_file(module.state_dict(), model)
    files = role_files(problem, problem.parts(), work / "roles")
    command = [
        *(*PMCORE, "references", model, "--pool", files["members"], files["non_members"], "--count", str(count)),
        *("--out", str(work / "refs"), "--quiet"),
        *(("--model-class", FACTORY) if form == "torch" else ()),
    ]
    began = perf_counter()
    subprocess.run(command, cwd=ROOT, check=True)
    took = perf_counter() - began
    audit = Audit(model=model, **files, **told, attacks=attacks, references=str(work / "refs"), reports=["json"])
    return audit.run().report, took


def _table(form: str, report: AuditReport, seconds: float) -> Iterator[str]:
    assert report.references is not None
    models = len(report.references.models)
    yield f"Location-30, {form}, {models} references trained in {seconds:.0f} s; {_likeness(report.references, report)}"
    yield f"  {'attack':34} {'AUC':22} {'TPR at 1 % FPR':24} {'TPR at 0.1 % FPR'}"
    for name, attack in report.attacks.items():
        rates = [rate_with_interval(attack.tpr_at_fpr[key]) for key in ("0.01", "0.001")]
        yield f"  {name:34} {area_with_interval(attack.auc):22} {rates[0]:24} {rates[1]}"
    for part in report.skipped:
        yield f"  {part.attack:34} not run: {part.reason}"


def _likeness(part: ReferencesPart, report: AuditReport) -> str:
    inside = [_value(one.accuracy_inside) for one in part.models]
    outside = [_value(one.accuracy_outside) for one in part.models]
    own = _value(report.data.members.accuracy), _value(report.data.nonmembers.accuracy)
    return (
        f"accuracy {min(inside):.3f} to {max(inside):.3f} on what trained them (model {own[0]:.3f}), "
        f"{min(outside):.3f} to {max(outside):.3f} on others ({own[1]:.3f})"
    )


def _holds(report: AuditReport) -> bool:
    """Tell whether LiRA and RMIA beat the population attack, and the references' mean accuracies are the model's."""
    assert report.references is not None
    found = {name: attack.auc.value or 0.0 for name, attack in report.attacks.items()}
    ahead = all(found[name] > found["population"] for name in ("lira", "rmia") if {name, "population"} <= found.keys())
    models = report.references.models
    gaps = (
        np.mean([_value(one.accuracy_inside) for one in models]) - _value(report.data.members.accuracy),
        np.mean([_value(one.accuracy_outside) for one in models]) - _value(report.data.nonmembers.accuracy),
    )
    return ahead and bool(max(map(abs, gaps)) <= LIKE)


def _value(share: Share | None) -> float:
    assert share is not None
    assert share.value is not None
    return share.value


if __name__ == "__main__":
    sys.exit(main())
