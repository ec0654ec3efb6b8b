"""Keeps the framework's warnings and messages off the streams while a model is loaded."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator

_LOG_LEVEL = "TORCH_CPP_LOG_LEVEL"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow what the block prints, warns of and logs; what it raises passes."""
    sink = io.StringIO()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


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
