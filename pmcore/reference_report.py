"""What the report says of the reference models, and how far they may be trusted."""

from __future__ import annotations

from pmcore.evaluate import share
from pmcore.numerals import count
from pmcore.plan import Plan
from pmcore.reference_answers import Accuracy
from pmcore.reference_set import AUDITED, ReferenceSet
from pmcore.schema import ReferencePart, ReferencesPart, Share, Validity

UNEQUAL = 0.1
"""Difference of the references that saw a member and a non-member, on average, from which the audit warns."""
LIKE = 0.05
"""How far the accuracy of a reference may be from the target's."""


def reference_part(plan: Plan, accuracy: tuple[Accuracy, ...], confidence: float) -> ReferencesPart:
    """Return the references as a part of the report."""
    placed = plan.references
    assert placed is not None
    coverage = placed.coverage()
    hashes = _hashes(placed.set)
    parts = []
    for index, title in enumerate(placed.set.titles):
        one = accuracy[index] if accuracy else None
        parts.append(
            ReferencePart(
                title=title,
                sha256=hashes[index],
                accuracy_inside=None
                if one is None or not one.inside
                else share(one.inside_right, one.inside, confidence),
                accuracy_outside=(
                    None if one is None or not one.outside else share(one.outside_right, one.outside, confidence)
                ),
            )
        )
    return ReferencesPart(
        path=placed.set.path,
        origin=_origin(placed.set),
        inside=coverage.inside,
        outside=coverage.out,
        known=placed.known,
        models=parts,
    )


def check_coverage(plan: Plan) -> Validity:
    """Say which references saw the audited records, and warn where that is only assumed."""
    placed = plan.references
    assert placed is not None
    coverage = placed.coverage()
    audited = len(plan.roles.audited_labels())
    models = f"{count(coverage.models)} reference{'' if coverage.models == 1 else 's'}"
    if placed.set.table is None:
        text = f"{models} without a membership matrix: taken for trained on none of the audited records"
        return Validity(name="references", verdict="warning", text=text)
    if placed.set.manifest is not None and placed.set.manifest.target.sha256 != plan.model.sha256:
        text = f"{models} trained for another model (sha256 {(placed.set.manifest.target.sha256 or 'unknown')[:8]}…)"
        return Validity(name="references", verdict="warning", text=text)
    members, others = (placed.membership[role].sum(axis=1).mean() for role in AUDITED)
    if abs(members - others) > UNEQUAL:
        text = (
            f"{models}; members were seen by {members:.1f} of them on average and non-members by {others:.1f}: attacks "
            "that compare with them can err either way, and their intervals may not hold - make references in halves "
            "of a pool with both"
        )
        return Validity(name="references", verdict="warning", text=text)
    text = (
        f"{models}; every audited record was seen by {coverage.inside} of them or more, and not seen by {coverage.out} "
        f"or more; {count(placed.known)} of {count(audited)} records are in their pool"
    )
    return Validity(name="references", verdict="ok", text=text)


def check_likeness(accuracy: tuple[Accuracy, ...], members: Share, nonmembers: Share) -> Validity:
    """Warn where references know what they were trained on, or what they were not, other than the target does."""
    assert members.value is not None
    assert nonmembers.value is not None
    inside = [one.inside_right / one.inside - members.value for one in accuracy if one.inside]
    outside = [one.outside_right / one.outside - nonmembers.value for one in accuracy if one.outside]
    parts, unlike = [], 0
    for words, gaps in (("on what trained them", inside), ("on other records", outside)):
        if gaps:
            worst = max(gaps, key=abs)
            parts.append(f"{100 * abs(worst):.1f} points {words}")
            unlike = max(unlike, sum(abs(gap) > LIKE for gap in gaps))
    text = f"accuracy of the references within {', '.join(parts)} of the model's"
    if not unlike:
        return Validity(name="likeness", verdict="ok", text=text)
    text += (
        f": {count(unlike)} of {count(len(accuracy))} differ by more than {100 * LIKE:.0f} points, and attacks that "
        "compare with them say less - train them as the model was (epochs, learning rate, weight decay, augmentation)"
    )
    return Validity(name="likeness", verdict="warning", text=text)


def _hashes(found: ReferenceSet) -> list[str | None]:
    if found.manifest is not None:
        return [part.sha256 for part in found.manifest.models]
    return [None] * len(found)


def _origin(found: ReferenceSet) -> str:
    if found.recorded is not None:
        return "answers that were recorded elsewhere"
    if found.manifest is None:
        return "brought by the owner"
    trainer, epochs = found.manifest.trainer.name, found.manifest.epochs
    how = "until they knew their records as the model does" if epochs is None else f"for {count(epochs)} epochs"
    if all(part.epochs is None for part in found.manifest.models):
        how = "as long as the model's own settings say"
    which = "half of the pool each" if found.manifest.assign == "in-out" else "population records alone"
    return f"trained by pmcore's trainer {trainer!r} on {which}, {how}"
