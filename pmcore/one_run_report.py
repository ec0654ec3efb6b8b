"""What an audit from one training run found, as lines and as values for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pmcore.dp_audit import OneRunBound
from pmcore.numerals import count

STATEMENT = (
    "a statement about the training algorithm, for adding or removing one record, if a fair coin decided about every "
    "canary (declared, not verified)"
)


def as_values(bound: OneRunBound, facts: Mapping[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    """Return everything that the lines tell, by name.

    Parameters
    ----------
    facts : where the figures come from: signal, seed, and either scores or model, canaries_file and included_file
    """
    figures = asdict(bound)
    head = {"schema": 1, "epsilon": figures.pop("value"), **figures}
    return {**head, "statement": STATEMENT, "warnings": list(warnings), **facts}


def as_text(bound: OneRunBound, facts: Mapping[str, Any], warnings: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield labels and lines; see `as_values`."""
    if "model" in facts:
        sha256 = facts["model"]["sha256"]
        hashed = f"   sha256 {sha256[:8]}…" if sha256 is not None else ""
        yield "model", f"{facts['model']['path']}{hashed}   {facts['model']['backend']}"
    source = facts["canaries_file"] if "model" in facts else facts["scores"]
    yield "canaries", f"{count(bound.canaries)} of {source}; {count(bound.included)} were included"
    yield (
        "guesses",
        f"{count(bound.guesses)} by the most extreme {facts['signal']}, seed {facts['seed']}: {count(bound.correct)} "
        f"right ({100 * bound.correct / bound.guesses:.1f} %), and by chance about {count(round(bound.guesses / 2))}",
    )
    at = f"at delta {bound.delta:g} and {100 * bound.confidence:g} % confidence"
    most = f"(had every guess been right: {bound.cap:.3f})"
    if bound.value > 0:
        yield "epsilon", f"{bound.value:.3f} or more {at}   {most}"
    else:
        yield "epsilon", f"nothing above 0 was found {at}, which is not to say that nothing is there   {most}"
    if bound.tried > 1:
        yield "", f"the best of {bound.tried} numbers of guesses, corrected for the choice"
    yield "", STATEMENT
    for warning in warnings:
        yield "warning", warning
