"""Foreign text in a line of ours: values are quoted short, names can neither end the line nor steer a terminal."""

from __future__ import annotations

from reprlib import Repr

LONGEST = 200
"""Characters of a quotation."""


def quoted(value: object) -> str:
    """Return a value as Python writes it, long ones with "..." for what is left out."""
    try:
        text = " ".join(_SHORT.repr(value).split("\n"))
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def printable(text: str, longest: int | None = None) -> str:
    """Return foreign text without control characters and lone surrogates, shortened in the middle.

    Nothing that it holds can move a cursor, end a line or fail to be encoded.
    """
    clean = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)
    if longest is None or len(clean) <= longest:
        return clean
    end = (longest - 1) // 2
    return f"{clean[: longest - 1 - end]}…{clean[len(clean) - end :]}"


def _escaped(letter: str) -> str:
    return " " if letter in "\t\n\r" else ascii(letter)[1:-1]


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = LONGEST
_SHORT.maxlevel = 3
