"""Runs the benchmarks and prints one table: python -m benchmarks [--only location,mlp,…]."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import backends, gradient_attacks, location, passes, processes, references, whitebox
from benchmarks.cases import dense_case, image_case
from benchmarks.results import Result, table

NAMES = ("location", "whitebox-attacks", "whitebox", "references", "mlp", "cnn", "backends", "fresh", "help", "memory")
GRADIENTS = 1_000
"""Records whose gradients are taken, at most."""
IMAGES = 512
"""Records of the ResNet-18, at most."""


def main() -> int:
    """Run what was asked for; return 1 if something is over its target."""
    given = _arguments()
    chosen = [name.strip() for name in given.only.split(",")]
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    results: list[Result] = []
    agrees = True
    with tempfile.TemporaryDirectory(prefix="pmcore-bench-", dir=given.work) as folder:
        work = Path(folder)
        for name in chosen:
            _say(f"{name} …")
            if name == "location":
                agrees = _location(given.data, work / name) and agrees
            elif name == "whitebox-attacks":
                agrees = _whitebox_attacks(given.data, work / name) and agrees
            else:
                results += _measured(name, work / name, given.records, given.repetitions)
    if results:
        print(table(results))
    return 0 if agrees and all(result.holds for result in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(NAMES), metavar="A,B,…", help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--data", metavar="PATH", help=f"location30.npz; by default ${location.VARIABLE}, or in this folder"
    )
    parser.add_argument("--records", type=int, default=100_000, help="of the passes (mlp and cnn)")
    parser.add_argument(
        "--repetitions", type=int, default=7, help="of everything but memory; the help takes thrice as many"
    )
    parser.add_argument("--work", metavar="DIR", help="where temporary files go: half a gigabyte")
    return parser.parse_args()


def _location(given: str | None, work: Path) -> bool:
    data = location.data_path(given)
    if not data.is_file():
        print(f"Location-30: SKIPPED, there is no {data}; give --data PATH or set {location.VARIABLE}")
        return True
    work.mkdir()
    compared = location.compare(data, work)
    print(compared.text)
    return compared.agrees


def _whitebox_attacks(given: str | None, work: Path) -> bool:
    holds = True
    for place, problem in enumerate(gradient_attacks.problems(location.data_path(given))):
        for finding in gradient_attacks.findings(problem, work / str(place)):
            print(finding, flush=True)
            holds &= finding.holds
    return holds


def _measured(name: str, work: Path, records: int, repetitions: int) -> list[Result]:
    if name == "mlp":
        return passes.measure("MLP", dense_case(work / "case", records), work, repetitions)
    if name == "cnn":
        return passes.measure("CNN", image_case(work / "case", records), work, repetitions)
    if name == "backends":
        return backends.measure(work, min(records, IMAGES), repetitions)
    if name == "whitebox":
        return whitebox.measure(work, min(records, GRADIENTS), repetitions)
    if name == "references":
        return references.measure(work, repetitions)
    if name == "fresh":
        return processes.fresh_audit(work, repetitions)
    if name == "help":
        return processes.help_text(repetitions)
    return processes.memory(work)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
