"""Standard output: a reader that leaves early changes nothing, a full disk is one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pmcore.errors import AuditError


@contextmanager
def standard_output() -> Iterator[None]:
    """Print within this block, and nothing else: if the reader has left, as ``| head`` does, the rest is dropped.

    Raises
    ------
    AuditError
        Standard output cannot be written to.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
    except OSError as error:
        forget_output()
        text = error.strerror or str(error)
        raise AuditError(f"standard output: {text[:1].lower()}{text[1:]} - send it elsewhere") from None


def echo(line: str = "") -> None:
    """Print one line; what names from files hold can neither end it nor steer a terminal."""
    from pmcore.quoting import printable

    print(printable(line))


def forget_output() -> None:
    """Point standard output to nowhere, so that the interpreter's last flush of it cannot fail."""
    with suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
