"""A plugin watched in a process of its own, where what it imports, prints, writes and crashes shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.refusals import require, require_one_line

PATIENCE = 120.0
"""Seconds after which a process counts as hung."""
FRAMEWORKS = frozenset(
    {"onnx", "onnxruntime", "openvino", "torch", "tensorflow", "keras", "jax", "jaxlib", "flax", "paddle", "mxnet"}
    | {"skops", "safetensors", "xgboost", "lightgbm", "catboost", "transformers"}
)
_PROGRAM = Path(__file__).with_name("watched.py")


@dataclass(frozen=True)
class Refusal:
    """An exception that a plugin raised: the names of its class and of those that it derives from, and its text."""

    kinds: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Step:
    """What came of one step of a plugin in a process of its own.

    Parameters
    ----------
    effects : what it did besides, as pairs of kind ("files", "network", "processes", "state") and words
    printed : bytes that it put on both streams
    frameworks : the frameworks that had been imported when it ended
    value : what it returned, as JSON has it
    crash : how the process ended in it, or ""
    """

    refusal: Refusal | None = None
    effects: tuple[tuple[str, str], ...] = ()
    printed: int = 0
    frameworks: tuple[str, ...] = ()
    value: Any = None
    crash: str = ""

    def completed(self, what: str) -> None:
        """Require that the step ended without an error."""
        require(not self.crash, f"{what}: {self.crash}")
        if self.refusal is not None:
            raise CheckFailed(f"{what} failed: {self.refusal.kinds[0]}: {self.refusal.message}")

    def refused(self, case: str, *kinds: str) -> None:
        """Require that the step was refused, in one line, by an error of one of these kinds."""
        wanted = " or ".join(kinds)
        require(not self.crash, f"{case}: {self.crash}; check the file before the framework sees it")
        if self.refusal is None:
            raise CheckFailed(f"{case}: was accepted; raise {wanted}")
        if not set(kinds) & set(self.refusal.kinds):
            raise CheckFailed(f"{case}: raised {self.refusal.kinds[0]} ({self.refusal.message}); raise {wanted}")
        require_one_line(self.refusal.message, case)

    def did(self, *kinds: str) -> list[str]:
        """Return what the step did of some kinds, in words."""
        return [words for kind, words in self.effects if kind in kinds]


@dataclass(frozen=True)
class Job:
    """A plugin's class, and the steps that it takes, each with its name ("step") and "kind"; see `watched.py`."""

    cls: type[object]
    steps: Sequence[Mapping[str, Any]] = ()


def watch(job: Job) -> dict[str, Step]:
    """Import a plugin in a fresh process and let it take its steps; return what came of them, by name of the step.

    The first step is called "import". A step that ends the process is told of, and the steps after it are taken in
    another process.

    Raises
    ------
    NotApplicable
        No other process can import the class.
    """
    module, name = job.cls.__module__, job.cls.__qualname__
    if module == "__main__" or "<locals>" in name:
        raise NotApplicable(f"{name} stands in a function or a script, where no other process can import it")
    done: dict[str, Step] = {}
    left = list(job.steps)
    with TemporaryDirectory() as folder:
        while True:
            crashed = _run(job, left, Path(folder), done)
            if crashed is None or crashed == "import":
                return done
            left = left[[step["step"] for step in left].index(crashed) + 1 :]


def _run(job: Job, steps: Sequence[Mapping[str, Any]], folder: Path, done: dict[str, Step]) -> str | None:
    """Run one process, add what came of its steps, and return the step that ended it before its time, if any."""
    out, order = folder / "out.jsonl", folder / "job.json"
    out.unlink(missing_ok=True)
    module, name = job.cls.__module__, job.cls.__qualname__
    path = [entry or os.getcwd() for entry in sys.path]
    asked = {"path": path, "module": module, "name": name, "steps": list(steps), "out": str(out)}
    order.write_text(json.dumps(asked), encoding="utf-8")
    with (folder / "streams").open("wb") as streams:
        command = [sys.executable, "-P", "-B", "-X", "utf8", str(_PROGRAM), str(order)]
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=streams, stderr=streams, timeout=PATIENCE, check=False
            )
            how = _ending(ended.returncode)
        except subprocess.TimeoutExpired:
            how = f"hung for {PATIENCE:.0f} seconds"
    begun: str | None = None
    for line in out.read_text(encoding="utf-8").splitlines() if out.exists() else ():
        found = json.loads(line)
        if "begun" in found:
            begun = found["begun"]
            continue
        begun = None
        done.setdefault(found["step"], _step(found))
    if begun is not None:
        done[begun] = Step(crash=how)
    elif "import" not in done:
        said = (folder / "streams").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        done["import"] = Step(crash=f"the process did not start: {said[-1] if said else how}")
    return begun


def _ending(code: int) -> str:
    return f"the process crashed (signal {-code})" if code < 0 else f"the process ended with code {code}"


def _step(found: Mapping[str, Any]) -> Step:
    error = found["error"]
    return Step(
        refusal=Refusal(tuple(error["kinds"]), error["message"]) if error else None,
        effects=tuple((kind, words) for kind, words in found["effects"]),
        printed=found["printed"],
        frameworks=tuple(name for name in found["modules"] if name in FRAMEWORKS),
        value=found["value"],
    )


def require_clean_import(imported: Step) -> None:
    """Require that importing the plugin's module succeeds and changes nothing."""
    imported.completed("importing it in a fresh process")
    done = [*imported.did("files", "network", "processes", "state")]
    require(not done, f"importing its module {'; '.join(done[:3])}; do that when the plugin is used")


def require_no_framework(step: Step, what: str) -> None:
    """Require that no framework had been imported when a step ended."""
    require(
        not step.frameworks,
        f"{what} imports {', '.join(step.frameworks)}; import it in the function that needs it",
    )
