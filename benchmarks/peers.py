"""The same audits by pmcore and by what the package index has of its kind: how long each takes, and what it finds.

Run it by ``python -m benchmarks.peers [--work DIR] [--data location30.npz] [--repetitions N] [--only art,sacroml]``.
Each peer is installed in a virtual environment of its own, and both sides answer from a process of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import location, peer_driver
from benchmarks.cases import Array, export
from benchmarks.gradient_attacks import Problem, problems, role_files, trained
from benchmarks.peer_driver import ESTIMATORS, FEW, REFERENCES, SHADOWS
from benchmarks.processes import ROOT
from benchmarks.results import ratios, seconds
from pmcore.errors import AuditError

if TYPE_CHECKING:
    from torch import nn

TORCH = "torch==2.13.0"
RECORDS = {"Location-30": 800}
FEWER = 300
"""Members, as many non-members, and as many of the population; FEWER where nothing else is said."""
HIDDEN, ITERATIONS = 128, 60
"""Width and training of the scikit-learn estimator."""
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
}
FOR_GRAPHICS_CARDS = ("nvidia-", "triton")


class PeerError(AuditError):
    """A peer cannot be installed, or its process ended."""


@dataclass(frozen=True)
class Peer:
    """What the package index has.

    Parameters
    ----------
    jobs : what both sides do, in this order
    requirements : what is installed, always under constraints.txt
    alone : installed without what it declares, because `requirements` has something else in place of it
    """

    jobs: tuple[str, ...]
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()


PEERS: Mapping[str, Peer] = {
    # Its own metadata lacks packaging, which it imports.
    "art": Peer(
        ("gap", "learnt, forest", "learnt, default", "boundary"),
        ("adversarial-robustness-toolbox==1.20.1", TORCH, "packaging"),
    ),
    # It declares xgboost, which brings a library for graphics cards; xgboost-cpu has the same modules without it.
    # skops is for pmcore, which is given the estimators that the peer trained.
    "sacroml": Peer(
        ("lira, training", "lira, trained", "worst case", "quantile"),
        (
            *("acro<2", "fpdf", "pypdf", "multiprocess", "scikit-learn", "xgboost-cpu", "dictdiffer", TORCH),
            *("prompt-toolkit", "PyYAML", "skops"),
        ),
        ("sacroml==2.0.1",),
    ),
    # Its own metadata declares nothing: this is what its modules import.
    "privacy-meter": Peer(
        ("population", "reference", "shadow"),
        (
            *("privacy-meter==1.0.1", TORCH, "tensorflow-cpu==2.21.0", "opacus", "scikit-learn", "scipy", "pandas"),
            *("matplotlib", "seaborn", "pillow", "jinja2"),
        ),
    ),
}


@dataclass
class Pair:
    """What both sides answered to one job, a figure per repetition."""

    peer: str
    job: str
    ours: list[Mapping[str, Any]] = field(default_factory=list)
    theirs: list[Mapping[str, Any]] = field(default_factory=list)


class Side:
    """A process that answers one job at a time."""

    def __init__(self, name: str, python: Path, folder: Path, log: Path) -> None:
        self.name, self._log = name, log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), "-P", peer_driver.__file__, name, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env={**os.environ, **ONE_THREAD, "MPLBACKEND": "agg"},
            )
        self.versions: Mapping[str, str] = {}

    def start(self) -> None:
        """Wait until everything is imported and set up.

        Raises
        ------
        PeerError
            The process ends.
        """
        self.versions = self._answer()["versions"]

    def ask(self, job: str) -> Mapping[str, Any]:
        """Return what the process answers.

        Raises
        ------
        PeerError
            The job fails, or the process ends.
        """
        assert self._process.stdin is not None
        print(job, file=self._process.stdin, flush=True)
        answer = self._answer()
        if "failed" in answer:
            raise PeerError(f"{self.name}: {job}: {answer['failed']} - see {self._log}")
        return answer

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise PeerError(f"{self.name}: ended: {last_line(self._log.read_text())} - see {self._log}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> int:
    """Print a table of what could be compared, and a line for what could not; return 1 if that was all of it."""
    given = _arguments()
    chosen = [name.strip() for name in given.only.split(",")]
    unknown = [name for name in chosen if name not in PEERS]
    if unknown:
        print(f"no peer {unknown[0]!r}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        work = Path(given.work or stack.enter_context(tempfile.TemporaryDirectory(prefix="pmcore-peers-"))).resolve()
        case = work / "case"
        print(make_case(case, location.data_path(given.data)), flush=True)
        pairs: list[Pair] = []
        for name in chosen:
            try:
                python = installed(name, PEERS[name], work / "environments" / name)
                pairs += _compared(name, python, case, given.repetitions)
            except PeerError as error:
                print(f"NOT COMPARED: {error}", flush=True)
        print(table(pairs))
    return 0 if pairs else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--work", metavar="DIR", help="where environments stay (three gigabytes), for the next time")
    parser.add_argument("--data", metavar="PATH", help=f"location30.npz; by default ${location.VARIABLE}, or here")
    parser.add_argument("--repetitions", type=int, default=5, help="of every job, besides one to warm up")
    parser.add_argument("--only", default=",".join(PEERS), metavar="A,B", help=f"of {', '.join(PEERS)}")
    return parser.parse_args()


def make_case(folder: Path, data: Path) -> str:
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
    seen = np.zeros((2 * n, SHADOWS), dtype=np.bool_)
    for index in range(SHADOWS):
        seen[rng.permutation(2 * n)[:n], index] = True
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
    import warnings

    from skops.io import dump
    from sklearn.neural_network import MLPClassifier

    estimator = MLPClassifier((HIDDEN,), max_iter=ITERATIONS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged is meant
        estimator.fit(problem.x[rows], problem.y[rows])
    dump(estimator, folder / "estimator.skops")


def installed(name: str, peer: Peer, folder: Path) -> Path:
    """Return the interpreter of an environment with the peer, which is made unless it is there.

    Raises
    ------
    PeerError
        pip refuses, or would install builds for graphics cards.
    """
    python, done = folder / "bin" / "python", folder / "installed.json"
    wanted = json.dumps([*peer.requirements, *peer.alone])
    if done.is_file() and done.read_text() == wanted:
        return python
    print(f"installing {name} …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    report = folder / "report.json"
    _pip(name, python, "--dry-run", "--report", str(report), *peer.requirements)
    too_much = for_graphics_cards(json.loads(report.read_text()))
    if too_much:
        raise PeerError(f"{name}: would bring {', '.join(too_much)} - let pip find builds of torch for the CPU")
    _pip(name, python, *peer.requirements)
    if peer.alone:
        _pip(name, python, "--no-deps", *peer.alone)
    done.write_text(wanted)
    return python


def for_graphics_cards(report: Mapping[str, Any]) -> list[str]:
    """Return what of an installation report of pip is built for graphics cards."""
    found = [(part["metadata"]["name"], part["metadata"]["version"]) for part in report["install"]]
    return [
        f"{name} {version}"
        for name, version in found
        if name.lower().startswith(FOR_GRAPHICS_CARDS) or "+cu" in version
    ]


def _pip(name: str, python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    ended = subprocess.run(
        [*command, "-c", str(ROOT / "constraints.txt"), *arguments], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        errors = "\n".join(line for line in ended.stderr.splitlines() if line.startswith("ERROR"))
        raise PeerError(f"{name}: pip: {last_line(errors or ended.stderr)} - try it by hand")


def last_line(text: str) -> str:
    """Return the last line of a text that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was said"


def _compared(name: str, python: Path, case: Path, repetitions: int) -> Iterator[Pair]:
    """Yield what both sides answer, job by job, in turns; the first answers warm the caches."""
    with _side("pmcore", Path(sys.executable), case) as ours, _side(name, python, case) as theirs:
        print(f"{name}: {', '.join(f'{one} {version}' for one, version in theirs.versions.items())}", flush=True)
        for job in PEERS[name].jobs:
            pair = Pair(name, job)
            try:
                for repetition in range(repetitions + 1):
                    answers = theirs.ask(job), ours.ask(job)
                    if repetition:
                        pair.theirs.append(answers[0])
                        pair.ours.append(answers[1])
                if job == "lira, training":
                    theirs.ask("leave")
            except PeerError as error:
                print(f"NOT COMPARED: {error}", flush=True)
                continue
            print(f"{name}: {job}: done", file=sys.stderr, flush=True)
            yield pair


@contextmanager
def _side(name: str, python: Path, case: Path) -> Iterator[Side]:
    side = Side(name, python, case, case.parent / f"{name}.log")
    try:
        side.start()
        yield side
    finally:
        side.stop()


def table(pairs: Sequence[Pair]) -> str:
    """Return a table in Markdown: medians of the times, of their ratios, and of the areas under the curve."""
    lines = [
        "| peer | job | pmcore | peer | pmcore / peer | AUC, pmcore | AUC, peer | queries per record |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for pair in pairs:
        times = [[answer["seconds"] for answer in side] for side in (pair.ours, pair.theirs)]
        shares = ratios(*times)
        spread = f"{median(shares):.2g} ({min(shares):.2g} to {max(shares):.2g})"
        own = pair.ours[-1]
        auc = f"{own['auc']:.3f} [{own['low']:.3f}, {own['high']:.3f}]"
        queries = f"{own['queries']} / {pair.theirs[-1]['queries']:.0f}" if "queries" in own else ""
        cells = pair.peer, pair.job, *map(seconds, times), spread, auc, _areas(pair.theirs), queries
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _areas(answers: Sequence[Mapping[str, Any]]) -> str:
    """Return the area that a peer gives, or else that of the scores that it gives, marked by a star."""
    given = "auc" in answers[0]
    areas = [
        answer["auc"] if given else location.mann_whitney(np.array(answer["inside"]), np.array(answer["outside"]))
        for answer in answers
    ]
    words = f"{median(areas):.3f}" + ("" if given else "*")
    low, high = f"{min(areas):.3f}", f"{max(areas):.3f}"
    return words if low == high else f"{words} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
