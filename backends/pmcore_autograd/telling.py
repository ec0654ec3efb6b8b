"""What is told of a node is told of its file: the path goes before every message that lacks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pmcore.errors import AuditError

IN_MEMORY = "Model in memory"
"""What a model that came from no file is called."""


@contextmanager
def naming(where: str | Path) -> Iterator[None]:
    """Put the file before the message of an `AuditError` that leaves the block, if it does not begin so."""
    try:
        yield
    except AuditError as error:
        text, title = str(error), f"{where}: "
        if not text.startswith(title):
            error.args = (f"{title}{text.removeprefix(f'{IN_MEMORY}: ')}",)
        raise
