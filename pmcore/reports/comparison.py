"""The comparison of audits as text for a terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pmcore.comparison_schema import AttackDifference, AuditSide, ComparisonReport, DifferenceFigure, PairPart
from pmcore.numerals import count
from pmcore.quoting import printable
from pmcore.reports.comparison_words import (
    LIMITS,
    classes_in_words,
    exposure_in_words,
    letter,
    pair_in_words,
    signed_area,
    signed_points,
    telling,
)
from pmcore.reports.words import area, level, rate
from pmcore.reports.wrapping import entry, paragraph, wrapped

FILE_NAME = "comparison.json"
WIDTH = 84
_FIGURE, _CELL = 20, 9
_WEAK = "* weakly resolved: fewer than ten false positives decide it"


def render_comparison_json(report: ComparisonReport) -> bytes:
    """Return the content of comparison.json: keys in the order of the schema, no NaN, UTF-8."""
    text = json.dumps(report.model_dump(by_alias=True), indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def render_comparison(report: ComparisonReport, width: int = WIDTH, wrote: Sequence[str] = ()) -> str:
    """Return the comparison as plain text, no line longer than `width`, which is at least 84."""
    blocks = [list(_header(report, width))]
    for place, pair in enumerate(report.pairs, 1):
        blocks.append(list(_pair(report, pair, letter(place), width)))
        blocks.append(list(_meaning(report, pair, place, width)))
    blocks.append(paragraph(LIMITS, width))
    if wrote:
        blocks.append(entry("wrote", "   ".join(path.replace(" ", "\xa0") for path in wrote), width, label_width=7))
    return "\n".join("\n".join(block) + "\n" for block in blocks if block)


def _header(report: ComparisonReport, width: int) -> Iterator[str]:
    yield from entry("A  (baseline)", _side(report.baseline), width)
    for place, pair in enumerate(report.pairs, 1):
        yield from entry(letter(place), _side(pair.other), width)


def _side(side: AuditSide) -> str:
    sha256 = "no sha256" if side.model_sha256 is None else f"sha256 {side.model_sha256[:8]}…"
    return "   ".join([side.path, side.model, sha256, ", ".join((side.runtime, side.device, side.precision))])


def _pair(report: ComparisonReport, pair: PairPart, name: str, width: int) -> Iterator[str]:
    title = f"{name} against A: {pair.verdict}"
    sizes = f"{level(report.confidence)} intervals, {count(pair.members)} + {count(pair.nonmembers)} records"
    yield f"{title}  {sizes:>{width - len(title) - 2}}"
    for text in _records(report, pair, name):
        yield from wrapped(text, width, "  ", "    ")
    yield f"{'':<{_FIGURE + 2}}{'A':>{_CELL}}{name:>{_CELL}}   {name} - A"
    for attack, part in pair.attacks.items():
        yield from wrapped(f"{printable(attack)}: {part.verdict}", width, "  ", "    ")
        for text in _figures(part):
            yield from wrapped(text, width, "    ", " " * (_FIGURE + 2 * _CELL + 5))
        for note in (*part.notes, *_reasons(part)):
            yield from wrapped(f"note: {note}", width, "    ", "      ")
    if any(
        figure.weak and not figure.out_of_reach for part in pair.attacks.values() for figure in part.tpr_at_fpr.values()
    ):
        yield f"  {_WEAK}"
    for attack, reason in pair.left_out.items():
        yield from wrapped(f"{printable(attack)}: not compared: {printable(reason)}", width, "  ", "    ")


def _records(report: ComparisonReport, pair: PairPart, name: str) -> Iterator[str]:
    yield f"the same records in both, matched by {pair.matched_by}"
    for role, both, ours, theirs in (
        ("members", pair.members, report.baseline.members, pair.other.members),
        ("non-members", pair.nonmembers, report.baseline.nonmembers, pair.other.nonmembers),
    ):
        if both < max(ours, theirs):
            yield f"{count(both)} {role} are in both audits, of {count(ours)} in A and {count(theirs)} in {name}"
    yield from (f"note: {note}" for note in pair.notes)


def _figures(part: AttackDifference) -> Iterator[str]:
    for title, figure in (("AUC", part.auc), ("advantage", part.advantage)):
        yield _row(title, _area(figure.baseline), _area(figure.other), signed_area(figure))
    for key, figure in part.tpr_at_fpr.items():
        mark = "*" if figure.weak and not figure.out_of_reach else ""
        title = f"TPR at {level(float(key))} FPR"
        yield _row(title, _rate(figure.baseline), _rate(figure.other), _points(figure) + mark)


def _reasons(part: AttackDifference) -> Iterator[str]:
    """Yield why a TPR that is shown is none that a threshold of one of the audits reaches."""
    for key, figure in part.tpr_at_fpr.items():
        if figure.value is not None and figure.reason is not None and not figure.out_of_reach:
            yield f"TPR at {level(float(key))} FPR: {figure.reason}"


def _row(title: str, baseline: str, other: str, change: str) -> str:
    row = f"{title:<{_FIGURE - 2}}{baseline:>{_CELL}}{other:>{_CELL}}   "
    return row.replace(" ", "\xa0") + change


def _points(figure: DifferenceFigure) -> str:
    return signed_points(figure).replace(" ", "\xa0") if figure.value is not None else signed_points(figure)


def _area(value: float | None) -> str:
    return "" if value is None else area(value)


def _rate(value: float | None) -> str:
    return "" if value is None else f"{rate(value)} %"


def _meaning(report: ComparisonReport, pair: PairPart, place: int, width: int) -> Iterator[str]:
    for label, text in _exposed(pair):
        yield from entry(label, text, width)
    yield from entry("In words", pair_in_words(report, place), width)


def _exposed(pair: PairPart) -> Iterator[tuple[str, str]]:
    """Yield who moved, for each attack with a member above its threshold; by class for the one that tells most."""
    label, chosen = "Exposed", telling(pair)
    for attack, part in pair.attacks.items():
        moves = part.exposure.moves
        if attack != chosen and (moves is None or not (moves.newly_exposed or moves.no_longer_exposed)):
            continue
        yield label, f"{printable(attack, 40)}: {exposure_in_words(pair, attack)}"
        label = ""
    classes = classes_in_words(pair, chosen) if chosen is not None else ""
    if classes:
        yield "  by class", f"{printable(chosen or '', 40)}: {classes}"
