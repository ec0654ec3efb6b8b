"""OpenVINO itself: its version, its reading of files that were checked, and its failures in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pmcore.errors import ModelError, OutOfMemory
from pmcore.quoting import printable
from pmcore_openvino.importing import import_openvino

LONGEST_MESSAGE = 300
"""Characters of a message of the runtime that are shown."""

_MEMORY = re.compile(
    r"failed to allocate|can(?:no|')t allocate|could not allocate|bad_alloc|bad allocation|out of memory"
    r"|out_of_(?:device|host|resources)|array_new_length",
    re.IGNORECASE,
)
_UNKNOWN = (
    re.compile(r"Cannot create (?P<kind>\S+) layer .* from unsupported opset: (?P<opset>\S+)"),
    re.compile(r"Opset (?P<opset>\S+) doesn't contain the operation with type: (?P<kind>\S+)"),
    re.compile(
        r"(?:does not support the following ONNX operations|No conversion rule found for operations)"
        r"(?P<opset>:?) (?P<kind>[\w.:]+)"
    ),
)
_NOISE = (
    re.compile(r"^Caught exception:"),
    re.compile(r"^Exception from \S+:\d+:?"),
    re.compile(r"^Check '.*?' failed at \S+:\d+:?"),
    re.compile(r"(?<=\S) Check '.*?' failed at \S+:\d+:?$"),
)


def make_core() -> Any:
    """Return a new OpenVINO runtime, which caches nothing on disk and loads no extension."""
    openvino = import_openvino()

    return openvino.Core()


def read_model(core: Any, path: Path, weights: Path | None) -> Any:
    """Let OpenVINO read files that were checked: IR, or ONNX by the reader for ONNX alone.

    Raises
    ------
    ModelError
        It does not take the model.
    """
    try:
        if path.suffix.lower() == ".onnx":  # otherwise every reader would try its luck, some of them aloud
            reader = import_openvino().frontend.FrontEndManager().load_by_framework("onnx")
            return reader.convert(reader.load(str(path)))
        return core.read_model(path) if weights is None else core.read_model(path, weights)
    except Exception as error:  # the runtime's exceptions share no base class but this
        raise refusal(error, path) from None


def refusal(error: Exception, path: Path) -> ModelError:
    """Return why OpenVINO does not take a model, as one line of ours."""
    if isinstance(error, ModelError):
        return error
    text = str(error)
    for pattern in _UNKNOWN:
        found = pattern.search(text)
        if found:
            opset = f" ({printable(found['opset'], 60)})" if found["opset"].strip(":") else ""
            return ModelError(
                f"{path}: operator {printable(found['kind'], 60)!r}{opset} is not known to {version()}; "
                "export the model with standard operators, or use a newer openvino"
            )
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return OutOfMemory(f"{path}: openvino ran out of memory ({_first_line(error)}); free some")
    return ModelError(f"{path}: openvino does not take the model: {_first_line(error)}; export it again")


def version() -> str:
    """Return the runtime's name and version, such as "openvino 2026.4.1"."""
    openvino = import_openvino()

    return f"openvino {str(openvino.__version__).partition('-')[0]}"


def failure(error: Exception, path: Path) -> ModelError:
    """Return what the runtime raised as one line of ours."""
    if isinstance(error, ModelError):
        return error
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return OutOfMemory(f"{path}: openvino ran out of memory ({_first_line(error)}); use a smaller batch")
    return ModelError(f"{path}: openvino failed: {_first_line(error)}; see that the records are what it was trained on")


def _first_line(error: Exception) -> str:
    """Return the first two lines of the runtime's message that are no source paths, as one, printable."""
    told: list[str] = []
    for line in str(error).splitlines():
        for noise in _NOISE:
            line = noise.sub("", line.strip()).strip()
        if line:
            told.append(line)
    return printable(": ".join(told[:2]), LONGEST_MESSAGE) or type(error).__name__
