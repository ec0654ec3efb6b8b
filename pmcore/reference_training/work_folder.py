"""The folder of references while they are trained: what is finished, private copies, and what is cleared away."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pmcore.checksums import files_sha256
from pmcore.errors import InputError
from pmcore.files import check_folder
from pmcore.reference_manifest import MANIFEST, MEMBERSHIP
from pmcore.training import Trained, TrainingJob

WORK = ".work"
MODELS = "models"
_FACTS = "facts"
_LOCK = "lock"
_SCRATCH = "run-"


@dataclass(frozen=True)
class Facts:
    """What is known of a finished reference.

    Parameters
    ----------
    file : the model, within the folder
    sha256 : of all files of it
    """

    file: str
    sha256: str
    epochs: int | None
    loss: float | None
    loading: dict[str, str] = field(default_factory=dict)


class WorkFolder:
    """The output folder as long as it is worked in; one process at a time.

    On leaving, what only served the work is removed: all of it when `finish` was called, and the whole folder where
    it was left by an error before any reference was finished. What a killed process left is removed by the next.

    Parameters
    ----------
    out : the folder; made, private to its owner, where it does not exist
    resume : whether it may hold references that were begun

    Raises
    ------
    InputError
        It cannot be used.
    """

    def __init__(self, out: Path, resume: bool) -> None:
        check_folder(out, force=True)
        if not resume and out.is_dir() and any(out.iterdir()):
            begun = (out / WORK).is_dir() or (out / MANIFEST).is_file()
            advice = "go on with --resume, or choose another --out" if begun else "choose another --out"
            raise InputError(f"{out}{os.sep} is not empty - {advice}")
        if resume and out.is_dir() and any(out.iterdir()) and not ((out / WORK).is_dir() or (out / MANIFEST).is_file()):
            raise InputError(f"{out}{os.sep} holds no references that were begun - choose another --out")
        self.out = out
        self.work = out / WORK
        self.scratch = self.work
        self._lock: int | None = None
        self._made: list[Path] = []
        self._finished = False

    def __enter__(self) -> Self:
        for folder in (*reversed(self.out.absolute().parents), self.out):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                self._made.append(folder)
        for folder in (self.work, self.work / _FACTS, self.out / MODELS):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = _locked(self.work / _LOCK, self.out)
        for left in (*self.work.glob(f"{_SCRATCH}*"), *self.work.glob("*.tmp")):
            _remove(left)
        self.scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=self.work))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(self.scratch)
        in_vain = kind is not None and not any((self.work / _FACTS).glob("*.json"))
        if in_vain and not (self.out / MANIFEST).exists():
            _remove(self.out / MODELS)
        if self._finished or in_vain:
            _remove(self.work)
        if self._lock is not None:
            os.close(self._lock)
        if in_vain:
            for folder in reversed(self._made):
                with suppress(OSError):  # only those that are empty go
                    folder.rmdir()

    def clear_strangers(self) -> None:
        """Remove models that no facts tell of: a killed process was about to write them."""
        known = {Path(facts.file).parts[1] for _, facts in self.every()}
        for entry in (self.out / MODELS).iterdir():
            if entry.name not in known:
                _remove(entry)

    def every(self) -> Iterator[tuple[int, Facts]]:
        """Yield the finished references that are still there, by number."""
        for path in sorted((self.work / _FACTS).glob("*.json")):
            facts = Facts(**json.loads(path.read_bytes()))
            if (self.out / facts.file).exists():
                yield int(path.stem), facts

    def keep(self, job: TrainingJob, trained: Trained) -> None:
        """Take the files of a reference over: on the disk, under their names, or not at all."""
        within = trained.file.relative_to(job.out)
        files = _private(job.out)
        alone = within.parent == Path() and trained.file.is_file() and files == [trained.file]
        name = f"{job.index:03d}"
        final = self.out / MODELS / (name + trained.file.suffix if alone else name)
        if final.is_dir() and not final.is_symlink():
            _remove(final)
        sha256 = files_sha256(files)
        os.replace(trained.file if alone else job.out, final)
        _sync(final.parent)
        file = (final if alone else final / within).relative_to(self.out).as_posix()
        self.note(job.index, Facts(file, sha256, trained.epochs, trained.loss, dict(trained.loading)))

    def note(self, index: int, facts: Facts) -> None:
        """Write down what is known of a finished reference."""
        self.write_json(f"{_FACTS}/{index:03d}.json", asdict(facts))

    def forget(self, path: Path) -> None:
        """Remove something that only served the work."""
        _remove(path)

    def read_json(self, name: str) -> Any:
        """Return what was written under a name, or None."""
        path = self.work / name
        return json.loads(path.read_bytes()) if path.is_file() else None

    def write_json(self, name: str, content: Any) -> None:
        """Write under a name, whole or not at all."""
        self._write(self.work / name, json.dumps(content, indent=1).encode())

    def finish(self, membership: bytes, manifest: bytes) -> None:
        """Write the result, the manifest last; the work is done."""
        self._write(self.out / MEMBERSHIP, membership)
        self._write(self.out / MANIFEST, manifest)
        self.dismiss()

    def dismiss(self) -> None:
        """Have the work removed on leaving: the result is complete."""
        self._finished = True

    def _write(self, path: Path, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(suffix=".tmp", dir=self.work)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _sync(path.parent)


def reference_sha256(out: Path, file: str) -> str | None:
    """Return the SHA-256 of all files of a reference, or None where it is not there."""
    parts = Path(file).parts
    if parts[0] != MODELS or ".." in parts or len(parts) < 2 or not (out / file).exists():
        return None
    return files_sha256(_files(out / MODELS / parts[1]))


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]


def _private(folder: Path) -> list[Path]:
    """Put all files of a folder on the disk, for their owner alone; return them, sorted."""
    for path in sorted(folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if path.is_file():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
        else:
            _sync(path)
    folder.chmod(0o700)
    _sync(folder)
    return _files(folder)


def _locked(path: Path, out: Path) -> int:
    """Hold a file as long as this process lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        import fcntl
    except ImportError:  # not on every system: there, nobody is kept from running two at once
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InputError(f"{out}{os.sep}: another process trains references there - wait for it to end") from None
    return descriptor


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _sync(folder: Path) -> None:
    """Put the names in a folder on the disk, where the operating system knows how to."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
