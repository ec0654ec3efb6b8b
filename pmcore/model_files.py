"""The files of a model before any framework sees them: there, readable, whole, and in the model's own folder."""

from __future__ import annotations

from pathlib import Path

from pmcore.errors import InputError, UntrustedError
from pmcore.quoting import printable

HEAD = 4096
"""Bytes at the start of a file by which its kind is told."""
_IN_MEMORY = "_ORT_MEM_ADDR_"
"""In a location, tells runtimes that weights stand in memory already, at the offset as an address."""


def read_head(path: Path, pattern: str | None = None) -> bytes:
    """Return how a model file begins, at least one byte.

    Parameters
    ----------
    pattern : such as "*.onnx": names of which one is proposed where `path` is a folder

    Raises
    ------
    InputError
        There is no such file, or it is a folder, empty or not readable.
    """
    if path.is_dir():
        inside = sorted(child.name for child in path.glob(pattern)) if pattern is not None else []
        hint = f": {printable(inside[0])}" if inside else ""
        raise InputError(f"{path}: is a folder; name the model inside it{hint}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path of the model") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if not head:
        raise InputError(f"{path}: is empty (0 bytes); export or download the model again")
    return head


def check_data_file(path: Path, location: str, end: int) -> None:
    """Refuse a file of weights that is not in the model's folder or below it, or has fewer bytes than are needed.

    Parameters
    ----------
    path : the model
    location : where the model says that its weights are, relative to its folder
    end : bytes that the file must have

    Raises
    ------
    InputError
        The file is missing or short, or cannot be named so.
    UntrustedError
        It is outside the folder, or no file but an address in memory.
    """
    shown = f"'{printable(str(location), 300)}'"
    folder = path.parent.resolve()
    if _IN_MEMORY in str(location):
        raise UntrustedError(
            f"{path}: its weights are said to be in {shown}, an address in memory, which is refused; "
            "export the model again"
        )
    try:
        file = (folder / location).resolve()
        inside = bool(location) and file.is_relative_to(folder)
        size = file.stat().st_size if inside and file.is_file() else None
    except (OSError, RuntimeError, TypeError, ValueError):  # loops of links, NUL, names too long, no text
        raise InputError(
            f"{path}: its weights are said to be in {shown}, which no file can be opened by; export the model again"
        ) from None
    if not inside:
        raise UntrustedError(
            f"{path}: its weights are said to be in {shown}, outside the model's folder, "
            "which is refused; put the data file beside the model"
        )
    if size is None:
        raise InputError(
            f"{path}: its weights are in the file {shown}, which is missing or no plain file; put it beside the model"
        )
    if size < end:
        raise InputError(
            f"{path}: its data file {shown} has {size} bytes where {end} are needed; copy or download it again"
        )
