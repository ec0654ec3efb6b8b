"""Where an ONNX file keeps its weights and what its metadata says, read from its bytes without the onnx package."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pmcore.errors import InputError
from pmcore.model_files import check_data_file

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_NESTED: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 14: "metadata", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "place"},
}
"""Messages of onnx.proto -> the fields that lead to tensors -> their messages."""
_EXTERNAL = 14
_DEEPEST = 64
_DIGITS = 19
_LARGEST_TAG = 2**32 - 1
_ENUM = 2**32 - 1
"""Bits of a choice that protocol buffers keep: what is above them is dropped, so that 2**32 + 1 is read as 1."""


@dataclass(frozen=True)
class OnnxFacts:
    """What an ONNX file says of itself: the data files beside it, and its metadata by key."""

    files: tuple[Path, ...]
    properties: Mapping[str, str]


def read_onnx_facts(path: Path) -> OnnxFacts:
    """Read the data files of a model, after a check that each is there, whole and in its folder, and its metadata.

    Raises
    ------
    InputError
        The file is damaged, or a data file is missing or short.
    UntrustedError
        A data file lies outside the model's folder, or is an address in memory.
    """
    found = _Found()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _walk(data, 0, len(data), "model", found, 0)
        except (IndexError, ValueError):
            raise InputError(f"{path}: is a damaged or truncated ONNX model; copy or export it again") from None
    folder = path.parent.resolve()
    for location, end in found.ends.items():
        check_data_file(path, location, end)
    if found.producer:
        found.properties["producer_name"] = " ".join(filter(None, found.producer))
    return OnnxFacts(tuple(folder / location for location in sorted(found.ends)), found.properties)


@dataclass
class _Found:
    """What a walk has come upon."""

    ends: dict[str, int] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    producer: list[str] = field(default_factory=list)


def _walk(data: mmap.mmap, start: int, stop: int, kind: str, found: _Found, depth: int) -> None:
    """Visit a message; what is nested deeper than any exporter writes is no model."""
    if depth > _DEEPEST:
        raise ValueError
    places: list[tuple[str, str]] = []
    external = False
    for number, value, end in _fields(data, start, stop):
        inner = _NESTED[kind].get(number)
        if end is None:
            external |= kind == "tensor" and number == _EXTERNAL and value & _ENUM == 1
        elif inner in ("place", "metadata"):
            entry = {key: _text(data, a, b) for key, a, b in _fields(data, value, end) if b is not None}
            if inner == "place":
                places.append((entry.get(1, ""), entry.get(2, "")))
            else:
                found.properties[entry.get(1, "")] = entry.get(2, "")
        elif inner is not None:
            _walk(data, value, end, inner, found, depth + 1)
        elif kind == "model" and number in (2, 3):
            found.producer.append(_text(data, value, end))
    if external:
        facts = dict(places)
        location = facts.get("location", "")
        end = _number(facts.get("offset")) + _number(facts.get("length"))
        found.ends[location] = max(found.ends.get(location, 0), end)


def _fields(data: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield the fields of a message: number, then the value of a varint and None, or where its bytes begin and end."""
    while start < stop:
        tag, start = _varint(data, start, stop)
        if tag > _LARGEST_TAG:
            raise ValueError
        wire = tag & 7
        if wire == _VARINT:
            value, start = _varint(data, start, stop)
            yield tag >> 3, value, None
            continue
        if wire == _BYTES:
            size, start = _varint(data, start, stop)
        elif wire in (_EIGHT, _FOUR):
            size = 8 if wire == _EIGHT else 4
        else:
            raise ValueError
        if not tag >> 3 or start + size > stop:
            raise ValueError
        if wire == _BYTES:
            yield tag >> 3, start, start + size
        start += size


def _varint(data: mmap.mmap, start: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if start >= stop:
            raise ValueError
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
    raise ValueError


def _text(data: mmap.mmap, start: int, stop: int) -> str:
    return data[start:stop].decode("utf-8")


def _number(text: str | None) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ValueError
    return int(text)
