"""What each picture of the report shows; colour is never the only thing that tells two curves apart."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore.numerals import count
from pmcore.reports.axes import BLUE, GREY, INK, ORANGE, describe, explain, fitted, frame, mark_rates
from pmcore.reports.meaning import strongest
from pmcore.reports.results import NO_FIGURES, invalid_reasons
from pmcore.reports.words import area_with_interval, level
from pmcore.schema import AttackPart, AuditReport, ClassFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

_MOST_CURVES, _MOST_BANDS, _MOST_CLASSES, _FEW_POINTS = 8, 4, 30, 12


@dataclass(frozen=True)
class _Style:
    """How one curve looks: colour and dashes, no two the same."""

    colour: str
    dashes: str | tuple[int, tuple[float, ...]]


_STYLES = (
    _Style(BLUE, "solid"),
    _Style(ORANGE, (0, (5, 1.5))),
    _Style("#009E73", (0, (6, 1.5, 1, 1.5))),
    _Style("#CC79A7", (0, (2, 1))),
    _Style("#56B4E9", (0, (9, 1.5))),
    _Style("#E69F00", (0, (1, 0.8))),
    _Style("#000000", (0, (4, 1, 1, 1, 1, 1))),
    _Style("#8C7A00", (0, (6, 1, 2, 1))),
)


def draw_roc(picture: Picture, report: AuditReport, logarithmic: bool) -> None:
    """Draw the ROC curves of the strongest attacks with their bands and the chance line.

    On linear axes points are joined by straight lines, so that the area under the curve is the AUC, in which ties
    count half. On logarithmic axes they are joined by steps: at each FPR the TPR that a threshold reaches, as in
    the table.
    """
    ranked = sorted(report.attacks, key=lambda name: -(report.attacks[name].auc.value or 0.0))
    drawn = min(len(ranked), _MOST_CURVES)
    # A legend of many or long names would lie on the curves.
    beside = drawn <= 2 and max(map(len, ranked)) <= 24
    below = 0.0 if beside else 1.1 + 0.24 * drawn
    axes = frame(picture, height=6 + below, bottom=0.63 + below, left=1.02 if logarithmic else 0.84)
    n1 = max(attack.auc.n_members for attack in report.attacks.values())
    n0 = max(attack.auc.n_nonmembers for attack in report.attacks.values())
    start = 0.9 / n0 if logarithmic else 0.0
    axes.plot([start, 1], [start, 1], color=GREY, linewidth=1.4, linestyle=(0, (1, 2)), label="guessing")
    for rank, (name, style) in enumerate(zip(ranked[:_MOST_CURVES], _STYLES, strict=False)):
        _draw_curve(axes, name, report.attacks[name], style, steps=logarithmic, band=rank < _MOST_BANDS)
    if logarithmic:
        _scale_by_decades(axes, start, _lowest_rate(report, start))
    else:
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.005)
        mark_rates(axes.xaxis, 0.2)
        mark_rates(axes.yaxis, 0.2)
    describe(
        axes,
        x="False-positive rate: non-members called members",
        y="True-positive rate: members called members",
        title=f"Can members be told from non-members? ({'logarithmic' if logarithmic else 'linear'} axes)",
    )
    more = len(ranked) - drawn
    left_out = f"\n{more} attack{'s' if more > 1 else ''} of lower AUC left out" if more else ""
    swapped = (report.attacks[ranked[0]].auc.value or 0.0) < 0.5
    place = "below" if below else "upper left" if swapped else "lower right"
    explain(
        axes,
        f"{count(n1)} members, {count(n0)} non-members\nAUC and bands: {level(report.confidence)} intervals{left_out}"
        + ("" if logarithmic else "\nstraight where scores tie: the area is the AUC"),
        place=place,
    )


def _draw_curve(axes: Axes, name: str, attack: AttackPart, style: _Style, *, steps: bool, band: bool) -> None:
    curve = attack.curve
    axes.plot(
        curve.fpr,
        curve.tpr,
        color=style.colour,
        linestyle=style.dashes,
        linewidth=2,
        drawstyle="steps-post" if steps else "default",
        label=f"{fitted(name, 3.7)}: AUC {area_with_interval(attack.auc)}",
    )
    # The band is that of single thresholds: where there are only a few, it does not follow the drawn line.
    if band and len(curve.fpr) > _FEW_POINTS:
        axes.fill_between(curve.band_fpr, curve.band_low, curve.band_high, color=style.colour, alpha=0.16, linewidth=0)


def _lowest_rate(report: AuditReport, start: float) -> float:
    """Return where the logarithmic picture begins: at the chance line, or at a curve that runs below it."""
    reached = [
        tpr
        for attack in report.attacks.values()
        for fpr, tpr in zip(attack.curve.fpr, attack.curve.tpr, strict=True)
        if tpr > 0 and fpr >= start
    ]
    return min([start, *reached])


def _scale_by_decades(axes: Axes, left: float, bottom: float) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, 1)
    axes.set_ylim(bottom, 1.15)
    for axis, low in ((axes.xaxis, left), (axes.yaxis, bottom)):
        ticks = [10.0**-k for k in range(9) if 10.0**-k >= low]
        axis.set_ticks(ticks, [level(tick) for tick in ticks])
        axis.set_ticks([], minor=True)


def draw_scores(picture: Picture, name: str, attack: AttackPart) -> None:
    """Draw how the scores of members and of non-members are spread, each as shares of its side."""
    axes = frame(picture)
    found = attack.histogram
    sides = (
        ("non-members", found.nonmembers, BLUE, (0, (4, 1.5)), "\\\\\\"),
        ("members", found.members, ORANGE, "solid", "///"),
    )
    for side, counts, colour, dashes, hatch in sides:
        total = sum(counts)
        shares = [100 * n / max(total, 1) for n in counts]
        axes.stairs(
            shares,
            found.edges,
            fill=True,
            facecolor=f"{colour}33",
            edgecolor=f"{colour}66",
            hatch=hatch,
            linewidth=0,
        )
        axes.stairs(shares, found.edges, color=colour, linewidth=2, linestyle=dashes, label=f"{count(total)} {side}")
    axes.set_xlim(found.edges[0], found.edges[-1])
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    describe(
        axes,
        x="Score of the attack: higher speaks for membership (outliers are in the outer bins)",
        y="Records of each side per bin",
        title=f"Scores of {fitted(name, 5.5, size=13)}",
    )
    explain(axes, f"AUC {area_with_interval(attack.auc)}", place="best")


@dataclass(frozen=True)
class _ClassRow:
    """One class: its advantage, the reach of its interval to both sides, and its records."""

    label: int
    value: float
    below: float
    above: float
    records: str


def draw_classes(picture: Picture, report: AuditReport, name: str) -> None:
    """Draw one attack's advantage within each class, highest first, with intervals, beside that over all classes."""
    attack = report.attacks[name]
    rows = _class_rows(attack.per_class)
    shown = rows[:_MOST_CLASSES]
    note = textwrap.wrap(_note(attack, len(rows), len(shown)), 100)
    bottom, left = 1.25 + 0.2 * len(note), 1.8
    height = max(3.8, bottom + 1.2 + 0.25 * len(shown))
    axes = frame(picture, height=height, bottom=bottom, left=left, top=0.7)
    axes.errorbar(
        [row.value for row in shown],
        range(len(shown)),
        xerr=[[row.below for row in shown], [row.above for row in shown]],
        fmt="o",
        markersize=6,
        color=BLUE,
        elinewidth=1.6,
        capsize=3,
        label=f"within the class, {level(report.confidence)} interval",
    )
    if attack.advantage.value is not None:
        axes.axvline(attack.advantage.value, color=INK, linewidth=1.4, linestyle=(0, (5, 2)), label="over all classes")
    axes.set_yticks(range(len(shown)), [f"{row.label}   ({row.records})" for row in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    highest = max(row.value + row.above for row in shown)
    mark_rates(axes.xaxis, 0.2 if highest > 0.6 else 0.1 if highest > 0.25 else 0.05)
    axes.set_xlim(0, min(1.02, 1.06 * highest))
    describe(
        axes,
        x="Advantage: largest true-positive minus false-positive rate (guessing: 0)",
        y="Class (members + non-members)",
        title="",
    )
    many = f"strongest of {len(report.attacks)} attacks" if len(report.attacks) > 1 else "attack"
    picture.text(left / 8, 1 - 0.29 / height, "Who is affected: advantage by class", fontsize=13)
    picture.text(left / 8, 1 - 0.55 / height, f"{many}: {fitted(name, 3.7)}", fontsize=11, color=INK)
    explain(axes, None, place="below", columns=2)
    picture.text(0.015, 0.15 / height, "\n".join(note), fontsize=11, color=GREY, linespacing=1.3)


def _class_rows(classes: Sequence[ClassFigure]) -> list[_ClassRow]:
    """Return the classes that have a figure, highest advantage first."""
    rows = [
        _ClassRow(
            label=part.label,
            value=figure.value,
            below=0.0 if figure.low is None else max(figure.value - figure.low, 0.0),
            above=0.0 if figure.high is None else max(figure.high - figure.value, 0.0),
            records=f"{count(figure.n_members)} + {count(figure.n_nonmembers)}",
        )
        for part in classes
        if (figure := part.advantage).value is not None
    ]
    return sorted(rows, key=lambda row: (-row.value, row.label))


def _note(attack: AttackPart, with_figure: int, shown: int) -> str:
    parts = [
        "each class at its own best threshold: small classes look worse by chance",
        "the intervals hold for all classes together (Bonferroni)",
    ]
    if with_figure > shown:
        parts.append(f"{with_figure - shown} lower classes left out")
    few = len(attack.per_class) - with_figure
    if few:
        parts.append(f"{few} with too few records")
    return "; ".join(parts)


def has_classes(report: AuditReport) -> str | None:
    """Return the attack whose classes are drawn, the strongest; None where no class has a figure."""
    name = strongest(report)
    return name if name is not None and _class_rows(report.attacks[name].per_class) else None


def draw_invalid(picture: Picture, report: AuditReport) -> None:
    """Draw that the audit is invalid and why, and nothing else."""
    picture.set_size_inches(8, 4)
    texts = [*invalid_reasons(report)[:4], NO_FIGURES]
    picture.text(0.05, 0.8, "INVALID", fontsize=30, fontweight="bold", color=INK)
    picture.text(
        0.05,
        0.7,
        "\n\n".join("\n".join(textwrap.wrap(text, 80, max_lines=6)) for text in texts),
        fontsize=12,
        color=INK,
        verticalalignment="top",
        linespacing=1.4,
    )
