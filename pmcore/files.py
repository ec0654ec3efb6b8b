"""The folder that an audit writes to: files appear together, whole or not at all, private to their owner."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pmcore.errors import AuditError, InputError

_PREFIX, _SUFFIX = ".pmcore-", ".tmp"
_ABANDONED = 3600.0
"""Seconds after which a temporary file belongs to nobody: a killed audit leaves its own behind."""
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def check_folder(path: Path, force: bool = False) -> None:
    """Refuse, before anything is computed, a folder that could not be written to in the end; change nothing.

    Parameters
    ----------
    path : the folder; it need not exist yet
    force : accept a folder that holds files already; those of the same names will be replaced, others left

    Raises
    ------
    InputError
        The path is a file, the folder is occupied, or it cannot be written to.
    """
    try:
        if path.is_dir():
            if not force and any(path.iterdir()):
                raise InputError(
                    f"{_shown(path)} is not empty; choose another --out, "
                    "or replace what an earlier audit wrote there with --force"
                )
        elif path.exists() or path.is_symlink():
            raise InputError(f"{path} is not a folder; choose another --out")
        existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not existing.is_dir():
            raise InputError(f"{_shown(path)} cannot be made: {existing} is not a folder; choose another --out")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(f"{_shown(path)}: no permission to write in {existing}; choose another --out")
    except OSError as error:
        raise InputError(f"{_shown(path)}: {_said(error)}; choose another --out") from None


class OutputFolder:
    """A folder whose new files are staged under temporary names and take their own names together at the end.

    ::

        with OutputFolder(path) as folder:
            with folder.open("scores.csv") as stream:
                scores.write_csv(stream)
            folder.write(JsonReport().render(report))

    Within the block nothing has its final name. At its end every file is on the disk and takes its name, in
    the order of staging. If the block fails, or is interrupted, the temporaries and the folders made for
    them are removed, and files of an earlier audit stay as they were. Made folders have mode 0700, files 0600.

    Parameters
    ----------
    path : the folder; made, with its parents, when the block is entered
    force : as given to `check_folder`, which is asked again
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        self.path = path
        self._force = force
        self._staged: dict[str, Path] = {}
        self._made: list[Path] = []
        self._obsolete: set[str] = set()

    def __enter__(self) -> Self:
        check_folder(self.path, self._force)
        with _explained(self.path, "making the folder"):
            for folder in (*reversed(self.path.absolute().parents), self.path):
                if not folder.exists():
                    folder.mkdir(mode=0o700, exist_ok=True)
                    self._made.append(folder)
            for left in self.path.glob(f"{_PREFIX}*{_SUFFIX}"):
                if left.is_file() and time.time() - left.stat().st_mtime > _ABANDONED:
                    left.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            for temporary in self._staged.values():
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            self._staged.clear()
            for folder in reversed(self._made):
                with suppress(OSError):  # only those that stayed empty go
                    folder.rmdir()
            self._made.clear()

    @contextmanager
    def open(self, name: str, size: int | None = None) -> Iterator[BinaryIO]:
        """Open a file for writing in pieces; it is on the disk, under a temporary name, when the block ends.

        Parameters
        ----------
        name : its final name, without folders
        size : about how many bytes it will have, where that is known; said if the disk is full

        Raises
        ------
        AuditError
            The disk is full or fails.
        """
        if Path(name).name != name:
            raise ValueError(f"{name!r} is not a plain file name")
        progress = _Progress(size)
        with _explained(self.path, f"writing {name}", progress):
            descriptor, temporary = tempfile.mkstemp(prefix=_PREFIX, suffix=_SUFFIX, dir=self.path)
            stream = os.fdopen(descriptor, "wb")
        self._stage(name, Path(temporary))
        try:
            with _explained(self.path, f"writing {name}", progress, only=_DISK_ERRORS):
                try:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                finally:
                    with suppress(OSError):
                        progress.written = os.fstat(stream.fileno()).st_size
        except BaseException:
            self._drop(name)
            raise
        finally:
            # What was not flushed above belongs to a failed file; closing must not hide why it failed.
            with suppress(OSError):
                stream.close()

    def write(self, files: Mapping[str, bytes]) -> None:
        """Stage files whose content is at hand, by name."""
        for name, content in files.items():
            with self.open(name, size=len(content)) as stream:
                stream.write(content)

    def retire(self, names: Iterable[str]) -> None:
        """Remove, at the end, what an earlier audit left here and this one does not write anew."""
        self._obsolete.update(names)

    def _stage(self, name: str, temporary: Path) -> None:
        self._drop(name)
        self._staged[name] = temporary

    def _drop(self, name: str) -> None:
        temporary = self._staged.pop(name, None)
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _commit(self) -> None:
        obsolete = self._obsolete - self._staged.keys()
        for name, temporary in list(self._staged.items()):
            with _explained(self.path, f"writing {name}"):
                os.replace(temporary, self.path / name)
            del self._staged[name]
        for name in obsolete:
            with _explained(self.path, f"removing the earlier {name}"):
                (self.path / name).unlink(missing_ok=True)
        with _explained(self.path, "writing the folder"):
            _sync(self.path)


@dataclass
class _Progress:
    """How far a file has come: its expected size and what is on the disk."""

    size: int | None = None
    written: int = 0

    def __str__(self) -> str:
        if self.size is not None:
            return f" (needs about {_amount(self.size)})"
        return f" (after {_amount(self.written)})" if self.written else ""


@contextmanager
def _explained(
    folder: Path, doing: str, progress: _Progress | None = None, only: set[int] | None = None
) -> Iterator[None]:
    """Turn an error of the operating system into one line; others than `only` may not be ours and pass."""
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        where, size = _shown(folder), str(progress or "")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AuditError(
                f"{where}: no space left on the device while {doing}{size}; free some or choose another --out"
            ) from None
        raise AuditError(f"{where}: {_said(error)} while {doing}{size}; choose another --out") from None


def _sync(folder: Path) -> None:
    """Put the names themselves on the disk, where the operating system knows how to."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _shown(folder: Path) -> str:
    return f"{folder}{os.sep}"


def _said(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _amount(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
