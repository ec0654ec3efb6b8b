"""Fresh processes: an audit with plots beside a script by hand, the help beside nothing, memory by records."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.cases import Case, tiny_case
from benchmarks.results import Result, ratios, seconds

ROOT = Path(__file__).resolve().parents[1]
PMCORE = [sys.executable, "-c", "from pmcore.cli import main; main()"]
"""What the installed command does, whatever folder it was installed into."""
FRESH_TARGET, HELP_TARGET, MEMORY_TARGET = 1.5, 8.0, 160.0
FEW, MANY = 200_000, 2_000_000


def fresh_audit(work: Path, repetitions: int) -> list[Result]:
    """Return the ratio of `pmcore audit` with plots to a script by hand, on the model and data of the demo."""
    from pmcore.commands.demo import make_case

    folder = work / "digits"
    make_case(folder)
    members, nonmembers = folder / "members.npz", folder / "nonmembers.npz"
    audit = [
        *(*PMCORE, "audit", str(folder / "model.onnx"), "--members", str(members)),
        *("--non-members", str(nonmembers), "--out", str(work / "report")),
    ]
    script = [sys.executable, str(Path(__file__).with_name("by_hand.py"))]
    by_hand = [*script, str(folder / "model.onnx"), str(members), str(nonmembers), str(work / "by_hand")]
    ours, theirs = [], []
    for repetition in range(repetitions + 1):
        shutil.rmtree(work / "report", ignore_errors=True)
        shutil.rmtree(work / "by_hand", ignore_errors=True)
        took = _timed(audit), _timed(by_hand)
        if repetition:
            ours.append(took[0])
            theirs.append(took[1])
    details = f"{seconds(ours)} / {seconds(theirs)}"
    return [Result("fresh audit with plots / by hand", ratios(ours, theirs), FRESH_TARGET, details=details)]


def help_text(repetitions: int) -> list[Result]:
    """Return the ratio of `pmcore --help` to an interpreter that does nothing."""
    installed = Path(sys.executable).with_name("pmcore")
    command = [str(installed)] if installed.exists() else PMCORE
    ours, theirs = [], []
    for repetition in range(3 * repetitions + 1):
        took = _timed([*command, "--help"]), _timed([sys.executable, "-c", "pass"])
        if repetition:
            ours.append(took[0])
            theirs.append(took[1])
    details = f"{seconds(ours)} / {seconds(theirs)}"
    return [Result("pmcore --help / python -c pass", ratios(ours, theirs), HELP_TARGET, details=details)]


def memory(work: Path) -> list[Result]:
    """Return by how many bytes per record the peak memory of an audit without plots grows."""
    peaks = {}
    for records in (FEW, MANY):
        case = tiny_case(work / f"tiny-{records}", records)
        peaks[records] = _peak_of_audit(case, work / f"report-{records}")
    growth = (peaks[MANY] - peaks[FEW]) / (MANY - FEW)
    details = f"{peaks[FEW] / 2**20:.0f} MiB at {FEW:,}, {peaks[MANY] / 2**20:.0f} MiB at {MANY:,}".replace(",", " ")
    return [Result("peak memory, growth per record", (growth,), MEMORY_TARGET, "bytes", details)]


def _peak_of_audit(case: Case, out: Path) -> int:
    """Return the peak of a fresh process in bytes."""
    given = {**case.arguments, "out": str(out), "reports": ["json"]}
    program = (
        "from pmcore import Audit\nfrom benchmarks.processes import print_own_peak\n"
        f"Audit(**{given!r}).run()\nprint_own_peak()"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    return int(ended.stdout.splitlines()[-1])


def print_own_peak() -> None:
    """Print the peak of this process in bytes.

    Linux counts in `ru_maxrss` also what the parent of a process held when it was started, hence the detour.
    """
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        print(int(peak.split()[1]) * 1024)
        return
    import resource

    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def _timed(command: Sequence[str]) -> float:
    environment = {**os.environ, "MPLBACKEND": "agg"}
    began = perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return perf_counter() - began
