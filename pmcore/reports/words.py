"""Numbers, rates and names as a person reads them: the same in every form of the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pmcore.quoting import printable

if TYPE_CHECKING:
    from pmcore.schema import Figure, GradientPart, Share


_ACCESS = {
    "label": "label only",
    "scores": "scores",
    "logits": "logits",
    "activations": "white box: activations",
    "gradients": "white box: gradients",
}


def area(value: float) -> str:
    """Return an area under the ROC curve: .758, and 1.000 where it rounds to one."""
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text


def rate(value: float) -> str:
    """Return a rate in per cent, without the sign: 9.5; more digits where one would show a rate as 0."""
    return f"{100 * value:.{_digits(value)}f}"


def _digits(value: float) -> int:
    return 1 if value == 0 or value >= 0.0005 else min(6, math.ceil(-math.log10(100 * value)))


def level(fpr: float) -> str:
    """Return a nominal level, such as a false-positive rate, in full: 10 %, 0.1 %."""
    return f"{_plain(100 * fpr)} %"


def _plain(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".") if value < 1e15 else str(value)


def area_with_interval(figure: Figure) -> str:
    """Return .758 [.750, .766], or the reason why there is no figure."""
    if figure.value is None or figure.low is None or figure.high is None:
        return figure.reason or "not measured"
    return f"{area(figure.value)} [{area(figure.low)}, {area(figure.high)}]"


def rate_with_interval(figure: Figure | Share) -> str:
    """Return 9.5 % [8.0, 10.9], or the reason why there is no figure."""
    if figure.value is None or figure.low is None or figure.high is None:
        return figure.reason or "not measured"
    digits = _digits(figure.value)
    low, high = (f"{100 * bound:.{digits}f}" for bound in (figure.low, figure.high))
    return f"{rate(figure.value)} % [{low}, {high}]"


def people(fpr: float) -> int:
    """Return of how many people natural frequencies speak: 1 000, or enough that the FPR is one of them."""
    return max(1000, int(10.0 ** math.ceil(-math.log10(fpr) - 1e-9)))


def gradients(part: GradientPart) -> str:
    """Return where gradients came from and how they were taken, in one line."""
    facts = [f"{part.tier}, {part.precision}: {part.method}"]
    if part.agreement is not None:
        facts.append(f"within {part.agreement:.1e} of the runtime's answers")
    if part.surrogate:
        facts.append("surrogate: rounding in the model is differentiated as if it were none")
    return printable("; ".join(facts))


def access(name: str) -> str:
    """Return what an attacker sees of the model, in words."""
    return printable(_ACCESS.get(name, name))
