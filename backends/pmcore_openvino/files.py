"""The files of a model, judged before OpenVINO sees them: IR with its weights beside it, or ONNX with its data."""

from __future__ import annotations

from pathlib import Path

from pmcore.errors import InputError, UntrustedError
from pmcore.model_files import read_head
from pmcore.quoting import printable
from pmcore_openvino.ir import IrFacts, check_ir
from pmcore_openvino.onnx_data import OnnxFacts, read_onnx_facts

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


def looks_like_ir(head: bytes) -> bool:
    """Tell whether bytes are XML in which a <net> begins, as OpenVINO IR does."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith((b"<?xml", b"<net", b"<!--", b"<!DOCTYPE net")) and b"<net" in head


def check_files(path: Path) -> IrFacts | OnnxFacts:
    """Refuse what cannot be a model of OpenVINO; return what its files say.

    Raises
    ------
    InputError
        A file is missing, short, damaged, foreign or of another kind.
    UntrustedError
        The file is a pickle, declares a document type, or keeps its weights outside its folder.
    """
    head = read_head(path, "*.xml")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"\x80"):
        raise UntrustedError(f"{path}: is a Python pickle, which can run code when loaded; {_EXPORT}")
    for mark, what, remedy in _OTHERS:
        if start.startswith(mark):
            raise InputError(f"{path}: {what}; {remedy}")
    if path.suffix.lower() == ".onnx":
        return read_onnx_facts(path)
    if not start.startswith(b"<"):
        beside = path.with_suffix(".xml")
        advice = f"name {printable(str(beside))}" if beside.is_file() and beside != path else "name its .xml file"
        raise InputError(f"{path}: is not an OpenVINO model (.xml) nor an ONNX one (.onnx); {advice}")
    facts = check_ir(path)
    _check_weights(path, facts)
    return facts


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
