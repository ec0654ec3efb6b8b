"""The signal stage and the whole audit, held against the bare pass of the model over the same batches."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.cases import Case
from benchmarks.results import Result, ratios, seconds

STAGE_TARGET, AUDIT_TARGET = 1.10, 1.35


@dataclass(frozen=True)
class _Batches:
    """How long something took, and the batches in which it sent the records of each role."""

    seconds: float
    stops: dict[str, list[int]]


def measure(name: str, case: Case, work: Path, repetitions: int) -> list[Result]:
    """Return the ratios of the signal stage and of the audit to the bare pass, interleaved.

    The bare pass maps the same files anew, slices the batches that the signal stage of the same repetition
    made, casts each to float32, and runs an open session on it: no labels, no checks, answers thrown away.
    The signal stage is `gather` with the loss on an open model, from the same files to one loss per record:
    with slicing, the check of the inputs, cast, session, loss and accuracy, the search for the batch size, and
    without planning (reading, digests). The audit is all of `Audit.run` with the JSON report, the scores as
    CSV and npz, opening the model and hashing the records included.
    """
    bare, stage, audit = [], [], []
    for repetition in range(repetitions + 1):
        gathered = _signal_stage(case)
        passed = _bare_pass(case, gathered.stops)
        whole = _audit(case, work / "report")
        if repetition:  # the first one warms the caches
            stage.append(gathered.seconds)
            bare.append(passed)
            audit.append(whole)
    size = max(np.diff(stops, prepend=0).max() for stops in gathered.stops.values())
    rows = (("signal stage", stage, STAGE_TARGET), ("audit, no plots", audit, AUDIT_TARGET))
    return [
        Result(
            f"{name}: {what} / bare pass",
            ratios(took, bare),
            target,
            details=f"{seconds(took)} / {seconds(bare)}, batches to {size}",
        )
        for what, took, target in rows
    ]


def _signal_stage(case: Case) -> _Batches:
    from pmcore import Audit
    from pmcore.gather import Batching, gather

    plan = Audit(**case.arguments).plan()
    model = plan.model.model
    some, _ = next(iter(plan.roles.feeds.values())).batch(0, 16)
    model.prepare(some)
    stops: dict[str, list[int]] = {role.value: [] for role in plan.roles.feeds}
    batching = Batching()
    began = perf_counter()
    for role, feed in plan.roles.feeds.items():
        gather(model, feed, plan.signals_of(role), batching, _noting(stops))
    took = perf_counter() - began
    model.close()
    return _Batches(took, stops)


def _noting(stops: dict[str, list[int]]) -> Callable[[str, int, int], None]:
    return lambda role, done, total: stops[role].append(done)


def _bare_pass(case: Case, stops: dict[str, list[int]]) -> float:
    """Run the model over members, then over non-members, in the batches of the roles cut from them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(case.model), options, providers=["CPUExecutionProvider"])
    cuts = {case.members: [stops["members"]], case.nonmembers: [stops["nonmembers"], stops["population"]]}
    session.run(None, {"x": np.load(case.members / "x.npy", mmap_mode="r")[:16].astype(np.float32)})
    began = perf_counter()
    for folder, parts in cuts.items():
        x = np.load(folder / "x.npy", mmap_mode="r")
        first = 0
        for part in parts:
            start = 0
            for stop in part:
                session.run(None, {"x": x[first + start : first + stop].astype(np.float32)})
                start = stop
            first += start
    return perf_counter() - began


def _audit(case: Case, out: Path) -> float:
    from pmcore import Audit

    shutil.rmtree(out, ignore_errors=True)
    began = perf_counter()
    Audit(**case.arguments, reports=["json"], out=str(out)).run()
    return perf_counter() - began
