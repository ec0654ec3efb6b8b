"""Checks of a backend in a process of its own: its import, what it prints and sends, and files that would harm it."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pmcore.interfaces import Array, Model
from pmcore.testing.apart import Job, Step, require_clean_import, require_no_framework, watch
from pmcore.testing.backend_case import BackendCase, Subject, class_of, open_case, suffix
from pmcore.testing.checking import Check, CheckFailed, NotApplicable, check_of
from pmcore.testing.damage import CUTS, RunsWhenUnpickled, copied
from pmcore.testing.refusals import require

_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(32)


class Observations:
    """What a backend did in a process of its own.

    Parameters
    ----------
    steps : by name; without files, if the backend cannot write any, only "import"
    marker : whether a pickle ran
    """

    def __init__(self, steps: Mapping[str, Step], marker: bool) -> None:
        self.steps = steps
        self.marker = marker

    def of(self, name: str) -> Step:
        """Return what came of a step.

        Raises
        ------
        NotApplicable
            It could not be taken.
        """
        if name not in self.steps:
            imported = self.steps["import"]
            if imported.crash or imported.refusal:
                raise CheckFailed("the module does not import in a fresh process, which check_import tells")
            raise NotApplicable("the backend does not override write_dense, and no example file was given")
        return self.steps[name]

    def those(self, kind: str) -> dict[str, Step]:
        """Return the steps whose names begin so."""
        found = {name: step for name, step in self.steps.items() if name.startswith(kind)}
        return found or {kind: self.of(kind)}


def process_check(function: Callable[[Observations], None]) -> Check[Subject]:
    """Return a check of a backend from a function of what it did in a process of its own, which all checks share."""
    check = check_of(function)
    return Check(check.name, check.promise, lambda subject: function(_observed(subject)))


@lru_cache(maxsize=4)
def _observed(subject: Subject) -> Observations:
    backend = class_of(subject)
    try:
        with open_case(subject) as case:
            return _watched(case)
    except NotApplicable:
        pass
    with TemporaryDirectory() as folder:
        marker = Path(folder) / "ran"
        steps = [_step(name, "load", path) for name, path in _hostile(backend, Path(folder), marker)]
        return Observations(watch(Job(backend, steps)), marker.exists())


def _watched(case: BackendCase) -> Observations:
    with _records(case) as inputs:
        marker = case.folder / "ran"
        steps = [
            _step("recognise own", "recognise", case.source),
            *(_step(f"recognise {path.name}", "recognise", path) for path in _strangers(case.folder / "strangers")),
            _step("wrap strangers", "wraps", case.source),
            _step("ask", "ask", case.source, inputs=inputs),
            *(_step(name, "load", path) for name, path in _damaged(case)),
            *(_step(name, "load", path) for name, path in _hostile(case.backend, case.folder, marker)),
        ]
        return Observations(watch(Job(case.backend, steps)), marker.exists())


def _step(name: str, kind: str, path: Path, **more: Any) -> dict[str, Any]:
    return {"step": name, "kind": kind, "path": str(path), **more}


@contextmanager
def _records(case: BackendCase) -> Iterator[dict[str, str]]:
    """Write records for the model as .npy files; none if it does not even load here."""
    arrays: dict[str, Array] = {}
    try:
        arrays = case.records(case.load(), 4)
    except Exception:  # the step that asks in the other process tells what is wrong
        arrays = {"x": np.zeros((4, 1), np.float32)}
    files = {}
    for number, (name, array) in enumerate(arrays.items()):
        files[name] = str(case.folder / f"input{number}.npy")
        np.save(files[name], array)
    yield files


def _strangers(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    for name, content in (("picture.png", _PNG), ("notes.txt", b"Not a model.\n"), ("empty.dat", b"")):
        (folder / name).write_bytes(content)
        yield folder / name
    (folder / "folder").mkdir()
    yield folder / "folder"


def _damaged(case: BackendCase) -> Iterator[tuple[str, Path]]:
    def damaged(name: str, change: Callable[[bytes], bytes]) -> tuple[str, Path]:
        return name, copied(case.source, case.folder / name, change, companions=case.network is not None)

    for share in CUTS:
        yield damaged(f"cut at {share:.0%}", partial(_cut, share))
    yield damaged("noise", lambda whole: np.random.default_rng(3).bytes(max(len(whole), 256)))
    yield damaged("empty", lambda whole: b"")


def _cut(share: float, whole: bytes) -> bytes:
    return whole[: int(share * len(whole))]


def _hostile(backend: type[Model], folder: Path, marker: Path) -> Iterator[tuple[str, Path]]:
    """Yield pickles, plain and within an archive as PyTorch writes it, that would write `marker` if they ran."""
    payload = RunsWhenUnpickled(str(marker))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as parts:
        parts.writestr("archive/data.pkl", pickle.dumps(payload, protocol=2))
        parts.writestr("archive/version", "3\n")
    contents = {f"pickle {protocol}": pickle.dumps(payload, protocol) for protocol in (0, 2, 4)}
    contents["pickle in an archive"] = archive.getvalue()
    for own in backend.suffixes or (suffix(backend),):
        for name, content in contents.items():
            path = folder / f"{name.replace(' ', '-')}{own}"
            path.write_bytes(content)
            yield f"{name}{f' called {own}' if own else ''}", path


def check_import(seen: Observations) -> None:
    """Import in a fresh process without effects: no files, network, processes or settings."""
    require_clean_import(seen.of("import"))


def check_import_without_framework(seen: Observations) -> None:
    """Import no framework with the module."""
    require_no_framework(seen.of("import"), "importing its module")


def check_recognises_own_files(seen: Observations) -> None:
    """Recognise a file of the backend's own kind."""
    step = seen.of("recognise own")
    step.completed("recognises of its own file")
    require(step.value is True, "its own file is not recognised; `pmcore audit` would not find this backend")


def check_recognises_no_strangers(seen: Observations) -> None:
    """Take no picture, text, empty file or folder for a model, and fail at none."""
    for name in ("picture.png", "notes.txt", "empty.dat", "folder"):
        step = seen.of(f"recognise {name}")
        step.completed(f"recognises of {name}")
        require(step.value is False, f"{name} is taken for a model; look at the suffix or at the first bytes")


def check_recognition_without_framework(seen: Observations) -> None:
    """Recognise files without importing a framework."""
    new = set(seen.of("recognise folder").frameworks) - set(seen.of("import").frameworks)
    require(not new, f"recognising a file imports {', '.join(sorted(new))}; look at the bytes alone")


def check_wraps_no_strangers(seen: Observations) -> None:
    """Take no number, text, path or class in memory for a model, and import no framework to find out."""
    step = seen.of("wrap strangers")
    step.completed("wraps of objects that are no models")
    require(not step.value, f"wraps takes {', '.join(map(str, step.value))} for a model; ask for the framework's class")
    new = set(step.frameworks) - set(seen.of("recognise folder").frameworks)
    require(not new, f"wraps imports {', '.join(sorted(new))}; look for the framework in sys.modules")


def check_silence(seen: Observations) -> None:
    """Print nothing on either stream while importing, loading and asking, nor let the framework."""
    for name, what in (("import", "importing"), ("ask", "loading and asking")):
        printed = seen.of(name).printed
        require(printed == 0, f"{what} prints {printed} bytes; lower the framework's log level, use `logging`")


def check_no_network(seen: Observations) -> None:
    """Open no connection and look up no host while loading and asking."""
    step = seen.of("ask")
    step.completed("loading and asking in a fresh process")
    done = step.did("network")
    require(not done, f"loading and asking: {'; '.join(done[:3])}; nothing may leave the machine")


def check_truncated_files(seen: Observations) -> None:
    """Refuse a file that is cut short in one line, and survive it."""
    for share in CUTS:
        seen.of(f"cut at {share:.0%}").refused(f"a file of which {share:.0%} are left", "AuditError")


def check_noise(seen: Observations) -> None:
    """Refuse a file of random bytes in one line, and survive it."""
    seen.of("noise").refused("a file of random bytes", "AuditError")


def check_empty_file(seen: Observations) -> None:
    """Refuse an empty file with an InputError of one line."""
    seen.of("empty").refused("an empty file", "InputError")


def check_pickles(seen: Observations) -> None:
    """Refuse pickles under the backend's own suffixes in one line, and never run what they carry."""
    require(not seen.marker, "code in a pickle ran when it was loaded; never unpickle")
    for name, step in seen.those("pickle").items():
        step.refused(name, "UntrustedError", "InputError")
