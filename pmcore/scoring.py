"""What attacks make of the evidence that they declared: a score for every audited record."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Role
from pmcore.errors import PluginError
from pmcore.evaluate import Scored
from pmcore.evidence import Evidence, told_of
from pmcore.interfaces import Floats
from pmcore.plugin_failures import answerable
from pmcore.selection import PlannedAttack
from pmcore.stand import Stand, make_evidence


def score_attack(planned: PlannedAttack, stand: Stand) -> Scored:
    """Let an attack score the audited records, members first in the result, each role in the order of its file.

    Parameters
    ----------
    stand : everything that was gathered, with the model that is audited

    Raises
    ------
    PluginError
        The attack fails, or gives anything but one finite float64 number per record.
    """
    plan = stand.plan
    order = plan.roles.evidence_order()
    evidence = make_evidence(planned, stand)
    if planned.needs.known_folds:
        answer = _by_folds(planned, evidence, plan.roles.folds(planned.needs.known_folds), stand.truth)
    else:
        answer = answer_of(planned, evidence)
    return Scored(
        scores=in_file_order(answer.scores, order),
        p_values=in_file_order(answer.p_values, order) if answer.p_values is not None else None,
        finest_level=float(answer.smallest.max()) if answer.smallest is not None else 1.0,
        n_members=len(plan.roles.feeds[Role.MEMBERS]),
        labels=plan.roles.audited_labels(),
    )


def in_file_order(values: Floats, order: NDArray[np.intp]) -> Floats:
    """Return values in the order of evidence, (n,), members first and each role in the order of its file."""
    result = np.empty_like(values)
    result[order] = values
    return result


@dataclass(frozen=True)
class Answer:
    """What an attack said of n records: scores, and p-values with the smallest possible ones if it has some."""

    scores: Floats
    p_values: Floats | None
    smallest: Floats | None


def answer_of(planned: PlannedAttack, evidence: Evidence) -> Answer:
    with answerable(planned.plugin):
        scores = planned.attack.score(evidence)
        p_values = planned.attack.p_values(evidence)
    returned = {"scores": scores}
    if p_values is not None:
        returned |= {"p-values": p_values.values, "smallest p-values": p_values.smallest}
    for what, values in returned.items():
        _check_numbers(planned, what, values, len(evidence.labels))
    return Answer(scores, None, None) if p_values is None else Answer(scores, p_values.values, p_values.smallest)


def _by_folds(
    planned: PlannedAttack, evidence: Evidence, folds: NDArray[np.intp], is_member: NDArray[np.bool_]
) -> Answer:
    """Return what an attack says of each fold when it is told the membership of some others."""
    whole: Answer | None = None
    for fold in range(planned.needs.known_folds):
        hidden = folds == fold
        known = np.where(told_of(folds, fold, planned.needs.known_folds), is_member, -1).astype(np.int8)
        known.flags.writeable = False
        answer = answer_of(planned, replace(evidence, known=known))
        if whole is None:
            whole = answer
            continue
        if (whole.p_values is None) != (answer.p_values is None):
            raise PluginError(f"{planned.plugin.title} has p-values in some folds and not in others; tell its authors")
        whole = Answer(
            np.where(hidden, answer.scores, whole.scores),
            _where(hidden, answer.p_values, whole.p_values),
            _where(hidden, answer.smallest, whole.smallest),
        )
    assert whole is not None  # there is one fold at least
    return whole


def _where(hidden: NDArray[np.bool_], new: Floats | None, old: Floats | None) -> Floats | None:
    return None if new is None or old is None else np.where(hidden, new, old)


def _check_numbers(planned: PlannedAttack, what: str, values: object, n: int) -> None:
    if not isinstance(values, np.ndarray) or values.dtype != np.float64:
        given = f"{values.dtype} numbers" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
        problem = f"{given} instead of a float64 array"
    elif values.shape != (n,):
        problem = f"shape {values.shape} for {n} records"
    elif not np.isfinite(values).all():
        problem = f"{int((~np.isfinite(values)).sum())} values of {n} that are not finite"
    else:
        return
    raise PluginError(f"{planned.plugin.title} gave {problem} as {what}; tell its authors")
