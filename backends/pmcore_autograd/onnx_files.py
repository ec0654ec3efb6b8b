"""ONNX files as what strangers wrote: of the right kind, whole, with weights in their own folder only."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


def open_model(path: Path) -> ModelProto:
    """Read a model; weights in files of their own stay there, and are known to be there.

    Raises
    ------
    InputError
        The file is missing, damaged or of another kind, or a file of weights is missing or short.
    UntrustedError
        The file is a pickle, or reaches for files outside its folder.
    """
    check_file(path)
    import onnx

    try:
        model: ModelProto = onnx.load(path, format="protobuf", load_external_data=False)
    except (OSError, MemoryError):
        raise
    except Exception:  # protobuf's DecodeError, wherever this version of it keeps it
        raise InputError(
            f"{path}: is no whole ONNX model; name a file that an exporter wrote, or copy it again"
        ) from None
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path}: holds no graph with nodes and outputs; copy or export it again")
    if not all(isinstance(name, str) for name in _names(model)):
        raise InputError(f"{path}: is a damaged ONNX model (names that are no text); copy or export it again")
    external_files(path, model)
    return model


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
        if is_external(tensor):
            place = Place.of(tensor, path)
            ends[place.location] = max(ends.get(place.location, 0), place.offset + place.length)
    for location, end in ends.items():
        check_data_file(path, location, end)
    return tuple(folder / location for location in sorted(ends))


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor stand.

    Parameters
    ----------
    location : of the file, relative to the model's folder
    offset : of the first byte
    length : number of bytes
    """

    location: str
    offset: int
    length: int

    @classmethod
    def of(cls, tensor: TensorProto, path: Path) -> Place:
        """Read what a tensor says of its place; without a length it ends where its shape does."""
        facts = {entry.key: entry.value for entry in tensor.external_data}
        length = _number(facts.get("length"), path)
        return cls(facts.get("location", ""), _number(facts.get("offset"), path), length)


def is_external(tensor: TensorProto) -> bool:
    """Tell whether the bytes of a tensor stand in a file of their own."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every constant tensor of a model: initialisers and attributes, those of sub-graphs and functions too."""
    yield from _tensors_of(model.graph)
    for function in model.functions:
        yield from _held_by(function.node)
        yield from _held_in(function.attribute_proto)


def _tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _held_by(graph.node)


def _held_by(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    return _held_in(found for node in nodes for found in node.attribute)


def _held_in(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        own = (attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()
        for sparse in (*own, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
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


def _names(model: ModelProto) -> Iterator[object]:
    """Yield every name that is read here; protobuf hands out as bytes what is no text."""
    graph = model.graph
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (entry.domain for entry in model.opset_import)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (found.name for found in node.attribute)
    for tensor in tensors(model):
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
        yield from (node.op_type for node in function.node)


def _number(text: str | None, path: Path) -> int:
    """Return an offset or a length, 0 where none is given."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        shown = printable(text, 60)
        raise InputError(f"{path}: says '{shown}' where its data file has a number of bytes; export the model again")
    return int(text)
