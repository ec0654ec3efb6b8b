"""What a file is, judged by its first bytes: what is no ONNX model is refused before a parser sees it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.errors import InputError, UntrustedError
from pmcore.model_files import check_data_file, read_head
from pmcore.quoting import printable

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

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
_DIGITS = 19
"""Digits of an offset or a length: more than any file has bytes."""


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
    head = read_head(path, "*.onnx")
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
        A data file is missing or short, or cannot be named or measured by what the model says of it.
    UntrustedError
        A data file lies outside the model's folder.
    """
    folder = path.parent.resolve()
    ends: dict[str, int] = {}
    for tensor in tensors(model):
        if tensor.data_location == tensor.EXTERNAL:
            facts = {entry.key: entry.value for entry in tensor.external_data}
            end = _number(facts.get("offset"), path) + _number(facts.get("length"), path)
            location = facts.get("location", "")
            ends[location] = max(ends.get(location, 0), end)
    for location, end in ends.items():
        check_data_file(path, location, end)
    return tuple(folder / location for location in sorted(ends))


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every constant tensor of a model: initialisers and attributes, those of sub-graphs and functions too."""
    yield from _tensors_of(model.graph)
    for function in model.functions:
        yield from _held_by(function.node)
        yield from _held_in(function.attribute_proto)


def _tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _held_by(graph.node)


def _held_by(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    return _held_in(found for node in nodes for found in node.attribute)


def _held_in(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (
            *((attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()),
            *attribute.sparse_tensors,
        ):
            yield sparse.values
            yield sparse.indices
        for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            yield from _tensors_of(inner)


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


def _number(text: str | None, path: Path) -> int:
    """Return an offset or a length, 0 where none is given."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise InputError(
            f"{path}: says '{printable(text, 60)}' where its data file has a number of bytes; export the model again"
        )
    return int(text)
