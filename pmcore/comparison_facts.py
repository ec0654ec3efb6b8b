"""What stands beside the figures of a comparison: which audits, what was left out, what else differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pmcore.comparison_schema import AuditSide
from pmcore.matching import StoredAudit
from pmcore.schema import AttackPart


def side_of(audit: StoredAudit) -> AuditSide:
    """Return what identifies an audit."""
    model, member = audit.report.model, audit.is_member
    return AuditSide(
        path=audit.path,
        report_sha256=audit.sha256,
        model=model.path,
        model_sha256=model.sha256,
        runtime=model.runtime,
        device=model.device,
        precision=model.precision,
        members=int(np.count_nonzero(member)),
        nonmembers=int(np.count_nonzero(~member)),
        seed=audit.report.seed,
    )


def left_out(baseline: StoredAudit, other: StoredAudit, wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield attacks that ran in one of the audits alone, and why, unless attacks were named."""
    for one, two in ((baseline, other), (other, baseline)):
        for name in one.report.attacks:
            if name not in two.report.attacks and not wanted:
                skipped = next((part.reason for part in two.report.skipped if part.attack == name), None)
                yield name, f"did not run in {two.path}" + (f": {skipped}" if skipped else "")


def attack_notes(baseline: AttackPart, other: AttackPart) -> Iterator[str]:
    """Yield why the same name may not be the same attack, or its figures no leak."""
    if baseline.signals != other.signals:
        yield f"it reads {', '.join(baseline.signals)} in the baseline, {', '.join(other.signals)} here"
    changed = sorted(
        name
        for name in baseline.options.keys() | other.options
        if baseline.options.get(name) != other.options.get(name)
    )
    if changed:
        yield f"its options differ: {', '.join(changed)}"
    if any(part.auc.high is not None and part.auc.high < 0.5 for part in (baseline, other)):
        yield "members rank below non-members in one audit or both: they are swapped, or the attack is oriented wrong"


def pair_notes(baseline: StoredAudit, other: StoredAudit) -> Iterator[str]:
    """Yield what else differs, or does not, between two audits."""
    one, two = baseline.report, other.report
    if one.model.sha256 is not None and one.model.sha256 == two.model.sha256:
        yield "both audits are of the same model file"
    if (one.data.population is None) != (
        two.data.population is None
    ) or one.data.population_from != two.data.population_from:
        yield "the population records of the two audits are not the same"
    models = [[model.sha256 for model in part.references.models] if part.references else [] for part in (one, two)]
    if models[0] != models[1]:
        yield "the reference models of the two audits are not the same"
