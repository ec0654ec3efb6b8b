"""The table of results as texts: what terminal, notebook and page show of each attack, and its notes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pmcore.quoting import printable
from pmcore.reports.meaning import below_guessing, levels
from pmcore.reports.words import access, area_with_interval, level, rate_with_interval
from pmcore.schema import AttackPart, AuditReport, CalibratedPoint, TprFigure

NO_FIGURES = "No figures are shown; the JSON report keeps them, marked invalid."

_OUT_OF_REACH = "out of reach"
_LEVEL_IN_REASON = re.compile(r"^a level of \S+ (?=needs )")


@dataclass(frozen=True)
class Row:
    """One attack: its name, what it sees, its AUC and its TPR in the columns of the table."""

    attack: str
    access: str
    auc: str
    rates: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """The table: headings of its TPR columns, one row per attack, notes for below it."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def results(report: AuditReport, most: int = 2) -> Results:
    """Return the table of a valid report with the `most` smallest FPRs that any attack resolves.

    Notes say what the columns leave out: higher FPRs, those that cannot be resolved and why, nominal levels.
    """
    resolved = [key for key in levels(report) if any(_resolved(a, key) for a in report.attacks.values())]
    shown = resolved[-most:] if most else []
    rows = tuple(
        Row(
            attack=printable(name),
            access=access(attack.threat_model.access),
            auc=area_with_interval(attack.auc) + ("!" if below_guessing(attack.auc) else ""),
            rates=tuple(_rate(attack.tpr_at_fpr.get(key)) for key in shown),
        )
        for name, attack in report.attacks.items()
    )
    return Results(
        columns=tuple(f"TPR at {level(float(key))} FPR" for key in shown),
        rows=rows,
        notes=tuple(_notes(report, rows, [key for key in resolved if key not in shown])),
    )


def invalid_reasons(report: AuditReport) -> list[str]:
    """Return why a report is invalid, one text per failed check."""
    failed = [check for check in report.validity if check.verdict == "invalid"]
    reasons = [
        printable(check.text if check.text.startswith(check.name) else f"{check.name}: {check.text}")
        for check in failed
    ]
    return reasons or ["the report names no reason"]


def _notes(report: AuditReport, rows: tuple[Row, ...], elsewhere: list[str]) -> Iterator[str]:
    if any(text.endswith("*") for row in rows for text in row.rates):
        yield "* weakly resolved: fewer than ten false positives decide it"
    if any(_OUT_OF_REACH in row.rates for row in rows):
        yield f"{_OUT_OF_REACH}: the attack has no threshold with that few false positives"
    if any(row.auc.endswith("!") for row in rows):
        yield "! lower than guessing: members and non-members swapped, or the attack is oriented wrong"
    for name, attack in report.attacks.items():
        if attack.threat_model.told_of_others:
            yield f"{printable(name)} learns from records whose membership it is told: more than outsiders know"
        if attack.note is not None:
            yield f"{printable(name)} read {', '.join(attack.signals)} instead: {printable(attack.note)}"
    for key in elsewhere:
        figures = [f"{printable(name)} {_rate(a.tpr_at_fpr.get(key))}" for name, a in report.attacks.items()]
        yield f"TPR at {level(float(key))} FPR: {'; '.join(figures)}"
    unresolved: dict[str, list[str]] = {}
    for key in levels(report):
        for attack in report.attacks.values():
            figure = attack.tpr_at_fpr.get(key)
            if figure is not None and not figure.resolved:
                heading = f"TPR at {level(float(key))} FPR"
                reasons = unresolved.setdefault(heading, [])
                reason = printable(figure.reason or "cannot be resolved")
                reasons += [] if reason in reasons else [reason]
    yield from (f"{heading} {'; '.join(reasons)}" for heading, reasons in unresolved.items())
    yield from _nominal(report)


def _nominal(report: AuditReport) -> Iterator[str]:
    """Yield one line per calibrated attack; levels that cannot be had for one reason shared by all on their own."""
    calibrated = {printable(name): a.calibrated for name, a in report.attacks.items() if a.calibrated}
    missing = {name: "; ".join(_without_figure(points)) for name, points in calibrated.items()}
    shared = next(iter(missing.values())) if len(calibrated) > 1 and len(set(missing.values())) == 1 else ""
    for name, points in calibrated.items():
        own = "" if shared else missing[name]
        parts = [part for part in (_rates_at(points), own) if part]
        if parts:
            yield f"{name} at nominal {'; '.join(parts)}"
    if shared:
        yield f"at nominal {shared}"


def _rates_at(points: Sequence[CalibratedPoint]) -> str:
    """Return 10 / 1 %: FPR 9.8 % [8.0, 11.8] / 1.1 % [0.6, 1.9], TPR …, or nothing."""
    found = [point for point in points if point.fpr.value is not None]
    alphas = " / ".join(level(point.alpha).removesuffix(" %") for point in found)
    fprs = " / ".join(rate_with_interval(point.fpr) for point in found)
    tprs = " / ".join(rate_with_interval(point.tpr) for point in found)
    return f"{alphas} %: FPR {fprs}, TPR {tprs}" if found else ""


def _without_figure(points: Sequence[CalibratedPoint]) -> Iterator[str]:
    for point in points:
        if point.fpr.value is None:
            # The level stands before the colon already, and semicolons part levels.
            reason = _LEVEL_IN_REASON.sub("", printable(point.fpr.reason or "not measured"))
            yield f"{level(point.alpha)}: {reason.replace('; ', ', ')}"


def _resolved(attack: AttackPart, key: str) -> bool:
    figure = attack.tpr_at_fpr.get(key)
    return figure is not None and figure.resolved and figure.value is not None


def _rate(figure: TprFigure | None) -> str:
    if figure is None:
        return "not measured"
    if figure.value is None or figure.low is None or figure.high is None:
        return "cannot be resolved"
    if figure.value == 0 and figure.reason is not None:
        return _OUT_OF_REACH
    return rate_with_interval(figure) + ("*" if figure.weak else "")
