"""How texts become the lines of a terminal: labelled, wrapped, and with nothing in them that could move a cursor."""

from __future__ import annotations

import re
import textwrap

from pmcore.quoting import printable

LABEL = 15
"""Columns of the label before a text."""

# What a line break must not part: groups of digits, a rate and its name, sign and interval, an interval and a slash.
_GLUED = re.compile(
    r"(?<=\d) (?=\d{3}\b)|(?<=\d) (?=%)|(?<=%) (?=\[)|(?<=,) (?=[\d.]+\])|(?<=[FT]PR) (?=\d)|(?<=\]) (?=/)"
)


def entry(label: str, text: str, width: int, label_width: int = LABEL) -> list[str]:
    """Return a labelled text; a label too long for its column is followed by the text two blanks on."""
    first = f"{printable(label):<{label_width - 2}}  "
    return wrapped(text, width, first, " " * label_width)


def paragraph(text: str, width: int) -> list[str]:
    """Return a text over the whole width."""
    return wrapped(text, width, "", "")


def wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    """Return a text in lines, the first after `first` and all others after `others`; U+00A0 never breaks."""
    glued = "\xa0".join(_GLUED.sub("\xa0", printable(part)) for part in text.split("\xa0"))
    lines = textwrap.wrap(
        first + glued,
        width,
        subsequent_indent=others,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return [line.replace("\xa0", " ") for line in lines]
