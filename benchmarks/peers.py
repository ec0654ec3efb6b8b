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
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import location, peer_driver
from benchmarks.peer_case import write_case
from benchmarks.peer_environments import PEERS, PeerError, installed, last_line
from benchmarks.results import ratios, seconds

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), "1"
)
RETRAINING, LONG = "lira, training", 2
"""The job that trains estimators, and how often at most."""


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
            raise PeerError(f"{self.name}: {job}: {answer['failed']} - run it with its versions by hand")
        return answer

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise PeerError(f"{self.name}: ended: {last_line(self._log.read_text())} - try its environment by hand")
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
        work.mkdir(parents=True, exist_ok=True)
        case = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="case-", dir=work)))  # of this run alone
        print(write_case(case, location.data_path(given.data)), flush=True)
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


def _compared(name: str, python: Path, case: Path, repetitions: int) -> Iterator[Pair]:
    """Yield what both sides answer, job by job, in turns; the first answers warm the caches."""
    with _side("pmcore", Path(sys.executable), case) as ours, _side(name, python, case) as theirs:
        print(f"{name}: {', '.join(f'{one} {version}' for one, version in theirs.versions.items())}", flush=True)
        for job in PEERS[name].jobs:
            pair = Pair(name, job)
            try:
                for repetition in range((min(repetitions, LONG) if job == RETRAINING else repetitions) + 1):
                    answers = theirs.ask(job), ours.ask(job)
                    if repetition:
                        pair.theirs.append(answers[0])
                        pair.ours.append(answers[1])
                if job == RETRAINING:
                    theirs.ask("leave")
            except PeerError as error:
                print(f"NOT COMPARED: {error}", flush=True)
                continue
            print(f"{name}: {job}: done", file=sys.stderr, flush=True)
            yield pair


@contextmanager
def _side(name: str, python: Path, case: Path) -> Iterator[Side]:
    side = Side(name, python, case, case / f"{name}.log")
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
        queries = f"{own['queries']:.0f} / {pair.theirs[-1]['queries']:.0f}" if "queries" in own else ""
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
