"""OpenVINO IR, read as text before OpenVINO sees it: well-formed, of known parts, and within its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from pmcore.errors import InputError, ModelError, UntrustedError
from pmcore.quoting import printable

LARGEST = 2**28
"""Bytes of an .xml that are read; those of networks with billions of parameters have a tenth."""
DEEPEST = 64
"""How deep elements may stand in each other."""

_PIECE = 2**16
_GRAPHS = frozenset({"net", "body", "then_body", "else_body"})
_OPAQUE = frozenset({"rt_info", "meta_data", "quantization_parameters"})
"""Elements that hold what anybody likes, under any name."""
_MOST_DIMENSIONS = 64
_MOST_LAYERS = 50_000
"""Layers of one graph: the runtime walks along a chain of them by recursion, which a far longer one ends in a crash."""
_OLDEST = 10
_NEWEST = 99
_OPSET = re.compile(r"opset\d{1,3}|experimental|ie_internal_opset|type_relaxed_opset")
_BITS: Mapping[str, int] = {
    **{f"{kind}{bits}": bits for kind in "iu" for bits in (4, 8, 16, 32, 64)},
    "f16": 16,
    "f32": 32,
    "f64": 64,
    "bf16": 16,
    "boolean": 8,
    "u1": 1,
    "nf4": 4,
}
_DIGITS = 18


@dataclass(frozen=True)
class IrFacts:
    """What the text of a model says.

    Parameters
    ----------
    weights : the file of its constants, beside it
    end : bytes of that file that its constants reach
    """

    weights: Path
    end: int

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that hold the model besides its text."""
        return (self.weights,) if self.weights.is_file() else ()

    @property
    def properties(self) -> Mapping[str, str]:
        """Return metadata that the runtime would not tell: none."""
        return {}


def check_ir(path: Path) -> IrFacts:
    """Read the text of a model piece by piece and refuse what OpenVINO should not be given.

    Raises
    ------
    InputError
        It is damaged, too large or no model.
    UntrustedError
        It declares a document type, by which XML reaches for other files.
    ModelError
        It names operators of an extension library, which is never loaded.
    """
    reader = _Reader(path)
    try:
        with path.open("rb") as file:
            reader.read(file.read(LARGEST + 1) if path.stat().st_size <= LARGEST else b"")
    except expat.ExpatError as error:
        raise reader.damaged(expat.ErrorString(error.code)) from None
    if not reader.results:
        raise InputError(
            f"{path}: holds no graph with nodes and outputs, so it is truncated or no OpenVINO model; "
            "copy or export it again"
        )
    return IrFacts(path.with_suffix(".bin"), reader.end)


@dataclass
class _Scope:
    """A graph while it is read: the ports of its layers, the edges between them, and the layer that is open."""

    ports: dict[int, set[int]] = field(default_factory=dict)
    edges: list[tuple[int, int, int, int]] = field(default_factory=list)
    open: list[tuple[int, str]] = field(default_factory=list)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        self.results = 0
        self._depth: list[str] = []
        self._opaque = 0
        self._scopes: list[_Scope] = []
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.XmlDeclHandler = self._declaration
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._finish

    def read(self, text: bytes) -> None:
        if not text:
            raise InputError(f"{self.path}: has more than {LARGEST} bytes of text; export the model again")
        for start in range(0, len(text), _PIECE):
            self._parser.Parse(text[start : start + _PIECE], False)
        self._parser.Parse(b"", True)

    def damaged(self, why: str) -> InputError:
        line = self._parser.CurrentLineNumber
        return InputError(
            f"{self.path}: is a damaged or truncated OpenVINO model (line {line}: {printable(why, 120)}); "
            "copy or export it again"
        )

    def _doctype(self, *_: object) -> None:
        raise UntrustedError(
            f"{self.path}: declares a document type (DOCTYPE), by which XML reaches for other files; "
            "export the model again"
        )

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise self.damaged(f"encoding {encoding}")

    def _start(self, name: str, given: dict[str, str]) -> None:
        if not self._depth and name != "net":
            raise InputError(
                f"{self.path}: is XML, but no OpenVINO model (its root is <{printable(name, 60)}>, not <net>); "
                "name the .xml that OpenVINO wrote"
            )
        if len(self._depth) >= DEEPEST:
            raise self.damaged(f"more than {DEEPEST} elements in each other")
        parent = self._depth[-1] if self._depth else ""
        self._depth.append(name)
        if self._opaque or name in _OPAQUE:
            self._opaque += 1
        elif name in _GRAPHS:
            self._scopes.append(_Scope())
            if not parent:
                self._version(given)
            elif name == "net":
                raise self.damaged("a second <net>")
        elif name == "layer":
            if parent != "layers":
                raise self.damaged(f"a layer in <{printable(parent, 60)}>")
            self._layer(given)
        elif name == "data" and parent == "layer" and self._scopes[-1].open[-1][1] == "Const":
            self._constant(given)
        elif name == "port" and parent in ("input", "output") and self._scopes[-1].open:
            self._scopes[-1].ports[self._scopes[-1].open[-1][0]].add(self._number(given, "id"))
        elif name == "edge" and parent == "edges":
            ends = [self._number(given, key) for key in ("from-layer", "from-port", "to-layer", "to-port")]
            self._scopes[-1].edges.append((ends[0], ends[1], ends[2], ends[3]))

    def _finish(self, name: str) -> None:
        self._depth.pop()
        if self._opaque:
            self._opaque -= 1
        elif name == "layer":
            self._scopes[-1].open.pop()
        elif name in _GRAPHS:
            scope = self._scopes.pop()
            for source, out, sink, entry in scope.edges:
                if out not in scope.ports.get(source, ()) or entry not in scope.ports.get(sink, ()):
                    raise self.damaged(f"an edge from {source}:{out} to {sink}:{entry}, of which one is not there")

    def _version(self, given: Mapping[str, str]) -> None:
        version = self._number(given, "version")
        if not _OLDEST <= version <= _NEWEST:
            raise InputError(
                f"{self.path}: is OpenVINO IR of version {version}, which is no longer read; export the model again"
            )

    def _layer(self, given: Mapping[str, str]) -> None:
        kind, opset = given.get("type", ""), given.get("version", "opset1")
        if not _OPSET.fullmatch(opset):
            raise ModelError(
                f"{self.path}: operator {printable(kind, 60)!r} ({printable(opset, 60)}) is of an extension of "
                "OpenVINO, which is not loaded; export the model with standard operators"
            )
        if kind == "Constant":  # built like a Const, but without its numbers: the runtime would read from nowhere
            raise self.damaged("a layer of type Constant, which is called Const")
        number = self._number(given, "id")
        ports = self._scopes[-1].ports
        if len(ports) >= _MOST_LAYERS:
            raise self.damaged(f"more than {_MOST_LAYERS} layers in one graph")
        if number in ports:
            raise self.damaged(f"two layers {number}")
        ports[number] = set()
        self._scopes[-1].open.append((number, kind))
        self.results += kind == "Result" and len(self._scopes) == 1

    def _constant(self, given: Mapping[str, str]) -> None:
        offset, size = self._number(given, "offset"), self._number(given, "size")
        self.end = max(self.end, offset + size)
        bits = _BITS.get(given.get("element_type", ""))
        if bits is None:
            return
        elements = 1
        shape = [part.strip() for part in given.get("shape", "").split(",") if part.strip()]
        for part in shape:
            if len(shape) > _MOST_DIMENSIONS or not _is_count(part):
                raise self.damaged(f"a constant of shape {given['shape']}")
            elements *= int(part)
        if (elements * bits + 7) // 8 > size:
            raise self.damaged(f"a constant of {elements} elements in {size} bytes")

    def _number(self, given: Mapping[str, str], key: str) -> int:
        text = given.get(key, "")
        if not _is_count(text):
            raise self.damaged(f"{key} is {text!r}")
        return int(text)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS
