"""What a file is, judged by its first bytes: what is no ONNX model is refused before a parser sees it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.errors import InputError, UntrustedError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

HEAD = 4096
"""Bytes that are looked at."""

_EXPORT = "export the model to ONNX where it was trained, for example with torch.onnx.export"
_PICKLE = b"\x80"
_ZIP = b"PK\x03\x04"
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "is a git-lfs pointer, not the model", "fetch the model with: git lfs pull"),
    (b"<!doctype", "is a web page, not a model", "download the file itself"),
    (b"<html", "is a web page, not a model", "download the file itself"),
    (b"<?xml", "is XML, not an ONNX model", "an OpenVINO model is given by its .xml name"),
    (b"{", "is JSON, not an ONNX model", _EXPORT),
    (b"\x89hdf", "is an HDF5 file, not an ONNX model", _EXPORT),
    (b"\x1f\x8b", "is a gzip archive, not an ONNX model", "unpack it"),
)
_AFTER_VERSION = frozenset({0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2, 0xCA})
"""First bytes of the fields that can follow ``ir_version`` in a ModelProto."""


def looks_like_onnx(head: bytes) -> bool:
    """Tell whether bytes begin like a ModelProto: a small ir_version, then another field of it."""
    return len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 64 and head[2] in _AFTER_VERSION


def check_file(path: Path) -> None:
    """Refuse what cannot be an ONNX model, saying what it is instead.

    Raises
    ------
    InputError
        The file is missing, a folder, empty, or of another kind.
    UntrustedError
        The file is a pickle, or an archive of one: loading such a file runs the code that it carries.
    """
    if path.is_dir():
        inside = sorted(child.name for child in path.glob("*.onnx"))
        raise InputError(f"{path}: is a folder; name the model inside it{f': {inside[0]}' if inside else ''}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path of the model") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if not head:
        raise InputError(f"{path}: is empty (0 bytes); export or download the model again")
    if head.startswith(_PICKLE):
        raise UntrustedError(f"{path}: is a Python pickle, which can run code when loaded; {_EXPORT}")
    if head.startswith(_ZIP):
        _refuse_archive(path)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, what, remedy in _OTHERS:
        if start.startswith(mark):
            raise InputError(f"{path}: {what}; {remedy}")


def external_files(path: Path, model: ModelProto) -> tuple[Path, ...]:
    """Return the data files of a model, after a check that each is there, whole, and in its folder.

    Raises
    ------
    InputError
        A data file is missing or short.
    UntrustedError
        A data file lies outside the model's folder.
    """
    folder = path.parent.resolve()
    ends: dict[str, int] = {}
    for tensor in tensors(model.graph):
        if tensor.data_location == tensor.EXTERNAL:
            facts = {entry.key: entry.value for entry in tensor.external_data}
            end = _number(facts.get("offset")) + _number(facts.get("length"))
            location = facts.get("location", "")
            ends[location] = max(ends.get(location, 0), end)
    for location, end in ends.items():
        file = folder / location
        if not location or not file.resolve().is_relative_to(folder):
            raise UntrustedError(
                f"{path}: its weights are said to be in {location!r}, outside the model's folder, "
                "which is refused; put the data file beside the model"
            )
        if not file.is_file():
            raise InputError(
                f"{path}: its weights are in the file {location!r}, which is missing; put it beside the model"
            )
        if file.stat().st_size < end:
            raise InputError(
                f"{path}: its data file {location!r} has {file.stat().st_size} bytes where {end} are needed; "
                "copy or download it again"
            )
    return tuple(folder / location for location in sorted(ends))


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every constant tensor of a graph: initialisers and attributes, those of sub-graphs too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from tensors(attribute.g)
            for inner in attribute.graphs:
                yield from tensors(inner)


def _refuse_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        names = []
    if any(name.endswith(".pkl") for name in names):
        raise UntrustedError(
            f"{path}: is a PyTorch checkpoint (a pickle in a zip archive), which can run code when loaded; {_EXPORT}"
        )
    raise InputError(f"{path}: is a zip archive, not an ONNX model; unpack it, or {_EXPORT}")


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
