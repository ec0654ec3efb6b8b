"""Whether an audit leaks more or less than the baseline: judged with all figures that were looked at in mind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pmcore.comparison_schema import AttackDifference, DifferenceFigure, PairPart, Verdict
from pmcore.differences import Difference, beyond_zero


def figures_looked_at(pair: PairPart) -> int:
    """Return how many figures of a pair its verdict rests on."""
    return sum(1 for part in pair.attacks.values() for _ in _for_the_verdict(part))


def _for_the_verdict(part: AttackDifference) -> Iterator[DifferenceFigure]:
    """Yield the figures that a verdict rests on.

    The advantage is one more view of the same curve. A TPR is left out where under ten false positives decide it, or
    where an audit has no threshold with so few.
    """
    yield part.auc
    yield from filter(_bears_a_verdict, part.tpr_at_fpr.values())


def _bears_a_verdict(figure: DifferenceFigure) -> bool:
    return figure.value is not None and not figure.weak and figure.reason is None


def with_verdicts(pair: PairPart, looked_at: int, confidence: float) -> PairPart:
    """Return a pair with what its figures say, each as one of all that were looked at, over all pairs."""
    attacks = {}
    for name, part in pair.attacks.items():
        auc = _judged(part.auc, looked_at, confidence)
        rates = {
            key: _judged(figure, looked_at, confidence) if _bears_a_verdict(figure) else figure
            for key, figure in part.tpr_at_fpr.items()
        }
        seen = {figure.seen for figure in (auc, *rates.values())}
        verdict = _verdict("more" in seen, "less" in seen)
        attacks[name] = part.model_copy(update={"auc": auc, "tpr_at_fpr": rates, "verdict": verdict})
    more, less = (
        any(part.verdict in (said, "mixed") for part in attacks.values()) for said in ("leaks more", "leaks less")
    )
    return pair.model_copy(update={"attacks": attacks, "verdict": _verdict(more, less)})


def _judged(figure: DifferenceFigure, looked_at: int, confidence: float) -> DifferenceFigure:
    if figure.value is None or figure.low is None or figure.high is None:
        return figure
    sign = beyond_zero(Difference(figure.value, figure.low, figure.high), looked_at, confidence)
    words: dict[int, Literal["more", "less", "no difference"]] = {1: "more", -1: "less", 0: "no difference"}
    return figure.model_copy(update={"seen": words[sign]})


def _verdict(more: bool, less: bool) -> Verdict:
    if more and less:
        return "mixed"
    return "leaks more" if more else "leaks less" if less else "no difference seen"
