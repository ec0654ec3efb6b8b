"""TorchScript archives are programs: their source is read before PyTorch compiles it, and again what it unpickles."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from pmcore.errors import InputError, ModelError, UntrustedError
from pmcore.quoting import printable
from pmcore.trust import how_to_trust
from pmcore_autograd.quiet import quiet, start_torch
from pmcore_torch.archives import Archive
from pmcore_torch.pickles import strange_call
from pmcore_torch.scriptsource import find_problem

NO_PROOF = (
    "The file is a TorchScript program: its code was read before it was run and nothing in it reaches for files, "
    "the system or Python objects, but such a check is no proof."
)
TRUSTED = "The file is a TorchScript program that was run because somebody vouched for it (--trust-model)."
_OLDEST = 3
_VERSIONS = (".data/version", "version")
"""Where the version of the format stands, newer formats first, as PyTorch looks for it."""
LARGEST_SOURCE = 64 * 2**20
"""Bytes of source in one part."""
_KEPT = re.compile(r"(?:data|constants|attributes)/[\w.\-]{1,60}|code/[\w./\-]{1,400}\.py|version|byteorder", re.ASCII)
_DROPPED = re.compile(
    r"\.data/\S*|\.format_version|\.storage_alignment|traced_inputs(?:/\d+|\.pkl)|extra/.*|code/.*\.debug_pkl",
    re.DOTALL,
)
_PICKLES = ("data.pkl", "constants.pkl", "attributes.pkl")


def load_script(archive: Archive, *, trusted: bool) -> Any:
    """Load a TorchScript module on the CPU.

    Parameters
    ----------
    trusted : whether somebody vouched for the file: it is then loaded as it is

    Raises
    ------
    UntrustedError
        The program reaches for files, the system or Python objects, and nobody vouched for it.
    InputError, ModelError
        The file is damaged, or PyTorch does not take it.
    """
    source = io.BytesIO(archive.path.read_bytes()) if trusted else checked_script(archive)
    start_torch()
    import torch

    with quiet():
        try:
            return torch.jit.load(source, map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:  # the loader raises what its parts raise
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = printable(lines[0] if lines else type(error).__name__, 200)
            raise ModelError(f"{archive.path}: torch does not take it: {reason}; save the module again") from None


def checked_script(archive: Archive) -> io.BytesIO:
    """Return an archive of the parts that were checked, and of these alone: what PyTorch reads is what was read here.

    Raises
    ------
    UntrustedError
        A part holds something that is not allowed; the part and its line are named.
    """
    if "model.json" in archive.members:
        _refuse(archive.path, "model.json", None, "is of a format that PyTorch stopped writing in 2019")
    if "data.pkl" not in archive.members or "constants.pkl" not in archive.members:
        raise InputError(f"{archive.path}: is a TorchScript archive without data.pkl; save or download it again")
    kept: dict[str, bytes] = {}
    for name in archive.members:
        if name in _PICKLES:
            kept[name] = archive.read(name)
            _check_pickle(archive.path, name, kept[name])
        elif _KEPT.fullmatch(name):
            if name.endswith(".py"):
                kept[name] = archive.read(name)
                check_source(archive.path, name, kept[name])
        elif name and not name.endswith("/") and not _DROPPED.fullmatch(name):
            _refuse(archive.path, name, None, "is no part of a TorchScript module")
    version = _version(archive)
    start_torch()
    import torch

    target = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(target)
    writer.set_min_version(version)  # decides what some operators mean
    for name in archive.members:
        if (name in kept or _KEPT.fullmatch(name)) and name not in ("version", "byteorder"):
            data = kept.get(name) or archive.read(name)
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    target.seek(0)
    return target


def _version(archive: Archive) -> int:
    """Return the version of the format; older ones than any that can be written, or of other machines, are refused."""
    text = next((archive.read(name).strip() for name in _VERSIONS if name in archive.members), b"")
    order = archive.read("byteorder").strip() if "byteorder" in archive.members else b"little"
    if not re.fullmatch(rb"\d{1,4}", text) or int(text) < _OLDEST or order != b"little":
        raise InputError(f"{archive.path}: is TorchScript of a format that is not read any more; save the module again")
    return int(text)


def check_source(path: Path, part: str, source: bytes) -> None:
    """Refuse source that does anything but compute.

    Raises
    ------
    UntrustedError
        A line does; it is named.
    """
    if len(source) > LARGEST_SOURCE:
        raise InputError(f"{path}: its part '{printable(part, 100)}' is larger than any program; save the module again")
    problem = find_problem(source)
    if problem is not None:
        raise _refusal(path, part, problem.line, problem.what)


def _check_pickle(path: Path, part: str, data: bytes) -> None:
    try:
        call = strange_call(data, script=True)
    except ValueError:
        raise InputError(f"{path}: its part '{part}' is damaged; save or download it again") from None
    if call is not None:
        _refuse(path, part, None, f"calls '{printable(call.name, 80)}' at byte {call.position}")


def _refuse(path: Path, part: str, line: int | None, problem: str) -> None:
    raise _refusal(path, part, line, problem)


def _refusal(path: Path, part: str, line: int | None, problem: str) -> UntrustedError:
    where = f"{printable(part, 120)}{f', line {line}' if line is not None else ''}"
    return UntrustedError(
        f"{path}: is a program, and {where}: {printable(problem, 160)} - "
        f"export the model with torch.export or to ONNX; {how_to_trust((path,))}"
    )
