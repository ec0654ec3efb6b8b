"""One measured ratio per row: its median, its spread, its target, and whether it holds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What was measured.

    Parameters
    ----------
    what : in words, for the table
    values : one per repetition; their median is held against the target
    target : what the median must not exceed
    unit : "x" for a ratio of two times
    details : what a reader may want to know beside the figure
    """

    what: str
    values: tuple[float, ...]
    target: float
    unit: str = "x"
    details: str = ""

    @property
    def median(self) -> float:
        """Return the middle of the repetitions."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        """Return whether the median is within the target."""
        return self.median <= self.target


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Return the ratio of two times of each repetition: what slows a whole repetition down cancels."""
    return tuple(a / b for a, b in zip(above, below, strict=True))


def seconds(times: Sequence[float]) -> str:
    """Return the median of some times in words."""
    return f"{statistics.median(times):.3g} s"


def table(results: Sequence[Result]) -> str:
    """Return the results as text, one per line."""
    heads = ("what", "median", "spread", "target", "", "medians of the times")
    rows = [heads, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    spread = f"{min(result.values):.3g} to {max(result.values):.3g}" if len(result.values) > 1 else ""
    return (
        result.what,
        f"{result.median:.3g} {result.unit}",
        spread,
        f"<= {result.target:g}",
        "ok" if result.holds else "OVER",
        result.details,
    )
