"""TensorFlow and Keras are imported when a model is loaded, in silence, and leave the environment as it was."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import random
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any

from pmcore.errors import ModelError

ONE_AT_A_TIME = threading.RLock()
"""Held while something is changed that belongs to the whole process: streams, random numbers, precision."""
_SILENT: Mapping[str, str] = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ABSL_MIN_LOG_LEVEL": "3",
    "GLOG_minloglevel": "3",
    "ENABLE_RUNTIME_UPTIME_TELEMETRY": "0",  # which TensorFlow sets to 1 otherwise
}
_KERAS: Mapping[str, str] = {"KERAS_BACKEND": "tensorflow"}


def tensorflow() -> Any:
    """Return the module tensorflow; its C++ parts read how much they may say when they are loaded.

    Keras is imported by TensorFlow itself: unless it is there already, it comes up on TensorFlow.
    """
    found = sys.modules.get("tensorflow")
    if found is not None and "keras" in sys.modules:
        return found
    wanted = dict(_SILENT) if "keras" in sys.modules else {**_SILENT, **_KERAS}
    with environment(wanted), unnoticed():
        found = importlib.import_module("tensorflow")
        with contextlib.suppress(ImportError):
            importlib.import_module("keras")
    return found


def keras() -> Any:
    """Return the module keras, which computes with TensorFlow.

    Raises
    ------
    ModelError
        Keras was imported with another backend, which a process chooses once.
    """
    tensorflow()
    found = importlib.import_module("keras")
    check_keras(found)
    return found


def check_keras(module: Any) -> None:
    """Refuse a Keras that computes with another framework."""
    backend = module.backend.backend()
    if backend != "tensorflow":
        raise ModelError(
            f"Keras computes with {backend} in this process, not with TensorFlow; "
            "start Python with KERAS_BACKEND=tensorflow, or audit the model from a .keras file in a new process"
        )


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the block, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def unnoticed() -> Iterator[None]:
    """Keep what the block writes to stdout and stderr, below Python too; show it if an import failed.

    Keras draws seeds from Python's own random numbers, when it is imported and for every initializer: they go on
    afterwards as if it had not.

    TensorFlow's C++ parts write to the file descriptors themselves, so these are turned aside. An `ImportError`
    is of use only with what was said before it, so that is written to stderr then; everything else is dropped.
    """
    with ONE_AT_A_TIME, tempfile.TemporaryFile() as kept, contextlib.ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        for descriptor in (1, 2):
            stack.enter_context(_turned_aside(descriptor, kept))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            yield
        except ImportError:
            stack.close()
            kept.seek(0)
            sys.stderr.write(kept.read().decode("utf-8", "replace"))
            raise


@contextlib.contextmanager
def _turned_aside(descriptor: int, target: IO[bytes]) -> Iterator[None]:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            stream.flush()
    try:
        kept = os.dup(descriptor)
    except OSError:  # a process without this stream has nothing to keep quiet
        yield
        return
    try:
        os.dup2(target.fileno(), descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
