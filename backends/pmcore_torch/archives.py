"""Zip archives as PyTorch writes them: what an archive is, and its members, read within bounds."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pmcore.errors import InputError, UntrustedError
from pmcore.quoting import printable

ZIP = b"PK\x03\x04"
MEMBERS = 200_000
"""Members that an archive may have: more than any model has tensors."""
_SLACK = 64 * 2**20
_GROWTH = 8
"""How often its own size, beyond the slack, an archive may unpack to: tensors are stored as they are."""
_AGAIN = "save or download it again"


class Kind(StrEnum):
    """What a file holds, as far as its directory tells."""

    EXPORTED = "a torch.export archive"
    SCRIPT = "a TorchScript archive"
    PICKLED = "a PyTorch checkpoint"


@dataclass(frozen=True)
class Archive:
    """The directory of a zip archive with one folder at its top, as PyTorch writes it.

    Parameters
    ----------
    members : name without the top folder -> the member's entry
    source : the open archive, None where only its directory is looked at
    """

    path: Path
    members: Mapping[str, zipfile.ZipInfo]
    source: zipfile.ZipFile | None = None

    @property
    def kind(self) -> Kind | None:
        """Return what the archive holds, or None if that is nothing of PyTorch."""
        names = self.members
        if "archive_format" in names or "serialized_exported_program.json" in names:
            return Kind.EXPORTED
        if "constants.pkl" in names or "model.json" in names or any(name.startswith("code/") for name in names):
            return Kind.SCRIPT
        return Kind.PICKLED if "data.pkl" in names else None

    def read(self, name: str) -> bytes:
        """Return what a member holds.

        Raises
        ------
        InputError
            There is no such member, or it is damaged.
        """
        if name not in self.members or self.source is None:
            raise InputError(f"{self.path}: has no part '{printable(name, 80)}'; {_AGAIN}")
        try:
            return self.source.read(self.members[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
            raise InputError(f"{self.path}: its part '{printable(name, 80)}' is damaged; {_AGAIN}") from None


def kind_of(path: Path, head: bytes) -> Kind | None:
    """Return what a file holds, judged by the directory of a zip archive; None for anything else."""
    if not head.startswith(ZIP):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:MEMBERS]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    return Archive(path, {name.partition("/")[2]: zipfile.ZipInfo(name) for name in names}).kind


def open_archive(path: Path) -> Archive:
    """Read the directory of an archive.

    Raises
    ------
    InputError
        It is damaged, encrypted, or unpacks to far more than a model.
    UntrustedError
        It names a member twice or by a path that leads elsewhere: two readers would find different things in it.
    """
    try:
        source = zipfile.ZipFile(path)  # stays open as long as the archive is read
        entries = source.infolist()
        size = path.stat().st_size
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise InputError(f"{path}: is a damaged archive; {_AGAIN}") from None
    if len(entries) > MEMBERS or sum(entry.file_size for entry in entries) > _GROWTH * size + _SLACK:
        raise InputError(f"{path}: would unpack to far more than a model; {_AGAIN}")
    members: dict[str, zipfile.ZipInfo] = {}
    tops = {entry.filename.partition("/")[0] for entry in entries}
    for entry in entries:
        name = entry.filename.partition("/")[2]
        shown = printable(entry.filename, 80)
        if entry.flag_bits & 1:
            raise InputError(f"{path}: its part '{shown}' is encrypted; save the model without a password")
        if name in members or len(tops) > 1 or _leads_elsewhere(entry.filename):
            raise UntrustedError(
                f"{path}: its part '{shown}' is not named as PyTorch names parts; export the model again"
            )
        members[name] = entry
    return Archive(path, members, source)


def _leads_elsewhere(name: str) -> bool:
    parts = name.split("/")
    return "\\" in name or ".." in parts or name.startswith("/") or "\0" in name or ":" in parts[0]
