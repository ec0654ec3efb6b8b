"""Files that are damaged or hostile on purpose, and what files hold."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

CUTS = (0.1, 0.5, 0.9)
"""Shares of a file that are left of it when it is cut short."""


class RunsWhenUnpickled:
    """Writes a file when it is unpickled, which nobody may do."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.path, "x")


def contents(place: Path) -> Mapping[str, str]:
    """Return the SHA-256 of every file at or below a place, by its path."""
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def copied(source: Path, folder: Path, change: Callable[[bytes], bytes], companions: bool = False) -> Path:
    """Copy a model or data file into a new folder and change it; of a folder, its largest file.

    Parameters
    ----------
    companions : whether the files beside it are copied, too
    """
    if companions:
        shutil.copytree(source.parent, folder)
    else:
        folder.mkdir(parents=True)
    copy = folder / source.name
    if source.is_dir():
        shutil.copytree(source, copy, dirs_exist_ok=True)
        target = max((path for path in copy.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    else:
        shutil.copyfile(source, copy)
        target = copy
    target.write_bytes(change(target.read_bytes()))
    return copy
