"""Work done apart from whatever the caller is under: transforms of ``torch.func``, inference mode, default devices."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def apart(work: Callable[[], Result]) -> Result:
    """Return what some work returns in a thread of its own: torch keeps all these states by thread.

    What is made there may be kept: it is no tensor of a transform that ends when the caller does.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()
