"""The axes, legends and colours that all pictures share: legible at 800 pixels, text of 11 points or more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pmcore.quoting import printable
from pmcore.reports.words import level

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Picture

INK, GREY, LIGHT = "#222222", "#6b6b6b", "#dddddd"
BLUE, ORANGE = "#0072B2", "#D55E00"
"""Of the palette of Okabe and Ito, told apart with any colour vision."""


def frame(picture: Picture, height: float = 6, bottom: float = 0.63, left: float = 0.84, top: float = 0.4) -> Axes:
    """Return axes in a picture 8 inches wide; margins in inches, so that text around them has its room."""
    picture.set_size_inches(8, height)
    wide, high = 7.68 - left, height - bottom - top
    axes = picture.add_axes((left / 8, bottom / height, wide / 8, high / height))
    # Fixed places: working them out from the marks of the axes would take a fifth of the drawing time.
    axes.xaxis.set_label_coords(0.5, -0.3 / high)
    axes.yaxis.set_label_coords((0.2 - left) / wide, 0.5)
    return axes


def describe(axes: Axes, x: str, y: str, title: str) -> None:
    """Add labels, title and grid."""
    axes.set_xlabel(x, fontsize=12)
    axes.set_ylabel(y, fontsize=12)
    axes.set_title(title, fontsize=13, loc="left", y=1.0)
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=11, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def explain(axes: Axes, title: str | None, place: str, columns: int = 1) -> None:
    """Add the legend, in the axes or "below" them, under their label."""
    beside: dict[str, Any] = {"loc": place}
    if place == "below":
        height = axes.get_window_extent().height / axes.figure.dpi
        beside = {"loc": "upper left", "bbox_to_anchor": (-0.01, -0.55 / height), "frameon": False}
    legend = axes.legend(
        fontsize=11,
        title=title,
        title_fontsize=11,
        alignment="left",
        framealpha=0.92,
        handlelength=4,
        ncols=columns,
        **beside,
    )
    legend.get_title().set_multialignment("left")


def fitted(name: str, inches: float, size: float = 11) -> str:
    """Return a foreign name, shortened in the middle until it is no wider than `inches`."""
    from matplotlib.textpath import TextPath

    longest = 48
    while TextPath((0, 0), printable(name, longest), size=size).get_extents().width > 72 * inches and longest > 4:
        longest -= 2
    return printable(name, longest)


def mark_rates(axis: Axis, step: float, top: float = 1.0) -> None:
    """Mark an axis of rates in per cent, every `step` from 0 to `top`."""
    ticks = [round(step * k, 2) for k in range(int(top / step + 1e-9) + 1)]
    axis.set_ticks(ticks, [level(tick) for tick in ticks])
