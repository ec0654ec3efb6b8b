"""The differences of a comparison as one picture: a dot and its interval for each figure, beside the line of 0."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmcore.comparison_schema import ComparisonReport, DifferenceFigure
from pmcore.reports.axes import BLUE, GREY, INK, ORANGE, describe, explain, fitted, frame
from pmcore.reports.comparison_words import letter
from pmcore.reports.words import level

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

NAME = "differences"
_MOST = 40
_SETTINGS: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    # Names of attacks and folders are text, whatever dollar signs they hold.
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "pmcore",
}
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C7A00")


@dataclass(frozen=True)
class _Row:
    """One line: the attack and figure beside it, and by the place of the audit its difference."""

    attack: str
    title: str
    figures: Mapping[int, DifferenceFigure]


def picture_names() -> tuple[str, ...]:
    """Return the names of the files, without drawing them."""
    return f"{NAME}.png", f"{NAME}.svg"


def render_picture(report: ComparisonReport) -> dict[str, bytes]:
    """Return the picture as PNG, 800 pixels wide, and SVG: the same bytes for the same report."""
    # Imported here because it takes a third of a second that only pictures should cost.
    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        from matplotlib.figure import Figure as Picture

        picture = Picture(figsize=(8, 6), dpi=100, facecolor="white")
        draw_differences(picture, report)
        png, svg = io.BytesIO(), io.BytesIO()
        picture.savefig(png, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 3})
        picture.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return dict(zip(picture_names(), (png.getvalue(), svg.getvalue()), strict=True))


def draw_differences(picture: Picture, report: ComparisonReport) -> None:
    """Draw every difference of AUC, advantage and TPR that has a figure, attack by attack, audits side by side."""
    found = list(_rows(report))
    rows = found[:_MOST]
    note = textwrap.wrap(
        "Hundredths: 0.01 of AUC or advantage, one percentage point of TPR. Right of the line the audit finds more "
        "than the baseline. Intervals are not corrected for their number."
        + (f" {len(found) - len(rows)} lines left out." if len(found) > len(rows) else ""),
        100,
    )
    k = len(report.pairs)
    bottom, left = 0.95 + 0.3 * ((k + 1) // 2) + 0.2 * len(note), 3.3
    height = max(3.6, bottom + 0.7 + (0.28 + 0.13 * (k - 1)) * len(rows))
    axes = frame(picture, height=height, bottom=bottom, left=left, top=0.55)
    axes.axvline(0, color=INK, linewidth=1.4, linestyle=(0, (5, 2)))
    for place, pair in enumerate(report.pairs, 1):
        _draw_audit(axes, rows, place, place / (k + 1) - 0.5, f"{letter(place)}: {fitted(pair.other.path, 2.6)}")
    axes.set_yticks(range(len(rows)), [f"{fitted(row.attack, 1.6)}  {row.title}" for row in rows])
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.margins(x=0.06)
    describe(axes, x=f"Difference to A in hundredths, {level(report.confidence)} interval", y="", title="")
    picture.text(0.2 / 8, 1 - 0.33 / height, f"What changed against A: {fitted(report.baseline.path, 4)}", fontsize=13)
    if rows:
        explain(axes, None, place="below", columns=2)
    picture.text(0.015, 0.15 / height, "\n".join(note), fontsize=11, color=GREY, linespacing=1.3)


def _draw_audit(axes: Axes, rows: Sequence[_Row], place: int, shift: float, label: str) -> None:
    """Draw the dots of one audit, a little beside the middle of each line."""
    found = [(y + shift, row.figures[place]) for y, row in enumerate(rows) if place in row.figures]
    values = [100 * (figure.value or 0.0) for _, figure in found]
    axes.errorbar(
        values,
        [y for y, _ in found],
        xerr=[
            [max(value - 100 * (figure.low or 0.0), 0.0) for value, (_, figure) in zip(values, found, strict=True)],
            [max(100 * (figure.high or 0.0) - value, 0.0) for value, (_, figure) in zip(values, found, strict=True)],
        ],
        fmt=_MARKS[(place - 1) % len(_MARKS)],
        markersize=5,
        color=_COLOURS[(place - 1) % len(_COLOURS)],
        elinewidth=1.5,
        capsize=2.5,
        label=label,
    )


def _rows(report: ComparisonReport) -> Iterator[_Row]:
    """Yield the lines, attack by attack and figure by figure; none that no audit has."""
    for attack in dict.fromkeys(name for pair in report.pairs for name in pair.attacks):
        parts = {place: pair.attacks[attack] for place, pair in enumerate(report.pairs, 1) if attack in pair.attacks}
        named = {
            "AUC": {place: part.auc for place, part in parts.items()},
            "advantage": {place: part.advantage for place, part in parts.items()},
        }
        for key in dict.fromkeys(key for part in parts.values() for key in part.tpr_at_fpr):
            named[f"TPR at {level(float(key))}"] = {
                place: part.tpr_at_fpr[key] for place, part in parts.items() if key in part.tpr_at_fpr
            }
        for title, figures in named.items():
            shown = {place: one for place, one in figures.items() if one.value is not None and not one.out_of_reach}
            if shown:
                yield _Row(attack, title, shown)
