"""The command line as a user runs it: in this process where that is enough, else in one of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pmcore.cli import run

if TYPE_CHECKING:
    from tests.core.cases import Case


@dataclass(frozen=True)
class Ended:
    """What a command left behind: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """Return the lines on stderr."""
        return self.err.splitlines()


def run_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """Run a command in this process."""
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    return Ended(code, streams.out, streams.err)


def run_apart(*arguments: object, code: str = "", **options: Any) -> Ended:
    """Run a command in a process of its own, after some Python code."""
    options = {"capture_output": True, "text": True, "timeout": 120, **options}
    done = subprocess.run(command_line(*arguments, code=code), check=False, **options)
    return Ended(done.returncode, done.stdout or "", done.stderr or "")


def run_on_terminal(*arguments: object, code: str = "", env: Mapping[str, str] | None = None) -> Ended:
    """Run a command with both streams on one terminal of 80 columns; `err` stays empty."""
    controller, terminal = pty.openpty()
    surroundings = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    surroundings |= {"TERM": "xterm-256color", "COLUMNS": "80", **(env or {})}
    with subprocess.Popen(
        command_line(*arguments, code=code), stdout=terminal, stderr=terminal, stdin=terminal, env=surroundings
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                piece = os.read(controller, 65536)
            except OSError:  # how Linux tells that the last writer has closed the terminal
                break
            if not piece:
                break
            shown += piece
    os.close(controller)
    return Ended(process.returncode, shown.decode("utf-8", "replace"), "")


def command_line(*arguments: object, code: str = "") -> list[str]:
    """Return the arguments of a process that runs some code, then the command line."""
    program = f"{code}\nfrom pmcore.cli import main\nmain()"
    return [sys.executable, "-c", program, *map(str, arguments)]


def audit_arguments(case: Case, out: Path | None = None, **changed: object) -> list[str]:
    """Return the arguments of an audit of a case; `changed` replaces model, members or non_members."""
    given = {**case.arguments, **changed}
    arguments = [given["model"], "--members", given["members"], "--non-members", given["non_members"]]
    return [*map(str, arguments), *(["--out", str(out)] if out is not None else [])]
