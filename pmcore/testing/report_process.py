"""Checks of a form of the report in a process of its own: its import, its effects, and whether it makes the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from pmcore.interfaces import Report
from pmcore.option_docs import resolved_options
from pmcore.testing.apart import Job, Step, require_clean_import, require_no_framework, watch
from pmcore.testing.checking import Check, CheckFailed, check_of
from pmcore.testing.refusals import require
from pmcore.testing.report_case import Files, Subject, example, files_of, instance_of


@dataclass(frozen=True)
class Observations:
    """What a form did in a process of its own, and what it made here of the same report."""

    imported: Step
    rendered: Step | None
    here: Files

    @property
    def rendering(self) -> Step:
        """Return what came of rendering."""
        if self.rendered is None:
            raise CheckFailed("the module does not import in a fresh process, which check_import tells")
        return self.rendered


def process_check(function: Callable[[Observations], None]) -> Check[Subject]:
    """Return a check of a form from a function of what it did in a process of its own, which all checks share."""
    check = check_of(function)
    return Check(check.name, check.promise, lambda subject: function(_observed(instance_of(subject))))


def _observed(form: Report) -> Observations:
    here = files_of(form, "complete")  # first, so that caches of libraries are filled
    steps = _watched(type(form), tuple(sorted(resolved_options(form).items(), key=lambda pair: pair[0])))
    return Observations(steps["import"], steps.get("render"), here)


@lru_cache(maxsize=8)
def _watched(cls: type[Report], options: tuple[tuple[str, object], ...]) -> dict[str, Step]:
    with TemporaryDirectory(prefix="pmcore-check-") as folder:
        path = Path(folder) / "report.json"
        path.write_text(example("complete").model_dump_json(by_alias=True), encoding="utf-8")
        step = {"step": "render", "kind": "render", "path": str(path), "options": dict(options)}
        return watch(Job(cls, [step]))


def check_import(seen: Observations) -> None:
    """Import in a fresh process without effects: no files, network, processes or settings."""
    require_clean_import(seen.imported)


def check_import_without_framework(seen: Observations) -> None:
    """Import no framework with the module."""
    require_no_framework(seen.imported, "importing its module")


def check_no_effects(seen: Observations) -> None:
    """Write no file, open no connection, start no process, print nothing and change no setting."""
    step = seen.rendering
    step.completed("rendering in a fresh process")
    done = step.did("files", "network", "processes", "state")
    require(not done, f"rendering: {'; '.join(done[:3])}; return the files, the audit writes them")
    require(step.printed == 0, f"rendering prints {step.printed} bytes; use `logging`")


def check_same_elsewhere(seen: Observations) -> None:
    """Give the same bytes for the same report in another process."""
    step = seen.rendering
    step.completed("rendering in a fresh process")
    here = {name: hashlib.sha256(content).hexdigest() for name, content in seen.here.items()}
    differing = sorted(name for name in {*here, *step.value} if here.get(name) != step.value.get(name))
    require(not differing, f"{', '.join(differing)} differ from process to process; leave out times, ids and set order")
