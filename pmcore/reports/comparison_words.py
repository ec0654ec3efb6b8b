"""What a comparison of audits says, in sentences and numbers with a sign: the same in every form of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pmcore.comparison_schema import AttackDifference, ComparisonReport, DifferenceFigure, PairPart
from pmcore.numerals import count
from pmcore.quoting import printable
from pmcore.reports.words import level, people

LIMITS = (
    "It speaks of these files and of the records in both audits, not of retraining: another run of the same training "
    "may differ as much. Better attacks may exist. It is evidence for an assessment, not a conclusion."
)
_NAMED = 3


def letter(place: int) -> str:
    """Return what an audit is called: A for the baseline, B, C, … for the others."""
    return chr(ord("A") + place)


def signed_area(figure: DifferenceFigure) -> str:
    """Return +.043 [+.031, +.055], or the reason why there is no difference."""
    if figure.value is None or figure.low is None or figure.high is None:
        return figure.reason or "not measured"
    digits = _digits(figure.high - figure.low, fewest=3)
    value, low, high = (_signed(x, digits).replace("0.", ".", 1) for x in (figure.value, figure.low, figure.high))
    return f"{value} [{low}, {high}]"


def signed_points(figure: DifferenceFigure) -> str:
    """Return +0.2 points [-0.3, +0.7], in percentage points, or the reason why there is no difference."""
    if figure.out_of_reach:
        return "out of reach of both"
    if figure.value is None or figure.low is None or figure.high is None:
        return figure.reason or "not measured"
    digits = _digits(100 * (figure.high - figure.low), fewest=1)
    value, low, high = (_signed(100 * x, digits) for x in (figure.value, figure.low, figure.high))
    return f"{value} points [{low}, {high}]"


def _digits(width: float, fewest: int) -> int:
    """Return so many digits that the width of an interval shows in two of them."""
    return fewest if width <= 0 else min(max(fewest, math.ceil(-math.log10(width)) + 1), 7)


def _signed(value: float, digits: int) -> str:
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def pair_in_words(report: ComparisonReport, place: int) -> str:
    """Say what became of the audit at a place (1 is the first after the baseline), with natural frequencies."""
    pair, name = report.pairs[place - 1], letter(place)
    chosen = telling(pair)
    if chosen is None:
        return f"No attack was compared: nothing is known of {name} against A."
    sentences = [_verdict(pair, name), *_areas(pair), *_frequencies(pair, chosen, name)]
    if report.looked_at > 1:
        sentences.append(
            f"Verdicts are corrected for the {count(report.looked_at)} AUCs and TPRs behind them, intervals are not."
        )
    return " ".join(sentences)


def telling(pair: PairPart) -> str | None:
    """Return the attack that tells most of a pair: one that sees a difference before others, then by its size.

    Attacks that are told of other records, as no outsider is, come last.
    """

    def weight(name: str) -> tuple[bool, bool, float]:
        part = pair.attacks[name]
        return not part.told_of_others, part.verdict != "no difference seen", abs(part.auc.value or 0.0)

    return max(pair.attacks, key=weight, default=None)


def _verdict(pair: PairPart, name: str) -> str:
    k = len(pair.attacks)
    if pair.verdict == "no difference seen":
        tried = "the one attack" if k == 1 else f"any of the {k} attacks"
        return f"No difference seen between {name} and A with {tried} compared, within the precision of the two audits."
    if pair.verdict == "mixed":
        more, less, both = (_list(pair, said) for said in ("leaks more", "leaks less", "mixed"))
        parts = [f"more to {more}" if more else "", f"less to {less}" if less else ""]
        parts.append(f"by one figure more and by another less to {both}" if both else "")
        return f"Compared with A, {name} leaks {'; '.join(filter(None, parts))}."
    seen = sum(part.verdict == pair.verdict for part in pair.attacks.values())
    shown = _list(pair, pair.verdict)
    attacks = f"the one attack compared ({shown})" if k == 1 else f"{seen} of the {k} attacks compared ({shown})"
    return f"{name} {pair.verdict} than A to {attacks}."


def _list(pair: PairPart, verdict: str) -> str:
    names = [printable(name, 40) for name, part in pair.attacks.items() if part.verdict == verdict]
    shown = names if len(names) <= _NAMED else [*names[:_NAMED], f"{len(names) - _NAMED} others"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _areas(pair: PairPart) -> Iterator[str]:
    ranked = sorted(pair.attacks, key=lambda name: -abs(pair.attacks[name].auc.value or 0.0))[:_NAMED]
    parts = [f"{signed_area(pair.attacks[name].auc)} for {printable(name, 40)}" for name in ranked]
    yield f"The difference of AUC is {', '.join(parts)}."


def _frequencies(pair: PairPart, chosen: str, name: str) -> Iterator[str]:
    """Yield one sentence at the smallest FPR that is well resolved."""
    part = pair.attacks[chosen]
    key = _well_resolved(part)
    if key is None:
        return
    figure, fpr = part.tpr_at_fpr[key], float(key)
    among, attack = people(fpr), printable(chosen, 40)
    before, after = (count(round(among * (rate or 0.0))) for rate in (figure.baseline, figure.other))
    yield (
        f"Of {count(among)} people whose records trained both models, {attack} names about {before} with A "
        f"and {after} with {name}, wrongly about {count(round(among * fpr))} of {count(among)} others: "
        f"{_more_or_fewer(figure.value, among)} ({_more_or_fewer(figure.low, among)} to "
        f"{_more_or_fewer(figure.high, among)})."
    )


def _well_resolved(part: AttackDifference) -> str | None:
    keys = [
        key
        for key, figure in part.tpr_at_fpr.items()
        if figure.value is not None and not figure.weak and figure.reason is None
    ]
    return min(keys, key=float, default=None)


def _more_or_fewer(share: float | None, among: int) -> str:
    people = round(among * (share or 0.0))
    return f"{count(abs(people))} {'fewer' if people < 0 else 'more'}" if people else "none more"


def exposure_in_words(pair: PairPart, chosen: str) -> str:
    """Return how many members moved above or below the threshold of an attack."""
    found = pair.attacks[chosen].exposure
    if found.moves is None:
        return found.reason or "not measured"
    moves = found.moves
    return (
        f"of {count(moves.members)} members {count(moves.newly_exposed)} newly above the threshold at "
        f"{level(found.fpr)} FPR, {count(moves.no_longer_exposed)} no longer, {count(moves.exposed_in_both)} in both"
    )


def classes_in_words(pair: PairPart, chosen: str, most: int = 4) -> str:
    """Return the classes with most members newly above the threshold, as counts; empty where none moved."""
    classes = [part for part in pair.attacks[chosen].exposure.per_class if part.newly_exposed or part.no_longer_exposed]
    ranked = sorted(classes, key=lambda part: (part.no_longer_exposed - part.newly_exposed, -part.newly_exposed))
    parts = [
        f"{'small classes' if part.label is None else f'class {part.label}'}: {part.newly_exposed} newly, "
        f"{part.no_longer_exposed} no longer of {count(part.members)}"
        for part in ranked[:most]
    ]
    if len(ranked) > most:
        parts.append(f"{len(ranked) - most} more in the JSON")
    return "; ".join(parts)
