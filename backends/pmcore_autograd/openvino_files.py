"""OpenVINO IR judged before OpenVINO sees it, and read without telemetry, cache or extensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pmcore.errors import InputError, UntrustedError
from pmcore.model_files import read_head
from pmcore.quoting import printable
from pmcore.runtime_failures import first_line, refusal
from pmcore_autograd.openvino_importing import import_openvino
from pmcore_autograd.openvino_ir import IrFacts, check_ir

SLACK = 4096
"""Bytes by which a .bin may exceed what its .xml names: padding. What is larger belongs to another model."""

_EXPORT = "export the model with openvino.save_model"
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "is a git-lfs pointer, not the model", "fetch the model with: git lfs pull"),
    (b"<!doctype html", "is a web page, not a model", "download the file itself"),
    (b"<html", "is a web page, not a model", "download the file itself"),
    (b"{", "is JSON, not an OpenVINO model", _EXPORT),
    (b"\x89hdf", "is an HDF5 file, not an OpenVINO model", _EXPORT),
    (b"\x1f\x8b", "is a gzip archive, not an OpenVINO model", "unpack it"),
    (b"pk\x03\x04", "is a zip archive, not an OpenVINO model", f"unpack it, or {_EXPORT}"),
)


def open_model(path: Path) -> Any:
    """Return the ``openvino.Model`` of an .xml file and the .bin beside it.

    Raises
    ------
    InputError, UntrustedError
        A file is missing, damaged, foreign or not to be trusted.
    ModelError
        OpenVINO does not take the model.
    """
    files = check_ir_files(path).files
    core = import_openvino().Core()
    try:
        return core.read_model(path, Path(files[0])) if files else core.read_model(path)
    except Exception as error:  # the runtime's exceptions share no base class but this
        raise refusal(error, "openvino", first_line(error), path) from None


def check_ir_files(path: Path) -> IrFacts:
    """Refuse what cannot be an IR with its weights beside it; return what its files say.

    Raises
    ------
    InputError
        A file is missing, short, damaged, foreign or of another kind.
    UntrustedError
        The file is a pickle, declares a document type, or keeps its weights outside its folder.
    """
    if not refuse_foreign(path).startswith(b"<"):
        beside = path.with_suffix(".xml")
        advice = f"name {printable(str(beside))}" if beside.is_file() and beside != path else "name its .xml file"
        raise InputError(f"{path}: is not an OpenVINO model (.xml) nor an ONNX one (.onnx); {advice}")
    facts = check_ir(path)
    _check_weights(path, facts)
    return facts


def refuse_foreign(path: Path) -> bytes:
    """Return how a file begins, in lower case, if that is not known to be something else than a model.

    Raises
    ------
    InputError, UntrustedError
        As `check_ir_files`.
    """
    head = read_head(path, "*.xml")
    if head.startswith(b"\x80"):
        raise UntrustedError(f"{path}: is a Python pickle, which can run code when loaded; {_EXPORT}")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, what, remedy in _OTHERS:
        if start.startswith(mark):
            raise InputError(f"{path}: {what}; {remedy}")
    return start


def _check_weights(path: Path, facts: IrFacts) -> None:
    """Refuse a .bin that is missing, short, or longer than the model's constants reach."""
    file, end = facts.weights, facts.end
    shown = f"'{printable(file.name, 300)}'"
    size = file.stat().st_size if file.is_file() else None
    if size is None:
        if end == 0 and not file.exists():
            return
        raise InputError(
            f"{path}: its weights are in the file {shown}, which is missing or no plain file; put it beside the model"
        )
    if size < end:
        raise InputError(
            f"{path}: its data file {shown} has {size} bytes where {end} are needed; copy or download it again"
        )
    if size > end + SLACK:
        raise InputError(
            f"{path}: its data file {shown} has {size} bytes where the model names {end}, so it belongs to another "
            "model; put the right one beside it"
        )
