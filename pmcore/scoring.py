"""The evidence that each attack declared, and what the attack makes of it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Role
from pmcore.errors import PluginError
from pmcore.evaluate import Scored
from pmcore.evidence import Evidence, EvidenceKey, Source, told_of
from pmcore.gather import Gathered
from pmcore.interfaces import Direction, Floats, ModelDescription
from pmcore.option_docs import resolved_options
from pmcore.plan import Plan
from pmcore.plugin_failures import answerable
from pmcore.selection import PlannedAttack, signal_names


def score_attack(
    plan: Plan, planned: PlannedAttack, gathered: Mapping[Role, Gathered], description: ModelDescription
) -> Scored:
    """Let an attack score the audited records, members first in the result, each role in the order of its file.

    Parameters
    ----------
    gathered : the signals of each role
    description : the model as it is after `prepare`

    Raises
    ------
    PluginError
        The attack fails, or gives anything but one finite float64 number per record.
    """
    order = plan.roles.evidence_order()
    evidence = make_evidence(plan, planned, gathered, description, order)
    if planned.needs.known_folds:
        answer = _by_folds(planned, evidence, plan.roles.folds(planned.needs.known_folds), _is_member(plan)[order])
    else:
        answer = _answer(planned, evidence)
    return Scored(
        scores=_in_file_order(answer.scores, order),
        p_values=_in_file_order(answer.p_values, order) if answer.p_values is not None else None,
        finest_level=float(answer.smallest.max()) if answer.smallest is not None else 1.0,
        n_members=len(plan.roles.feeds[Role.MEMBERS]),
        labels=plan.roles.audited_labels(),
    )


@dataclass(frozen=True)
class _Answer:
    """What an attack said of n records: scores, and p-values with the smallest possible ones if it has some."""

    scores: Floats
    p_values: Floats | None
    smallest: Floats | None


def _answer(planned: PlannedAttack, evidence: Evidence) -> _Answer:
    with answerable(planned.plugin):
        scores = planned.attack.score(evidence)
        p_values = planned.attack.p_values(evidence)
    returned = {"scores": scores}
    if p_values is not None:
        returned |= {"p-values": p_values.values, "smallest p-values": p_values.smallest}
    for what, values in returned.items():
        _check_numbers(planned, what, values, len(evidence.labels))
    return _Answer(scores, None, None) if p_values is None else _Answer(scores, p_values.values, p_values.smallest)


def _by_folds(
    planned: PlannedAttack, evidence: Evidence, folds: NDArray[np.intp], is_member: NDArray[np.bool_]
) -> _Answer:
    """Return what an attack says of each fold when it is told the membership of some others."""
    whole: _Answer | None = None
    for fold in range(planned.needs.known_folds):
        hidden = folds == fold
        known = np.where(told_of(folds, fold, planned.needs.known_folds), is_member, -1).astype(np.int8)
        known.flags.writeable = False
        answer = _answer(planned, replace(evidence, known=known))
        if whole is None:
            whole = answer
            continue
        if (whole.p_values is None) != (answer.p_values is None):
            raise PluginError(f"{planned.plugin.title} has p-values in some folds and not in others; tell its authors")
        whole = _Answer(
            np.where(hidden, answer.scores, whole.scores),
            _where(hidden, answer.p_values, whole.p_values),
            _where(hidden, answer.smallest, whole.smallest),
        )
    assert whole is not None  # there is one fold at least
    return whole


def _where(hidden: NDArray[np.bool_], new: Floats | None, old: Floats | None) -> Floats | None:
    return None if new is None or old is None else np.where(hidden, new, old)


def _is_member(plan: Plan) -> NDArray[np.bool_]:
    """Return whether each audited record is a member, in the order of the files, shape (n,)."""
    sizes = [len(plan.roles.feeds[role]) for role in (Role.MEMBERS, Role.NONMEMBERS)]
    return np.arange(sum(sizes)) < sizes[0]


def make_evidence(
    plan: Plan,
    planned: PlannedAttack,
    gathered: Mapping[Role, Gathered],
    description: ModelDescription,
    order: NDArray[np.intp],
) -> Evidence:
    """Return exactly what the attack declared.

    Records stand in the order of their digests: an attack can neither see where the members end nor give a
    result that depends on the order of the files.
    """
    arrays: dict[EvidenceKey, Floats] = {}
    for name in planned.needs.target:
        sides = [gathered[role].signals[name] for role in (Role.MEMBERS, Role.NONMEMBERS)]
        arrays[EvidenceKey(Source.TARGET, name)] = np.concatenate(sides)[order]
    population = plan.roles.feeds.get(Role.POPULATION)
    population_labels = None
    if population is not None and planned.needs.population:
        by_digest = plan.roles.population_order()
        population_labels = population.records.labels[by_digest]
        for name in planned.needs.population:
            arrays[EvidenceKey(Source.POPULATION, name)] = gathered[Role.POPULATION].signals[name][by_digest]
    for array in arrays.values():
        array.flags.writeable = False
    return Evidence(
        arrays=arrays,
        labels=plan.roles.audited_labels()[order],
        population_labels=population_labels,
        lower_is_member={
            name: direction is Direction.LOWER
            for name in signal_names(planned.needs)
            if (direction := plan.signals[name].signal.direction) is not Direction.NEITHER
        },
        task=description.task,
        classes=description.classes,
        seed=seed_of(plan.settings.seed, planned),
    )


def seed_of(seed: int, planned: PlannedAttack) -> tuple[int, ...]:
    """Return entropy for one attack with its options: the same whatever else runs beside it."""
    purpose = f"{planned.plugin.name} {sorted(resolved_options(planned.attack).items())}"
    return (seed, zlib.crc32(purpose.encode("utf-8", "backslashreplace")))


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


def _in_file_order(values: Floats, order: NDArray[np.intp]) -> Floats:
    result = np.empty_like(values)
    result[order] = values
    return result
