"""What the score of a record must not depend on: order, company, process, thread, chance and what came before."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from pmcore.evidence import Source
from pmcore.interfaces import Attack
from pmcore.option_docs import resolved_options
from pmcore.testing.apart import Step, require_no_framework
from pmcore.testing.attack_runs import (
    APART,
    LOOSE,
    Run,
    pristine,
    rank_correlation,
    require_same,
    run,
    run_same,
    scored_apart,
    usable_p_values,
)
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.evidence_worlds import LEAK, Recipe, World, make_world
from pmcore.testing.own_effects import require_no_effects
from pmcore.testing.refusals import require

THREADS = 4
OTHER_SEED = (7, 7)
BY_CHANCE = 0.15
"""Rank correlation of 200 records by which one other order may lie below one other seed."""
LITTLE = 0.05
"""Share of the range of all scores by which chance may move one."""


def check_record_order(attack: Attack) -> None:
    """Score a record the same wherever it stands."""
    world = make_world(attack, Recipe())
    order = np.random.default_rng(3).permutation(len(world))
    first, second = run(attack, world), run(attack, world.take(order))
    require_same(
        first.values[order],
        second.values,
        loose=_loose(attack, world, first),
        complaint="with the records in another order they get other scores",
    )


def check_company(attack: Attack) -> None:
    """Score a record the same whichever other records are audited with it.

    An attack that learns from the audited records, or pools over them what its references say, may move a little.
    """
    world = make_world(attack, Recipe())
    half = np.arange(0, len(world), 2)
    first, second = run(attack, world), run(attack, world.take(half))
    require_same(
        first.values[half],
        second.values,
        loose=_loose(attack, world, first, pools=world.needs.min_references > 0),
        complaint="with half of the records only, these get other scores",
    )


def check_answers_about_others(attack: Attack) -> None:
    """Score a record the same whatever the model answers about the other audited records."""
    world, other = (make_world(attack, recipe) for recipe in (Recipe(), Recipe(seed=6, leak=3 * LEAK)))
    targets = [key for key in world.arrays if key.source is Source.TARGET]
    if not targets:
        raise NotApplicable("it reads no signal of the target")
    # Where membership is known, the answers about known records are what an attack learns from: they stay.
    scored = np.flatnonzero(world.folds == 0)
    kept, others = scored[::2], scored[1::2]
    arrays = dict(world.arrays)
    for key in targets:
        arrays[key] = np.array(arrays[key])
        arrays[key][others] = other.arrays[key][others]
    first, second = run(attack, world, folds=1), run(attack, replace(world, arrays=arrays), folds=1)
    found = [first.values[kept], second.values[kept]]
    complaint = "with other answers about other records their scores differ; measure a record by itself"
    if not (first.drew or second.drew or world.needs.known_folds):
        require_same(*found, loose=None, complaint=complaint)
        tails = [usable_p_values(each, len(world)) for each in (first, second)]
        if tails[0] is not None and tails[1] is not None:
            p_values = [tail.values[kept] for tail in tails if tail is not None]
            require_same(*p_values, loose=None, complaint=complaint.replace("scores", "p-values"))
        return
    # Ties that are broken by chance, and training in float32, may move a score by little.
    moved, range_ = float(np.abs(found[0] - found[1]).max()), float(np.ptp(first.values[scored]))
    require(moved <= LITTLE * range_, f"{complaint} (by up to {moved:.3g}, of a range of {range_:.3g})")


def check_population_order(attack: Attack) -> None:
    """Score the same for any order of the population."""
    world = make_world(attack, Recipe())
    if world.population_labels is None:
        raise NotApplicable("it reads no population")
    order = np.random.default_rng(4).permutation(len(world.population_labels))
    first, second = run(attack, world), run(attack, world.take_population(order))
    complaint = "with the population in another order the scores differ"
    require_same(first.values, second.values, loose=_loose(attack, world, first), complaint=complaint)


def check_reference_order(attack: Attack) -> None:
    """Score the same for any order of the reference models."""
    world = make_world(attack, Recipe())
    if world.needs.min_references == 0:
        raise NotApplicable("it reads no reference models")
    models = next(array.shape[0] for key, array in world.arrays.items() if "references" in key.source)
    first, second = run(attack, world), run(attack, world.take_references(np.arange(models)[::-1]))
    complaint = "with the reference models in another order the scores differ"
    require_same(first.values, second.values, loose=_loose(attack, world, first), complaint=complaint)


def _loose(attack: Attack, world: World, found: Run, *, pools: bool = False) -> float | None:
    """Return the rank correlation that is asked of an attack that trains, draws or pools; None if scores must be equal.

    Another order of the same records need not move scores less than another seed does.
    """
    if found.drew:
        seeded = run(attack, replace(world, seed=OTHER_SEED)).values
        return min(LOOSE, rank_correlation(found.values, seeded) - BY_CHANCE)
    return LOOSE if pools or world.needs.known_folds >= 2 else None


def check_ties(attack: Attack) -> None:
    """Give equal scores to records with equal evidence."""
    world = make_world(attack, Recipe(audited=100))
    twice = world.take(np.concatenate([np.arange(len(world)), np.arange(len(world))]))
    found = run(attack, twice)
    if found.drew:
        raise NotApplicable("it draws random numbers, which two equal records need not share")
    first, second = found.values[: len(world)], found.values[len(world) :]
    require_same(first, second, loose=None, complaint="two records with equal evidence get different scores")


def check_determinism(attack: Attack) -> None:
    """Give the same scores for the same evidence and seed, bit for bit."""
    world = make_world(attack, Recipe())
    with fixed_random_numbers():
        first = run(attack, world).values
    with fixed_random_numbers():
        second = run(attack, world).values
    differ = int((first != second).sum())
    require(not differ, f"scored twice, {differ} of {len(first)} scores differ; draw from Evidence.rng alone")


def check_global_random_state(attack: Attack) -> None:
    """Draw from Evidence.rng alone and leave the global random numbers as they are."""
    world = make_world(attack, Recipe(audited=60, population=60))
    with fixed_random_numbers():
        before = random_state()
        run(attack, world)
        changed = [name for name, state in random_state().items() if state != before[name]]
    require(not changed, f"it draws from or seeds the global {' and '.join(changed)}; draw from Evidence.rng alone")


def random_state() -> dict[str, str]:
    return {"numpy.random": repr(np.random.get_state(legacy=False)), "random": repr(random.getstate())}


@contextmanager
def fixed_random_numbers() -> Iterator[None]:
    """Fix the global random numbers inside the block, and leave them as they were."""
    numpys, pythons = np.random.get_state(), random.getstate()
    np.random.seed(5)
    random.seed(5)
    try:
        yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)


def check_no_state(attack: Attack) -> None:
    """Keep nothing between two calls: other evidence in between changes no score."""
    this, other = (make_world(attack, Recipe(seed=seed)) for seed in (1, 6))
    same = pristine(attack)
    first = run_same(same, this).values
    between = run_same(same, other).values
    again = run_same(same, this).values
    kept = "; keep nothing between calls"
    require_same(first, again, loose=None, complaint=f"scored again after other evidence, scores differ{kept}")
    alone = run(attack, other).values
    require_same(alone, between, loose=None, complaint=f"scored after other evidence, scores differ{kept}")


def check_threads(attack: Attack) -> None:
    """Score in several threads at once with one instance."""
    world = make_world(attack, APART)
    expected = run(attack, world).values
    same = pristine(attack)
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(run_same, same, world) for _ in range(2 * THREADS)]
        for future in futures:
            try:
                found = future.result().values
            except Exception as error:  # a plugin is called: whatever it raises is its failure
                raise CheckFailed(f"it fails in a thread: {type(error).__name__}: {error}") from error
            require_same(expected, found, loose=None, complaint="scored in several threads at once, scores differ")


def check_other_process(attack: Attack) -> None:
    """Give the same scores in a fresh process."""
    step = _apart(attack, "score")
    step.completed("scoring in a fresh process")
    expected = run(attack, make_world(attack, APART)).values
    found = np.array(step.value)
    complaint = "in a fresh process the scores differ; sort what is hashed, and read nothing of the process"
    require_same(expected, found, loose=None, complaint=complaint)


def check_import_effects(attack: Attack) -> None:
    """Print, write and change nothing when the module is imported."""
    require_no_effects(type(attack), _apart(attack, "import"))


def check_no_framework(attack: Attack) -> None:
    """Import no framework, neither when imported nor when scoring."""
    for name in ("import", "score"):
        require_no_framework(_apart(attack, name), f"to {name}, it")


def _apart(attack: Attack, step: str) -> Step:
    steps = scored_apart(type(attack), json.dumps(resolved_options(attack)))
    return steps.get(step) or steps["import"]
