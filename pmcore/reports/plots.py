"""The report as pictures, each as PNG, 800 pixels wide, and SVG: ROC curves, scores, classes; or INVALID."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pmcore.interfaces import Report
from pmcore.reports.figures import draw_classes, draw_invalid, draw_roc, draw_scores, has_classes
from pmcore.schema import AuditReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

_SETTINGS: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    # Names of attacks are text, whatever dollar signs they hold.
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "pmcore",
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}
Draw = Callable[["Picture"], None]


class PlotsReport(Report):
    """Pictures of the results: ROC curves on linear and logarithmic axes, scores, advantage by class."""

    def file_names(self, report: AuditReport) -> tuple[str, ...]:
        """Return the names of the pictures without drawing them."""
        return tuple(picture_names(report))

    def render(self, report: AuditReport) -> Mapping[str, bytes]:
        """Return the pictures as PNG and SVG; of an invalid report one that says so and shows no figure."""
        # Imported here because it takes a third of a second that only pictures should cost.
        import matplotlib

        files: dict[str, bytes] = {}
        with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
            # A name may hold letters that the font lacks: they are drawn as boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            for name, draw in _pictures(report).items():
                files.update(_render(name, draw))
        return files


def picture_names(report: AuditReport) -> list[str]:
    """Return the names of the files that `PlotsReport` makes of a report, without drawing them."""
    return [f"{name}.{suffix}" for name in _pictures(report) for suffix in ("png", "svg")]


def _pictures(report: AuditReport) -> dict[str, Draw]:
    if not report.valid:
        return {"invalid": lambda picture: draw_invalid(picture, report)}
    if not report.attacks:
        return {}
    pictures: dict[str, Draw] = {
        "roc": lambda picture: draw_roc(picture, report, logarithmic=False),
        "roc-log": lambda picture: draw_roc(picture, report, logarithmic=True),
    }
    pictures.update(_score_pictures(report))
    affected = has_classes(report)
    if affected is not None:
        pictures["class-advantage"] = lambda picture: draw_classes(picture, report, affected)
    return pictures


def _score_pictures(report: AuditReport) -> Iterator[tuple[str, Draw]]:
    taken: set[str] = set()
    for name, attack in report.attacks.items():
        plain = re.sub(r"[^A-Za-z0-9_.=,+-]+", "-", name)[:60].strip("-.") or "attack"
        stem, again = f"scores-{plain}", 1
        while stem.lower() in taken:
            again += 1
            stem = f"scores-{plain}-{again}"
        taken.add(stem.lower())
        yield stem, lambda picture, name=name, attack=attack: draw_scores(picture, name, attack)  # type: ignore[misc]


def _render(name: str, draw: Draw) -> Iterator[tuple[str, bytes]]:
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(8, 6), dpi=100, facecolor="white")
    draw(picture)
    # What would differ from version to version or day to day is left out: the same report, the same bytes.
    png, svg = io.BytesIO(), io.BytesIO()
    picture.savefig(png, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 3})
    yield f"{name}.png", png.getvalue()
    picture.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    yield f"{name}.svg", svg.getvalue()
