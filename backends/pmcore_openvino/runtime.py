"""OpenVINO itself: its version, its reading of files that were checked, and its failures in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pmcore.errors import ModelError
from pmcore.runtime_failures import failure, first_line, refusal, unknown_operator
from pmcore_autograd.openvino_importing import import_openvino

_RUNTIME = "openvino"
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
        raise untaken(error, path) from None


def untaken(error: Exception, path: Path) -> ModelError:
    """Return why OpenVINO does not take a model, as one line of ours."""
    for pattern in _UNKNOWN:
        found = pattern.search(str(error))
        if found:
            return unknown_operator(found["kind"], found["opset"].strip(":"), version(), path)
    return refusal(error, _RUNTIME, _line(error), path)


def version() -> str:
    """Return the runtime's name and version, such as "openvino 2026.4.1"."""
    openvino = import_openvino()

    return f"{_RUNTIME} {str(openvino.__version__).partition('-')[0]}"


def failed(error: Exception, path: Path) -> ModelError:
    """Return what the runtime raised as one line of ours."""
    return failure(error, _RUNTIME, _line(error), path)


def _line(error: Exception) -> str:
    """Return the first two lines of the runtime's message that are no source paths, as one."""
    return first_line(error, _NOISE, lines=2)
