"""Reference attacks beside bare numpy, their memory, and retraining beside a plain loop of torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import LOCATION, export
from benchmarks.processes import PMCORE, ROOT
from benchmarks.reference_attacks import network
from benchmarks.results import Result, ratios, seconds
from pmcore.evidence import Evidence, EvidenceKey, Source

if TYPE_CHECKING:
    from pmcore_reference import LiraAttack

RMIA_TARGET, RMIA_MEMORY_MB = 1.3, 20.0
LIRA_TARGET = 2.0
STREAM_MB = 1_024.0
RETRAINING_TARGET = 1 / 1.8
COUNT, EPOCHS, BATCH, RATE, RECORDS = 16, 20, 64, 1e-3, 3_200

Floats = NDArray[np.float64]


def measure(work: Path, repetitions: int) -> list[Result]:
    """Return all ratios; on one thread, but for retraining, which may use what there is."""
    work.mkdir(parents=True, exist_ok=True)
    return [*_rmia(repetitions), *_lira(repetitions), _stream(), _retraining(work, min(repetitions, 3))]


def _rmia(repetitions: int, n: int = 20_000, models: int = 8) -> list[Result]:
    """Return the time of RMIA beside the same by sort and searchsorted, and what memory it takes above it."""
    from pmcore_reference import RmiaAttack

    rng = np.random.default_rng(0)
    name = "log_confidence"
    arrays = {
        EvidenceKey(Source.TARGET, name): -rng.exponential(size=n),
        EvidenceKey(Source.POPULATION, name): -rng.exponential(size=n),
        EvidenceKey(Source.REFERENCES, name): -rng.exponential(size=(models, n)),
        EvidenceKey(Source.POPULATION_REFERENCES, name): -rng.exponential(size=(models, n)),
    }
    halves = rng.permuted(np.tile(np.arange(models) % 2 == 0, (n, 1)), axis=1)
    evidence = Evidence(
        arrays=arrays,
        labels=np.zeros(n, dtype=np.int64),
        population_labels=np.zeros(n, dtype=np.int64),
        lower_is_member={name: False},
        classes=2,
        reference_membership=halves,
    )
    x, z, of_x, of_z = (arrays[key] for key in arrays)
    attack = RmiaAttack(a=0.3)

    def bare() -> Floats:
        p, q = np.exp(of_x), np.exp(of_z)
        inside = (p * halves.T).sum(axis=0) / halves.sum(axis=1)
        outside = (p * ~halves.T).sum(axis=0) / (~halves).sum(axis=1)
        ratio_x = np.exp(x) / ((inside + outside) / 2)
        ratio_z = np.exp(z) / (((1 + 0.3) * q.mean(axis=0) + 0.7) / 2)
        shares: Floats = np.searchsorted(np.sort(ratio_z), ratio_x / 2.0) / len(ratio_z)
        return shares

    ours, theirs = _interleaved(lambda: attack.score(evidence), bare, 5 * repetitions)
    extra = (_peak(lambda: attack.score(evidence)) - _peak(bare)) / 2**20
    details = f"{seconds(ours)} / {seconds(theirs)}"
    return [
        Result("RMIA 20 000 x 20 000, 8 references / bare numpy", ratios(ours, theirs), RMIA_TARGET, details=details),
        Result("RMIA, memory above bare numpy", (max(extra, 0.0),), RMIA_MEMORY_MB, "MB"),
    ]


def _lira(repetitions: int, n: int = 5_000, models: int = 64) -> list[Result]:
    """Return the time of LiRA, online, beside the textbook's formula in bare numpy, with medians and with means."""
    from pmcore_reference import LiraAttack

    evidence = _lira_evidence(n, models)
    phi = evidence.target("rescaled_logit")
    of_references = evidence.references("rescaled_logit")
    assert evidence.reference_membership is not None
    inside = evidence.reference_membership.T

    def density(centre: Floats, spread: Floats) -> Floats:
        found: Floats = -0.5 * np.square((phi - centre) / spread) - np.log(spread)
        return found

    def by_medians(side: NDArray[np.bool_]) -> Floats:
        values = np.where(side, of_references, np.nan)
        return density(np.nanmedian(values, axis=0), np.nanstd(values, axis=0))

    def by_means(side: NDArray[np.bool_]) -> Floats:
        count = side.sum(axis=0)
        mean = (of_references * side).sum(axis=0) / count
        return density(mean, np.sqrt((np.square(of_references - mean) * side).sum(axis=0) / count))

    return [
        _lira_row(LiraAttack(), evidence, lambda: by_medians(inside) - by_medians(~inside), repetitions),
        _lira_row(LiraAttack(centre="mean"), evidence, lambda: by_means(inside) - by_means(~inside), repetitions),
    ]


def _lira_row(attack: LiraAttack, evidence: Evidence, bare: Callable[[], Floats], repetitions: int) -> Result:
    ours, theirs = _interleaved(lambda: attack.score(evidence), bare, 3 * repetitions)
    title = f"LiRA 5 000 x 64 / bare numpy, {attack.centre}s"
    return Result(title, ratios(ours, theirs), LIRA_TARGET, details=f"{seconds(ours)} / {seconds(theirs)}")


def _lira_evidence(n: int, models: int) -> Evidence:
    rng = np.random.default_rng(1)
    membership = rng.permuted(np.tile(np.arange(models) % 2 == 0, (n, 1)), axis=1)
    of_references = rng.normal(size=(models, n)) + membership.T
    return Evidence(
        arrays={
            EvidenceKey(Source.TARGET, "rescaled_logit"): rng.normal(size=n),
            EvidenceKey(Source.REFERENCES, "rescaled_logit"): of_references,
        },
        labels=np.zeros(n, dtype=np.int64),
        lower_is_member={"rescaled_logit": False},
        classes=2,
        reference_membership=membership,
    )


def _stream(n: int = 50_000, models: int = 256) -> Result:
    """Return the peak memory of a process that audits with many recorded references."""
    program = f"""
import numpy as np, tempfile, pathlib
from benchmarks.processes import print_own_peak
from benchmarks.cases import dense_case
from pmcore import Audit
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    rng = np.random.default_rng(0)
    n, models = {n}, {models}
    x, y = rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 2, n)
    for name, rows in (("members", slice(0, n // 2)), ("nonmembers", slice(n // 2, n))):
        np.savez(folder / f"{{name}}.npz", x=x[rows], y=y[rows])
    from pmcore_onnx import OnnxModel
    for index in range(models + 1):
        weights = rng.normal(size=(4, 2)).astype(np.float32)
        OnnxModel.write_dense(folder / f"{{index}}.onnx", [weights], [np.zeros(2, np.float32)])
    halves = rng.permuted(np.tile(np.arange(models) % 2 == 0, (n, 1)), axis=1)
    np.save(folder / "membership.npy", halves)
    del halves
    audit = Audit(
        model=str(folder / f"{{models}}.onnx"), members=str(folder / "members.npz"),
        non_members=str(folder / "nonmembers.npz"), expected_accuracy=None, attacks=["lira"],
        references=[str(folder / f"{{index}}.onnx") for index in range(models)],
        reference_membership=str(folder / "membership.npy"), reports=["json"], out=str(folder / "report"),
    )
    audit.run()
    print_own_peak()
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    peak = int(ended.stdout.splitlines()[-1]) / 2**20
    return Result("LiRA 50 000 x 256 references, peak of the process", (peak,), STREAM_MB, "MB")


def _retraining(work: Path, repetitions: int) -> Result:
    """Return the time of `pmcore references`, processes and all, beside a plain loop of torch in a fresh process."""
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 2, (RECORDS, LOCATION[0])).astype(np.float32), rng.integers(0, LOCATION[-1], RECORDS)
    half = RECORDS // 2
    np.savez(work / "members.npz", x=x[:half], y=y[:half])
    np.savez(work / "nonmembers.npz", x=x[half:], y=y[half:])
    _network(work / "model.onnx")
    refs = work / "refs"
    command = [
        *(*PMCORE, "references", str(work / "model.onnx"), "--pool", str(work / "members.npz")),
        *(str(work / "nonmembers.npz"), "--count", str(COUNT), "--epochs", str(EPOCHS), "--out", str(refs), "--quiet"),
    ]
    loop = [sys.executable, "-c", f"from benchmarks.references import plain_loop; plain_loop({str(work)!r})"]
    ours, theirs = [], []
    for _ in range(repetitions):
        shutil.rmtree(refs, ignore_errors=True)
        ours.append(_timed(command))
        theirs.append(_timed(loop))
    details = f"{seconds(ours)} / {seconds(theirs)}"
    title = f"retraining {COUNT} x {EPOCHS} epochs / plain loop (1.8 times as fast)"
    return Result(title, ratios(ours, theirs), RETRAINING_TARGET, details=details)


def plain_loop(folder: str) -> None:
    """Train as many networks one after the other as anybody would write it, with torch's own threads."""
    import torch
    from torch import nn

    with np.load(Path(folder) / "members.npz") as archive:
        x, y = torch.from_numpy(archive["x"]), torch.from_numpy(archive["y"])
    for model in range(COUNT):
        torch.manual_seed(model)
        module = network()
        optimiser = torch.optim.Adam(module.parameters(), lr=RATE)
        for _ in range(EPOCHS):
            order = torch.randperm(len(y))
            for start in range(0, len(y), BATCH):
                rows = order[start : start + BATCH]
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(module(x[rows]), y[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()


def _network(path: Path) -> None:
    import torch

    torch.manual_seed(0)
    export(network(), torch.zeros(1, LOCATION[0]), path)


def _interleaved(
    first: Callable[[], object], second: Callable[[], object], repetitions: int
) -> tuple[list[float], list[float]]:
    """Return the times of both, turn by turn, after one turn that is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for repetition in range(repetitions + 1):
        for place, run in enumerate((first, second)):
            began = perf_counter()
            run()
            if repetition:
                times[place].append(perf_counter() - began)
    return times


def _peak(run: Callable[[], object]) -> int:
    """Return how many bytes of arrays a call holds at once."""
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def _timed(command: list[str]) -> float:
    began = perf_counter()
    subprocess.run(command, cwd=ROOT, env=dict(os.environ), check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - began
