"""The reference models and the game, in lines that every form of the report shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pmcore.numerals import count
from pmcore.quoting import printable
from pmcore.reports.words import area, level, rate
from pmcore.schema import AuditReport, GameFigure, GamePart, ReferencesPart, RolePart, Share


def references(report: AuditReport) -> str | None:
    """Return how many references there are, how they came about and how like the model they are, in one line."""
    part = report.references
    if part is None:
        return None
    facts = [f"{count(len(part.models))} {part.origin}", _likeness(part, report)]
    return printable("; ".join(filter(None, facts)))


def game(report: AuditReport) -> Iterator[str]:
    """Yield what a game other than the model's own found: a line per attack, and what follows from it."""
    part = report.game
    if part.game == "model":
        return
    for name, figures in part.algorithm.items():
        rates = [
            f"TPR at {level(float(key))} FPR {_rate(figure)}"
            for key, figure in figures.tpr_at_fpr.items()
            if figure.value is not None
        ]
        yield f"{printable(name)}: AUC {_area(figures.auc)}; {'; '.join(rates) or 'no FPR can be resolved'}"
    for name, found in part.records.items():
        yield (
            f"{printable(name)}: mean AUC of a record {_area(found.mean_auc)}, a tenth above {area(found.deciles[9])}; "
            f"{count(found.exposed)} of {count(found.records)} records are told from chance (false discovery rate "
            f"{level(found.false_discovery_rate)})"
        )
    for name, reason in part.left_out.items():
        yield f"{printable(name)}: does not play: {printable(reason)}"
    yield part.statement


def title(part: GamePart) -> str:
    """Return the heading of a game."""
    return f"Game of the {part.game}, {count(part.models)} models"


def _likeness(part: ReferencesPart, report: AuditReport) -> str:
    inside = _range([one.accuracy_inside for one in part.models])
    outside = _range([one.accuracy_outside for one in part.models])
    sides = [
        f"{words} {found} (the model {_share(own)})"
        for words, found, own in (
            ("accuracy on what trained them", inside, report.data.members),
            ("on other records", outside, report.data.nonmembers),
        )
        if found
    ]
    return ", ".join(sides)


def _range(shares: Sequence[Share | None]) -> str:
    """Return the least and the largest of several rates, or nothing."""
    values = [share.value for share in shares if share is not None and share.value is not None]
    if not values:
        return ""
    low, high = rate(min(values)), rate(max(values))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _share(part: RolePart) -> str:
    value = None if part.accuracy is None else part.accuracy.value
    return "not measured" if value is None else f"{rate(value)} %"


def _area(figure: GameFigure) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return figure.reason or "not measured"
    return f"{area(figure.value)} [{area(figure.low)}, {area(figure.high)}]"


def _rate(figure: GameFigure) -> str:
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    return f"{rate(figure.value)} % [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"
