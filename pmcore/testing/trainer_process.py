"""Checks of a trainer in a process of its own: its import, its effects, and whether it makes the same."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pmcore.interfaces import Trainer, TrainingTask
from pmcore.option_docs import resolved_options
from pmcore.options import build
from pmcore.testing.apart import Job, Step, require_no_framework, watch
from pmcore.testing.checking import Check, NotApplicable, check_of
from pmcore.testing.own_effects import require_no_effects
from pmcore.testing.refusals import require
from pmcore.testing.trainer_case import Bench, Subject, TrainerCase, open_bench, trainer_of
from pmcore.testing.trainer_learning import require_same_files, written


@dataclass(frozen=True)
class Observations:
    """What a trainer did in a process of its own, and what it made here of the same job.

    Parameters
    ----------
    trained : what came of training there; its value has the "files" and how many bytes were "printed" on stdout
    folder : where it may write
    """

    trained: Step
    here: Mapping[str, str]
    folder: str


def import_check(function: Callable[[type[Trainer], Step], None]) -> Check[Subject]:
    """Return a check of a trainer from a function of what came of importing its module in a fresh process."""
    promise = (function.__doc__ or "").partition("\n")[0]

    def run(subject: Subject) -> None:
        cls = type(trainer_of(subject))
        function(cls, _imported(cls))

    return Check(function.__name__, promise, run)


def process_check(function: Callable[[Observations], None]) -> Check[Subject]:
    """Return a check of a trainer from a function of what it did in a process of its own, which all checks share."""
    check = check_of(function)

    def run(subject: Subject) -> None:
        trainer = trainer_of(subject)
        case = subject if isinstance(subject, TrainerCase) else None
        function(_observed(type(trainer), json.dumps(resolved_options(trainer)), case))

    return Check(check.name, check.promise, run)


@lru_cache(maxsize=8)
def _imported(cls: type[Trainer]) -> Step:
    return watch(Job(cls))["import"]


@lru_cache(maxsize=8)
def _observed(cls: type[Trainer], options: str, case: TrainerCase | None) -> Observations:
    trainer = build(cls, json.loads(options), "the trainer")
    with open_bench(TrainerCase(trainer) if case is None else replace(case, trainer=trainer)) as bench:
        job = bench.job()
        here = written(job, bench.train(job)[0])
        there = bench.folder / "there"
        there.mkdir()
        order = there / "task.pickle"
        order.write_bytes(pickle.dumps(bench.task))
        step = {
            "step": "train",
            "kind": "call",
            "function": f"{__name__}:train_here",
            "options": json.dumps(resolved_options(bench.trainer)),
            "folder": str(there),
            "task": str(order),
        }
        steps = watch(Job(cls, [step]))
        if "train" not in steps:
            raise NotApplicable("the module does not import in a fresh process, which check_import_effects tells")
        return Observations(steps["train"], here, str(bench.folder))


def train_here(cls: type[Trainer], step: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out one job; runs in the other process."""
    trainer = build(cls, json.loads(step["options"]), "the trainer")
    task = pickle.loads(Path(step["task"]).read_bytes())  # our own, on its way through our own folder
    assert isinstance(task, TrainingTask)
    folder = Path(step["folder"])
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    bench = Bench(trainer, task, 0, False, folder)
    job = bench.job()
    with _standard_output(folder / "printed") as printed:
        (trained,) = bench.train(job, trainer=trainer)
    return {"files": dict(written(job, trained)), "printed": printed.stat().st_size}


@contextmanager
def _standard_output(path: Path) -> Iterator[Path]:
    """Lead what goes to standard output into a file, also what does so in C."""
    before = os.dup(1)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 1)
        try:
            yield path
            sys.stdout.flush()
            with suppress(Exception):  # the buffers of C code, where there are any
                ctypes.CDLL(None).fflush(None)
        finally:
            os.dup2(before, 1)
            os.close(before)


def check_import_effects(cls: type[Trainer], imported: Step) -> None:
    """Print, write and change nothing when the module is imported."""
    require_no_effects(cls, imported)


def check_import_without_framework(cls: type[Trainer], imported: Step) -> None:
    """Import no framework with the module."""
    require_no_framework(imported, f"importing {cls.__module__}")


def check_no_effects(seen: Observations) -> None:
    """Open no connection, and write nothing but the model and temporary files."""
    seen.trained.completed("training in a fresh process")
    opened = [words for words in seen.trained.did("files") if words.startswith("opens ")]
    elsewhere = [words for words in opened if seen.folder not in words and "/dev/" not in words]
    done = [*seen.trained.did("network"), *elsewhere]
    require(not done, f"training: {'; '.join(done[:3])}; write in the folder of the job alone")


def check_prints_nothing(seen: Observations) -> None:
    """Print nothing on standard output: that belongs to the command line."""
    seen.trained.completed("training in a fresh process")
    printed = seen.trained.value["printed"]
    require(printed == 0, f"training prints {printed} bytes on standard output; use logging")


def check_same_elsewhere(seen: Observations) -> None:
    """Give the same files for the same job in another process: training goes on where it was ended."""
    seen.trained.completed("training in a fresh process")
    require_same_files(
        seen.here, seen.trained.value["files"], "in another process", "leave out ids, times and the order of sets"
    )
