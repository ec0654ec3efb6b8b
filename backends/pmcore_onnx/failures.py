"""What ONNX Runtime raises, in one line of ours."""

from __future__ import annotations

import re
from pathlib import Path

from pmcore.errors import ModelError
from pmcore.intake import RESHAPE
from pmcore.quoting import quoted
from pmcore.runtime_failures import failure, first_line, refusal, unknown_operator

_RUNTIME = "onnxruntime"
_UNKNOWN = (
    re.compile(r"No Op registered for (\S+) with domain_version of (\d+)"),
    re.compile(r"(\S+)\(-?\d+\) is not a registered function/op"),
    re.compile(r"Could not find an implementation for (\S+?)\(\d+\)"),
)
_MISFIT = re.compile(r"Got invalid dimensions for input: (\S+).*?index: (\d+) Got: (\d+) Expected: (\d+)", re.DOTALL)
_NOISE = (
    re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : "),
    re.compile(r"^Load model from .* failed: ?"),
    re.compile(r"^(Fatal error|Exception during initialization|This is an invalid model\.( Error)?): ?"),
    re.compile(r"\S+\.(?:cc|h|cu|cuh|hpp):\d+ (?:(?:[\w:*&<>~]+ )*[\w:~<>]+\([^()]*\)(?: const)? |\w+ )?"),
)


def failed(error: Exception, path: Path) -> ModelError:
    """Return what was raised while the model was asked."""
    misfit = _MISFIT.search(str(error))
    if misfit:
        return ModelError(
            f"{path}: input {quoted(misfit[1])} takes {misfit[4]} along axis {misfit[2]} and was given {misfit[3]}; "
            f"{RESHAPE}"
        )
    return failure(error, _RUNTIME, told(error), path)


def untaken(error: Exception, path: Path, version: str) -> ModelError:
    """Return why the runtime does not take a model."""
    for pattern in _UNKNOWN:
        found = pattern.search(str(error))
        if found:
            opset = f"opset {found[2]}" if pattern.groups > 1 else ""
            return unknown_operator(found[1], opset, f"{_RUNTIME} {version}", path)
    return refusal(error, _RUNTIME, told(error), path)


def told(error: Exception) -> str:
    """Return the first line of the runtime's message, trimmed of codes and source paths."""
    return first_line(error, _NOISE)
