"""Whether an attack finds what is there, and nothing where there is nothing."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.special import bdtrc

from pmcore.errors import AuditError
from pmcore.evidence import PValues, Source
from pmcore.interfaces import Attack
from pmcore.option_docs import resolved_options
from pmcore.statistics import auc, sort_scores
from pmcore.testing.attack_runs import found_leak, rank_correlation, rebuilt, require_leak, run, usable_p_values
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.evidence_signals import names_of, signals_of, tasks_of
from pmcore.testing.evidence_worlds import Recipe, World, make_world, make_worlds
from pmcore.testing.refusals import require

REPETITIONS = 200
WORLDS_WITH_REFERENCES = 20
SEEDS = ((0,), (1, 3), (2**40 + 9, 2**31))
"""Entropy as audits hand it out: several numbers, of any size."""
MOST_APART = 0.1
"""Difference of two areas under the curve that different seeds may make."""
FEW = 20
"""Population records in the smallest worlds in which p-values are held to their level."""
LEVELS = (0.05, 0.1, 0.2, 0.5)


def check_planted_leak(attack: Attack) -> None:
    """Find a planted leak: the AUC lies clearly above .5."""
    require_leak(attack, make_world(attack, Recipe()), "")


def check_no_leak(attack: Attack) -> None:
    """Find nothing where the model does not leak: the interval of the AUC holds .5 as often as it should.

    In 200 worlds. DeLong's intervals miss at this size in at most 7 % of them; the number allowed is passed by a
    right attack less than once in a million.
    """
    worlds = _worlds_without_leak(attack)
    misses, total = 0, 0.0
    for world in worlds:
        # One fold is held out: pooled scores of several folds are not independent, and their AUC lies below .5.
        found = run(attack, world, folds=1).values
        held_out = world.folds == 0
        area = auc(sort_scores(found[held_out & world.truth], found[held_out & ~world.truth]))
        assert area.value is not None
        assert area.low is not None
        assert area.high is not None
        misses += not area.low <= 0.5 <= area.high
        total += area.value
    allowed = most_misses(len(worlds), 0.07)
    require(
        misses <= allowed,
        f"without a leak the interval of the AUC misses .5 in {misses} of {len(worlds)} worlds (up to {allowed} may "
        f"be chance; mean AUC {total / len(worlds):.3f}); it reads something else than the model's answers",
    )


def most_misses(worlds: int, share: float) -> int:
    """Return the number of misses that a right attack passes less than once in a million."""
    return next(count for count in range(worlds + 1) if bdtrc(count, worlds, share) < 1e-6)


def _worlds_without_leak(attack: Attack) -> list[World]:
    """Return worlds without a leak, in which members and non-members differ in their classes alone.

    They do not differ for an attack that learns from records whose membership is known: it may learn the classes.
    """
    needs = attack.needs
    task = next(iter(tasks_of(signals_of(attack, needs))), None)
    learns = needs.known_folds >= 2 or needs.membership
    recipe = Recipe(audited=80, population=100, references=4, leak=0.0, task=task, mixed=not learns, seed=2)
    if task not in ("multiclass", "binary", None):
        recipe = dataclasses.replace(recipe, mixed=False)
    if needs.known_folds >= 2:
        recipe = dataclasses.replace(recipe, audited=40 * needs.known_folds)
    return make_worlds(attack, recipe, REPETITIONS)


def check_direction(attack: Attack) -> None:
    """Give members the higher scores also with a signal that points the other way."""
    choices = [name for name, value in resolved_options(attack).items() if value in names_of(attack.needs)]
    if not choices:
        raise NotApplicable("it has no option that names its signal")
    tried = 0
    for signal in ("loss", "rescaled_logit"):
        try:
            other = rebuilt(attack, dict.fromkeys(choices, signal))
        except AuditError:
            continue
        tried += 1
        require_leak(other, make_world(other, Recipe()), f" with {', '.join(choices)}={signal}")
    if not tried:
        raise NotApplicable("its option allows neither `loss` nor `rescaled_logit`")


def check_references_help(attack: Attack) -> None:
    """Find no less by what the references say of this very record than by what they say of another one.

    In worlds in which records differ much in how easy they are. A classifier that is trained on the references finds
    as much either way.
    """
    worlds = make_worlds(attack, Recipe(spread=2.0), WORLDS_WITH_REFERENCES)
    if not any(key.source is Source.REFERENCES for key in worlds[0].arrays):
        raise NotApplicable("it reads no signals of references on the audited records")
    gains = np.array([_area(attack, world) - _area(attack, _exchanged(world)) for world in worlds])
    worst = float(gains.mean() + 4 * gains.std(ddof=1) / math.sqrt(len(gains)))
    require(
        worst >= 0.0,
        f"the AUC of a planted leak is {-gains.mean():.3f} higher when records get each other's references; a record "
        "that references find easy must get a lower score for it",
    )


def _area(attack: Attack, world: World) -> float:
    found = run(attack, world, folds=1)
    own = world.folds == 0
    return auc(sort_scores(found.values[own & world.truth], found.values[own & ~world.truth])).value or 0.0


def _exchanged(world: World) -> World:
    """Return the world in which references speak of another record."""
    rows = np.random.default_rng(8).permutation(len(world))
    arrays = {
        key: array.take(rows, axis=1) if key.source is Source.REFERENCES else array
        for key, array in world.arrays.items()
    }
    return dataclasses.replace(
        world, arrays=arrays, membership=None if world.membership is None else world.membership[rows]
    )


def check_seeds(attack: Attack) -> None:
    """Find as much of a leak whatever the seed."""
    world = make_world(attack, Recipe())
    areas = {}
    for seed in SEEDS:
        seeded = dataclasses.replace(world, seed=seed)
        try:
            areas[seed] = found_leak(run(attack, seeded), seeded).value or 0.0
        except Exception as error:  # a plugin is called: whatever it raises is its failure
            raise CheckFailed(f"with seed {seed}: {type(error).__name__}: {error}; use Evidence.rng") from error
    apart = max(areas.values()) - min(areas.values())
    words = ", ".join(f"{area:.3f} with {seed}" for seed, area in areas.items())
    require(apart <= MOST_APART, f"the AUC of a planted leak is {words}; a seed must not decide what is found")


def check_p_values_are_probabilities(attack: Attack) -> None:
    """Give p-values in (0, 1], none below the smallest that is named."""
    world = make_world(attack, Recipe())
    found = _p_values(attack, world)
    for what, values in (("values", found.values), ("smallest", found.smallest)):
        fits = isinstance(values, np.ndarray) and values.shape == (len(world),) and values.dtype == np.float64
        require(fits, f"PValues.{what} is no float64 array of shape (n,)")
        wrong = values[~((values > 0) & (values <= 1))]
        require(not wrong.size, f"PValues.{what} leaves (0, 1] for {wrong.size} records; add one to both counts")
    require(bool((found.smallest <= found.values).all()), "a p-value is below the smallest that it could have been")


def _p_values(attack: Attack, world: World) -> PValues:
    found = run(attack, world, folds=1).p_values
    if found is None:
        raise NotApplicable("it gives no p-values")
    if not isinstance(found, PValues):
        raise CheckFailed(f"p_values gave a {type(found).__name__}; return pmcore.interfaces.PValues or None")
    return found


def check_p_values_hold_their_level(attack: Attack) -> None:
    """Give valid p-values: without a leak, at most a share a of the non-members has p <= a."""
    _p_values(attack, make_world(attack, Recipe(audited=60, population=60)))
    worlds = _worlds_without_leak(attack)
    _require_level(attack, worlds, "")
    _require_level(attack, [_coarse(world) for world in worlds], " where many signals are equal")
    if worlds[0].population_labels is not None:
        # The smaller the population, the more it matters that a record is counted with it.
        few = [world.take_population(np.arange(FEW)) for world in worlds]
        try:
            run(attack, few[0], folds=1)
        except AuditError:
            return
        _require_level(attack, few, f" with a population of {FEW}")


def _coarse(world: World) -> World:
    """Return a world with signals of few values."""
    steps = {key.signal: float(np.std(values)) / 2 or 1.0 for key, values in reversed(list(world.arrays.items()))}
    arrays = {key: np.round(values / steps[key.signal]) * steps[key.signal] for key, values in world.arrays.items()}
    return dataclasses.replace(world, arrays=arrays)


def _require_level(attack: Attack, worlds: list[World], where: str) -> None:
    shares = np.zeros((len(worlds), len(LEVELS)))
    for row, world in enumerate(worlds):
        found = usable_p_values(run(attack, world, folds=1), len(world))
        if found is None:
            raise CheckFailed("p_values gave no array of shape (n,) in a world without a leak")
        own = found.values[(world.folds == 0) & ~world.truth]
        shares[row] = (own[:, None] <= np.array(LEVELS)).mean(axis=0)
    for level, mean, spread in zip(LEVELS, shares.mean(axis=0), shares.std(axis=0, ddof=1), strict=True):
        # Five standard errors: the shares of one world share a population, those of different worlds nothing.
        chance = 5 * float(spread) / math.sqrt(len(worlds))
        require(
            float(mean) <= level + chance,
            f"p <= {level} for {mean:.3f} of the non-members without a leak{where}; only {level} may be that small",
        )


def check_p_values_agree_with_scores(attack: Attack) -> None:
    """Give p-values that fall where scores rise."""
    world = make_world(attack, Recipe())
    _p_values(attack, world)
    found = run(attack, world, folds=1)
    own = world.folds == 0
    p_values = usable_p_values(found, len(world))
    if p_values is None:
        raise CheckFailed("p_values gave no array of shape (n,)")
    agreement = rank_correlation(found.values[own], -p_values.values[own])
    require(agreement >= 0.9, f"the rank correlation of scores and falling p-values is {agreement:.2f}; take one order")
