"""What a framework raises, as one line of ours: what failed, what the framework says first, what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pmcore.errors import ModelError, OutOfMemory
from pmcore.quoting import printable

SEE_RECORDS = "see that the records are what it was trained on"
_LONGEST = 300
"""Characters of a message of a framework that are shown."""
_MEMORY = re.compile(
    r"failed to allocate|can(?:no|')t allocate|could not allocate|when allocating|bad_alloc|bad allocation"
    r"|not enough memory|out[ _]?of[ _]?memory|out_of_(?:device|host|resources)|alloc_failed|DefaultCPUAllocator"
    r"|array_new_length|ResourceExhausted",
    re.IGNORECASE,
)


def failure(
    error: Exception, runtime: str, line: str, path: Path, what: str = "failed", remedy: str = SEE_RECORDS
) -> ModelError:
    """Return what a framework raised as one line of ours.

    Parameters
    ----------
    runtime : what failed, such as "onnxruntime"
    line : what its message says; see `first_line`
    what : what it did, such as "does not take the model"
    """
    if isinstance(error, ModelError):
        return error
    if _ran_out_of_memory(error):
        return OutOfMemory(f"{path}: {runtime} ran out of memory ({line}); use a smaller batch")
    return ModelError(f"{path}: {runtime} {what}: {line}; {remedy}")


def refusal(error: Exception, runtime: str, line: str, path: Path) -> ModelError:
    """Return what a runtime raised while a model was loaded; see `failure`."""
    if not isinstance(error, ModelError) and _ran_out_of_memory(error):
        return OutOfMemory(f"{path}: {runtime} ran out of memory ({line}); free some")
    return failure(error, runtime, line, path, "does not take the model", "export it again")


def unknown_operator(kind: str, opset: str, runtime: str, path: Path) -> ModelError:
    """Return what is raised where a model has an operator that the runtime lacks.

    Parameters
    ----------
    opset : the operator set, as the runtime calls it; "" if it is not told
    runtime : name and version
    """
    of = f" ({printable(opset, 60)})" if opset else ""
    return ModelError(
        f"{path}: operator {printable(kind, 60)!r}{of} is not known to {runtime}; "
        f"export the model with standard operators, or use a newer {runtime.partition(' ')[0]}"
    )


def first_line(error: BaseException, noise: Sequence[re.Pattern[str]] = (), lines: int = 1) -> str:
    """Return what a message says first, printable; the name of the exception where it says nothing.

    Parameters
    ----------
    noise : what is left out of each line, such as codes and source paths
    lines : how many lines that are not empty then are joined
    """
    told: list[str] = []
    for line in str(error).splitlines():
        for pattern in noise:
            line = pattern.sub("", line.strip())
        if line.strip():
            told.append(line.strip())
        if len(told) == lines:
            break
    return printable(": ".join(told), _LONGEST).rstrip(".:; ") or type(error).__name__


def _ran_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory, of the machine or of a device, did not suffice."""
    kind = type(error).__name__
    return isinstance(error, MemoryError) or _MEMORY.search(f"{kind} {error}") is not None
