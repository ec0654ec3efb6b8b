"""Runs that are killed, interrupted or doubled: what is resumed ends with the same files, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pmcore.cli import run
from tests.core.cases import Case
from tests.core.command import Ended, command_line, run_apart, run_here, run_on_terminal
from tests.references.folders import arguments, contents

SLOW = "planted:rate=0.25,pause=0.04,together=2"
"""Four groups of two models, each of which takes a third of a second."""


@contextmanager
def started(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command_line(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def finished(out: Path) -> int:
    return len(list((out / ".work" / "facts").glob("*.json")))


def descendants(pid: int) -> set[int]:
    """Return the processes that a process began, and those that these began; from /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.mark.slow
def test_killed_ten_times_at_random_and_resumed_it_ends_with_the_same_files(case: Case, tmp_path: Path) -> None:
    given = {"count": 8, "trainer": SLOW, "epochs": 4, "quiet": True}
    assert run(arguments(case, tmp_path / "whole", **given, jobs=2)) == 0
    out = tmp_path / "refs"
    words = arguments(case, out, **given, resume=True)
    rng = np.random.default_rng()
    for _ in range(10):
        with started(words) as process:
            if finished(out) < 7:  # from the moment that there is a folder to some models further
                wait_for((out / ".work").exists)
            time.sleep(rng.uniform(0.0, 1.2))
            process.send_signal(signal.SIGKILL)
    assert run(words) == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_killed_once_it_goes_on_without_training_again_what_is_finished(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"count": 4, "trainer": "folder:rate=0.25,pause=0.1"}
    out = tmp_path / "refs"
    with started(arguments(case, out, **given)) as process:
        wait_for(lambda: finished(out) >= 1)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in (out / "models").rglob("*.npz")}
    ended = run_here(capsys, *arguments(case, out, **given, resume=True))
    assert ended.code == 0
    assert "from before" in ended.out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert run(arguments(case, tmp_path / "whole", **given, quiet=True)) == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_another_plan_for_a_folder_that_was_begun_is_refused(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "refs"
    with started(arguments(case, out, trainer="planted:rate=0.25,pause=0.1")) as process:
        wait_for(lambda: finished(out) >= 1)
        process.send_signal(signal.SIGKILL)
    ended = run_here(capsys, *arguments(case, out, trainer="planted:rate=0.5,pause=0.1", resume=True))
    assert ended.complaints == [
        f"pmcore: error: {out}/: options of the trainer: rate: 0.25 when it was begun, now 0.5 - give the same, or "
        "choose another --out"
    ]
    assert finished(out) >= 1


def test_ctrl_c_is_one_line_and_can_be_gone_on_with(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "refs"
    with started(arguments(case, out, trainer="planted:rate=0.25,pause=0.1")) as process:
        wait_for(lambda: finished(out) >= 1)
        process.send_signal(signal.SIGINT)
        printed, complaints = process.communicate(timeout=20)
    assert (process.returncode, printed) == (130, "")
    assert complaints == "pmcore: error: interrupted - go on with --resume\n"
    assert not list((out / ".work").glob("run-*"))  # the copies of the records
    assert run(arguments(case, out, trainer="planted:rate=0.25,pause=0.1", resume=True, quiet=True)) == 0


def test_ctrl_c_before_anything_is_finished_leaves_nothing(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "refs"
    with started(arguments(case, out, trainer="planted:rate=0.25,pause=9")) as process:
        wait_for(lambda: (out / ".work" / "trainer.json").exists())
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(complaints.splitlines()) == 1
    assert os.listdir(tmp_path) == []


@needs_proc
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_command(case: Case, tmp_path: Path, how: signal.Signals) -> None:
    mark = tmp_path / "started"
    command = f"{sys.executable} -c \"import time; open('{mark}', 'w').close(); time.sleep(100)\""
    with started(arguments(case, tmp_path / "refs", trainer=None, command=command)) as process:
        wait_for(mark.exists)
        began = descendants(process.pid)
        assert len(began) == 2  # a worker, and the command that it runs
        process.send_signal(how)
        process.wait(20)
        wait_for(lambda: not any(map(alive, began)), 10)


def test_a_second_process_waits_for_its_turn(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "refs"
    words = arguments(case, out, trainer="planted:rate=0.25,pause=0.3", resume=True)
    with started(words) as process:
        wait_for(lambda: (out / ".work" / "trainer.json").exists())
        ended = run_here(capsys, *words)
        assert process.poll() is None
    assert ended.complaints == [f"pmcore: error: {out}/: another process trains references there - wait for it to end"]


@pytest.mark.slow
def test_progress_tells_models_and_epochs_on_a_terminal(case: Case, tmp_path: Path) -> None:
    ended = run_on_terminal(*arguments(case, tmp_path / "refs", trainer="planted:rate=0.25,pause=0.4"))
    assert ended.code == 0
    assert "references" in ended.out
    assert "epochs" in ended.out
    assert "/4" in ended.out


@pytest.mark.slow
def test_killed_after_every_single_step_it_ends_with_the_same_files(case: Case, tmp_path: Path) -> None:
    words = arguments(case, tmp_path / "refs", count=2, trainer="folder", resume=True, quiet=True)
    runs = 0
    ended: Ended | None = None
    while ended is None or ended.code == 9:
        # Of two steps, since what is renamed but not yet written down is made again.
        code = (
            f"import os\nreal, left = os.replace, [{1 + runs % 2}]\n"
            "def replace(*paths):\n    real(*paths)\n    left[0] -= 1\n    left[0] or os._exit(9)\n"
            "os.replace = replace\n"
        )
        ended = run_apart(*words, code=code)
        runs += 1
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert runs >= 6
    assert run(arguments(case, tmp_path / "whole", count=2, trainer="folder", quiet=True)) == 0
    assert contents(tmp_path / "refs") == contents(tmp_path / "whole")
