"""An attack let loose on a world: its scores as an audit would keep them, and how two runs of it compare."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from pmcore.errors import AuditError
from pmcore.evidence import PValues
from pmcore.interfaces import Attack
from pmcore.option_docs import resolved_options
from pmcore.options import build
from pmcore.outputs import Floats
from pmcore.statistics import Estimate, auc, sort_scores
from pmcore.testing.apart import Job, Step, watch
from pmcore.testing.checking import CheckFailed
from pmcore.testing.evidence_worlds import Recipe, World, make_world
from pmcore.testing.refusals import require, require_one_line

LOOSE = 0.7
"""Rank correlation of two runs of an attack that trains or draws, where the same records reach it otherwise."""

P = TypeVar("P")


@dataclass(frozen=True, eq=False)
class Run:
    """What an attack made of a world.

    Parameters
    ----------
    values : (n,) scores as numbers that can be ranked, whatever else is wrong with them
    given : what `score` returned, once for every fold
    p_values : what `p_values` returned for the last fold
    drew : whether it may have drawn random numbers
    """

    values: Floats
    given: tuple[object, ...]
    p_values: object
    drew: bool


def run(attack: Attack, world: World, *, folds: int | None = None) -> Run:
    """Let a pristine copy of an attack score a world as an audit does, fold by fold if it knows members.

    Each check looks at one promise: a wrong type, shape or infinity is passed over here, and found where it is looked
    for.

    Parameters
    ----------
    folds : score only the first so many folds; the other records keep 0
    """
    return run_same(pristine(attack), world, folds=folds)


def run_same(attack: Attack, world: World, *, folds: int | None = None) -> Run:
    """Let this very instance score a world."""
    count = max(world.needs.known_folds, 1)
    values = np.zeros(len(world))
    given: list[object] = []
    p_values: object = None
    drew = False
    for fold in range(count if folds is None else min(folds, count)):
        evidence = world.evidence(fold)
        scores = attack.score(evidence)
        p_values = attack.p_values(evidence)
        given.append(scores)
        own = world.folds == fold
        values[own] = _rankable(scores, len(world))[own]
        drew |= evidence.drew
    return Run(values, tuple(given), p_values, drew)


def _rankable(scores: object, n: int) -> Floats:
    try:
        values: Floats = np.asarray(scores, dtype=np.float64).reshape(n)
    except (TypeError, ValueError):
        given = f"an array of shape {scores.shape}" if isinstance(scores, np.ndarray) else f"a {type(scores).__name__}"
        raise CheckFailed(f"score gave {given} for {n} records; return one float64 number per record, (n,)") from None
    return np.nan_to_num(values, nan=0.0, posinf=np.finfo(np.float64).max, neginf=np.finfo(np.float64).min)


def pristine(plugin: P) -> P:
    """Return an instance with the same options and nothing else that may have been stored in it."""
    if not dataclasses.is_dataclass(plugin):
        return copy.copy(plugin)
    twin = object.__new__(type(plugin))
    for option in dataclasses.fields(plugin):
        object.__setattr__(twin, option.name, getattr(plugin, option.name))
    return twin


def usable_p_values(run: Run, n: int) -> PValues | None:
    """Return p-values if there are any in a form that can be looked at."""
    if not isinstance(run.p_values, PValues) or np.shape(run.p_values.values) != (n,):
        return None
    return run.p_values


def found_leak(run: Run, world: World, confidence: float = 0.999) -> Estimate:
    """Return the AUC of a run with an interval in which chance has next to no part."""
    return auc(sort_scores(run.values[world.truth], run.values[~world.truth]), confidence)


def require_leak(attack: Attack, world: World, where: str) -> None:
    """Require that an attack finds the leak that is planted in a world."""
    found = found_leak(run(attack, world), world)
    assert found.value is not None
    assert found.low is not None
    words = f"the AUC of a planted leak is {found.value:.3f} (at least {found.low:.3f}){where}"
    if found.value < 0.5:
        raise CheckFailed(f"{words}; higher scores must mean members: see Evidence.membership_evidence")
    require(found.low > 0.5, f"{words}, not clearly above .5; it does not use what it declares")


def require_same(first: Floats, second: Floats, *, loose: float | None, complaint: str) -> None:
    """Require that two runs gave the same scores to the same records, or ranks that correlate as much as `loose`."""
    if loose is not None:
        agreement = rank_correlation(first, second)
        require(agreement >= loose, f"{complaint} (rank correlation {agreement:.2f})")
        return
    scale = max(float(np.abs(first).max()), float(np.abs(second).max()))
    differ = np.abs(first - second) > 1e-9 * scale
    if differ.any():
        row = int(np.argmax(differ))
        raise CheckFailed(
            f"{complaint} ({int(differ.sum())} of {len(first)} differ; one is {first[row]:.6g} and then "
            f"{second[row]:.6g})"
        )


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's correlation; 1 for two constants, 0 where one alone is constant."""
    ranks = [_mid_ranks(values) for values in (first, second)]
    spreads = [float(np.ptp(values)) for values in ranks]
    if min(spreads) == 0.0:
        return 1.0 if max(spreads) == 0.0 else 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _mid_ranks(values: Floats) -> Floats:
    ascending = np.sort(values)
    below = np.searchsorted(ascending, values, side="left") + np.searchsorted(ascending, values, side="right")
    ranks: Floats = below / 2
    return ranks


def require_usable(attack: Attack, world: World, where: str) -> None:
    """Require finite scores and p-values, or a refusal in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # at the edge numpy may warn of what a finite score then shows is settled
            found = run(attack, world)
    except AuditError as error:
        require_one_line(str(error), where)
        return
    except Exception as error:  # a plugin is called: whatever it raises is its failure
        raise CheckFailed(
            f"{where}: {type(error).__name__}: {error}; score it, or raise an InputError that says what is needed"
        ) from error
    for scores in found.given:
        _require_finite(scores, f"{where}: scores")
    if isinstance(found.p_values, PValues):
        _require_finite(found.p_values.values, f"{where}: p-values")


def _require_finite(values: object, what: str) -> None:
    numbers = np.asarray(values, dtype=np.float64)
    bad = int((~np.isfinite(numbers)).sum())
    require(not bad, f"{what}: {bad} of {numbers.size} are not finite; score them, or raise an InputError")


def rebuilt(attack: Attack, changes: Mapping[str, object]) -> Attack:
    """Return the attack with some options changed; others as they are.

    Raises
    ------
    AuditError
        It refuses them.
    """
    return build(type(attack), {**resolved_options(attack), **changes}, "attack")


@lru_cache(maxsize=64)
def scored_apart(cls: type[Attack], options: str) -> Mapping[str, Step]:
    """Return what came of importing an attack in a fresh process and scoring there; `options` is JSON."""
    step = {
        "step": "score",
        "kind": "call",
        "function": "pmcore.testing.attack_runs:score_here",
        "options": options,
    }
    return watch(Job(cls, [step]))


def score_here(cls: type[Attack], step: Mapping[str, Any]) -> list[float]:
    """Score the world of `APART`; runs in the other process."""
    attack = build(cls, json.loads(step["options"]), "attack")
    return [float(score) for score in run(attack, make_world(attack, APART)).values]


APART = Recipe(audited=60, population=60)
"""What is scored in another process and in threads."""
