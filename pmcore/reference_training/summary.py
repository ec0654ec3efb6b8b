"""What was reached, in lines: the accuracy of each reference beside the target's, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pmcore.checksums import files_sha256
from pmcore.reference_manifest import MANIFEST, Manifest

SHOWN = 16
"""References that are shown one by one."""
LIKE = 0.05
"""How far the accuracy of a reference may be from the target's."""


def summary(out: Path, manifest: Manifest, already: int, trusted: bool = False) -> Iterator[str]:
    """Yield the lines that are printed of a finished set.

    Parameters
    ----------
    already : how many of the references had been finished before
    trusted : whether loading them may run code, so that an audit needs somebody who vouches for them
    """
    models, target = manifest.models, manifest.target
    if already == len(models):
        yield f"{out}: {_references(already)} finished already - nothing is left to do"
    else:
        before = f", {already} of them from before" if already else ""
        yield f"{out}: {_references(len(models))} trained by {manifest.trainer.name!r}{before}"
    yield ""
    yield f"{'accuracy on':<16}{'own records':>12}{'others':>10}{'epochs':>10}"
    yield _row("target", target.accuracy_members, target.accuracy_others, None)
    own = [part.accuracy_in for part in models]
    others = [part.accuracy_out for part in models]
    if len(models) <= SHOWN:
        for index, part in enumerate(models):
            yield _row(f"reference {index}", part.accuracy_in, part.accuracy_out, part.epochs)
    else:
        for name, place in (("least", 0), ("median", len(models) // 2), ("most", -1)):
            yield _row(f"references, {name}", _ranked(own, place), _ranked(others, place), None)
    yield from _warnings("their own records", target.accuracy_members, own)
    yield from _warnings("others", target.accuracy_others, others)
    if trusted:
        yield f"to audit with   --trust-references sha256:{files_sha256([out / MANIFEST])}"


def _warnings(what: str, wanted: float | None, reached: Sequence[float | None]) -> Iterator[str]:
    if wanted is None:
        return
    gaps = [value - wanted for value in reached if value is not None]
    unlike = [gap for gap in gaps if abs(gap) > LIKE]
    if unlike:
        worst = max(unlike, key=abs)
        yield (
            f"warning         {len(unlike)} of {_references(len(gaps))} differ from the target by more than "
            f"{100 * LIKE:.0f} points on {what}, the worst by {100 * worst:+.1f} - train them as it was"
        )


def _references(count: int) -> str:
    return f"{count} reference{'' if count == 1 else 's'}"


def _row(name: str, own: float | None, others: float | None, epochs: int | None) -> str:
    shown = ["-" if value is None else f"{value:.3f}" for value in (own, others)]
    return f"{name:<16}{shown[0]:>12}{shown[1]:>10}{epochs if epochs is not None else '-':>10}"


def _ranked(values: Sequence[float | None], place: int) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[place] if len(known) == len(values) else None
