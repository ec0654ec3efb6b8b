"""Keeps the framework's warnings and messages off the streams while a model is loaded."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator

ONE_AT_A_TIME = threading.RLock()
"""Held while something is changed that belongs to the whole process: streams, filters, flags, precision."""
_LOG_LEVEL = "TORCH_CPP_LOG_LEVEL"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what the block prints, warns of and logs; what it raises passes."""
    sink = io.StringIO()
    with ONE_AT_A_TIME, contextlib.ExitStack() as stack:
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        stack.enter_context(contextlib.redirect_stdout(sink))
        stack.enter_context(contextlib.redirect_stderr(sink))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def start_torch() -> None:
    """Import PyTorch without a word; where it is imported already, do nothing."""
    if "torch" in sys.modules:
        return
    before = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = "ERROR"  # read once, when its libraries are loaded
    try:
        with quiet():
            import torch  # noqa: F401
    finally:
        os.environ.pop(_LOG_LEVEL)
        if before is not None:
            os.environ[_LOG_LEVEL] = before
