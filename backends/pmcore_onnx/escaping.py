"""Text that a model brings along, as part of one line of an error message."""

from __future__ import annotations

_LONGEST = 300
"""Characters of such a text that are shown."""


def printable(text: object) -> str:
    """Return a text with line breaks and control characters escaped, shortened."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text)[: _LONGEST + 1])
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
