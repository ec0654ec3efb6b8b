"""What the figures mean, in sentences with natural frequencies: a plain function of the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

from pmcore.numerals import count
from pmcore.quoting import printable
from pmcore.reports.words import area, area_with_interval, level, people
from pmcore.schema import AttackPart, AuditReport, Figure, TprFigure

LOWER_BOUND = (
    "This is a lower bound: better attacks may exist. It speaks of this file and these records, not of "
    "retraining, and of membership only. It is evidence for an assessment, not a conclusion."
)


@dataclass(frozen=True)
class Headline:
    """The strongest attack at one false-positive rate, and whether its interval lies above guessing."""

    attack: str
    fpr: float
    figure: TprFigure
    seen: bool


def levels(report: AuditReport) -> list[str]:
    """Return the false-positive rates of the report as they are keyed there, highest first."""
    keys = {key for attack in report.attacks.values() for key in attack.tpr_at_fpr}
    return sorted(keys, key=float, reverse=True)


def strongest(report: AuditReport) -> str | None:
    """Return the attack of the headline, or else the one of the highest AUC; None if no attack ran."""
    found = headline(report)
    if found is not None and found.seen:
        return found.attack
    attacks = _without_the_told(report).attacks
    return max(attacks, key=lambda name: attacks[name].auc.value or 0.0, default=None)


def headline(report: AuditReport) -> Headline | None:
    """Return the strongest attack at the smallest well resolved FPR at which something is seen, of outsiders if any.

    Weakly resolved FPRs are consulted after all others. If nothing is seen anywhere, the smallest well
    resolved FPR is the one to speak of; None where no FPR is resolved.
    """
    report = _without_the_told(report)
    found = [
        best
        for weak in (False, True)
        for key in reversed(levels(report))
        if (best := _best_at(report, key, weak)) is not None
    ]
    return next((best for best in found if best.seen), found[0] if found else None)


def _best_at(report: AuditReport, key: str, weak: bool) -> Headline | None:
    resolved = [
        Headline(name, float(key), figure, seen=_above(figure, float(key), len(report.attacks), report.confidence))
        for name, attack in report.attacks.items()
        if (figure := attack.tpr_at_fpr.get(key)) is not None
        and figure.value is not None
        and figure.weak == weak
        and not (figure.value == 0 and figure.reason)
    ]
    return max(resolved, key=lambda best: _strength(best, report), default=None)


def _strength(best: Headline, report: AuditReport) -> tuple[bool, float, float]:
    return best.seen, best.figure.value or 0.0, report.attacks[best.attack].auc.value or 0.0


def in_words(report: AuditReport) -> str:
    """Say what was found, in natural frequencies, with interval, number of attacks and level of guessing.

    Returns the reason to say nothing if the report is invalid or no attack ran.
    """
    if not report.valid:
        return "The audit is invalid: it says nothing about membership."
    if not report.attacks:
        return "No attack ran: nothing was measured about membership."
    outsiders = _without_the_told(report)
    sentences = _sentences(outsiders)
    for name, attack in report.attacks.items():
        if name not in outsiders.attacks:
            sentences.append(_of_the_told(name, attack.auc))
    return " ".join([*sentences, *_swapped(report)])


def _without_the_told(report: AuditReport) -> AuditReport:
    """Return the report without attacks that are told of other records, if any attack is not."""
    outsiders = {name: attack for name, attack in report.attacks.items() if not attack.threat_model.told_of_others}
    return report.model_copy(update={"attacks": outsiders}) if outsiders else report


def _of_the_told(name: str, auc: Figure) -> str:
    """Say what an attack finds that knows more than an outsider; it is no limit to what others may find."""
    shown = printable(name, 40)
    if auc.value is None or auc.low is None or auc.high is None:
        return f"For {shown}, which is told of other records, there is no figure."
    right, low, high = (count(round(1000 * share)) for share in (auc.value, auc.low, auc.high))
    return (
        f"Somebody who is told who else was a member, and learns from it ({shown}), would tell which is which about "
        f"{right} times of 1 000 ({low} to {high})."
    )


def _sentences(report: AuditReport) -> list[str]:
    best = headline(report)
    k, confidence = len(report.attacks), report.confidence
    ahead = {name: attack for name, attack in report.attacks.items() if _above(attack.auc, 0.5, k, confidence)}
    sentences: list[str] = []
    if best is not None and best.seen:
        sentences += [_frequencies(best, report), *_nothing_elsewhere(best, report)]
    elif ahead:
        sentences += [_pairs(ahead, report)]
        sentences += (
            [] if best is None else [f"At {level(best.fpr)} false positives, none was seen to do better than guessing."]
        )
    else:
        sentences += [_nothing_found(report), *([] if best is None else [_frequencies(best, report)])]
    if len(report.attacks) > 1:
        sentences.append(f"The interval is not corrected for choosing the strongest of {len(report.attacks)}.")
    return sentences


def below_guessing(auc: Figure) -> bool:
    """Tell whether the whole interval of an AUC lies below one half."""
    return auc.high is not None and auc.high < 0.5


def _above(figure: Figure, guessing: float, attacks: int, confidence: float) -> bool:
    """Tell whether a figure lies above guessing, even as the best of several attacks.

    One attack is judged by its interval. The best of 20 that find nothing looks better than guessing in two
    audits of three: so with k attacks the way down to the lower end is lengthened as the normal quantile is
    from an error of e to one of e / k (Bonferroni).
    """
    if figure.value is None or figure.low is None:
        return False
    tail = (1 - confidence) / 2
    stretch = NormalDist().inv_cdf(tail / max(attacks, 1)) / NormalDist().inv_cdf(tail)
    return figure.value - stretch * (figure.value - figure.low) > guessing


def _tried(report: AuditReport, name: str) -> str:
    shown = printable(name, 40)
    if report.attacks[name].threat_model.told_of_others:
        shown += ", which is told of other records"
    return (
        f"the one attack tried ({shown})"
        if len(report.attacks) == 1
        else f"the strongest of the {len(report.attacks)} attacks tried ({shown})"
    )


def _frequencies(best: Headline, report: AuditReport) -> str:
    among, figure = people(best.fpr), best.figure

    def named(share: float | None) -> str:
        return count(round(among * (share or 0.0)))

    wrongly = count(round(among * best.fpr))
    weakly = " (weakly resolved: fewer than ten false positives decide it)" if figure.weak else ""
    return (
        f"Of {count(among)} people whose records trained this model, {_tried(report, best.attack)} names "
        f"about {named(figure.value)} ({named(figure.low)} to {named(figure.high)}){weakly}, and wrongly "
        f"about {wrongly} of {count(among)} whose records did not. Guessing would name {wrongly}."
    )


def _nothing_elsewhere(best: Headline, report: AuditReport) -> Iterable[str]:
    passed_over = [
        level(float(key))
        for key in levels(report)
        if (float(key) < best.fpr or best.figure.weak)
        and (other := _best_at(report, key, weak=False)) is not None
        and not other.seen
    ]
    if passed_over:
        yield f"At {' and '.join(passed_over)} false positives, none was seen to do better than guessing."


def _pairs(ahead: dict[str, AttackPart], report: AuditReport) -> str:
    name = max(ahead, key=lambda name: ahead[name].auc.value or 0.0)
    auc = ahead[name].auc

    def right(share: float | None) -> str:
        return count(round(1000 * (share or 0.0)))

    return (
        f"Shown one record that trained this model and one that did not, {_tried(report, name)} tells which "
        f"is which about {right(auc.value)} times of 1 000 ({right(auc.low)} to {right(auc.high)}). "
        "Guessing is right 500 times."
    )


def _nothing_found(report: AuditReport) -> str:
    ends = [attack.auc.high or 0.0 for attack in report.attacks.values() if not below_guessing(attack.auc)]
    seen = f" (an AUC above {area(max(ends))} is ruled out)" if any(ends) else ""
    return f"No attack tried here did better than guessing, within the precision of this audit{seen}."


def _swapped(report: AuditReport) -> Iterable[str]:
    for name, attack in report.attacks.items():
        if below_guessing(attack.auc):
            yield (
                f"{printable(name, 40)} ranks members below non-members, AUC "
                f"{area_with_interval(attack.auc)}: members and non-members are swapped, or the attack is "
                "oriented wrong."
            )
