"""Numbers of records as every text spells them."""

from __future__ import annotations


def count(n: int) -> str:
    """Return a number of records: 5 000."""
    return f"{n:,}".replace(",", " ")
