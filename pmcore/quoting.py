"""How a value that somebody gave is quoted in a message: as Python writes it, and short whatever it holds."""

from __future__ import annotations

from reprlib import Repr

LONGEST = 200
"""Characters of a quotation."""


def quoted(value: object) -> str:
    """Return a value as Python writes it, long ones with "..." for what is left out."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = LONGEST
_SHORT.maxlevel = 3
