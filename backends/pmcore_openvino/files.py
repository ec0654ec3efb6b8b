"""The files of a model, judged before OpenVINO sees them: IR with its weights beside it, or ONNX with its data."""

from __future__ import annotations

from pathlib import Path

from pmcore_autograd.openvino_files import check_ir_files, refuse_foreign
from pmcore_autograd.openvino_ir import IrFacts
from pmcore_openvino.onnx_data import OnnxFacts, read_onnx_facts


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
    if path.suffix.lower() != ".onnx":
        return check_ir_files(path)
    refuse_foreign(path)
    return read_onnx_facts(path)
