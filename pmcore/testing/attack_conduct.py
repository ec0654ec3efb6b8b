"""What an attack gives back in ordinary cases and in those at the edge, and what it leaves alone."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np

from pmcore.interfaces import Attack
from pmcore.outputs import Floats
from pmcore.testing.attack_runs import pristine, require_usable, run
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.evidence_outputs import classes_of
from pmcore.testing.evidence_signals import signals_of, tasks_of
from pmcore.testing.evidence_watched import OverBudget
from pmcore.testing.evidence_worlds import Recipe, make_world
from pmcore.testing.refusals import require

SMALL = Recipe(audited=24, population=30)


def check_one_score_per_record(attack: Attack) -> None:
    """Give an array of one score per audited record, shape (n,)."""
    world = make_world(attack, Recipe())
    for scores in run(attack, world).given:
        shape = f"shape {scores.shape}" if isinstance(scores, np.ndarray) else f"a {type(scores).__name__}"
        require(
            isinstance(scores, np.ndarray) and scores.shape == (len(world),),
            f"score gave {shape} for {len(world)} records; return an array of shape (n,)",
        )


def check_float64(attack: Attack) -> None:
    """Give scores in float64, so that no two of them tie because digits were cut off."""
    world = make_world(attack, Recipe())
    found = run(attack, world)
    for scores in found.given:
        kind = np.asarray(scores).dtype
        require(kind == np.float64, f"scores are {kind}; compute in float64 throughout and return it")
    needs = world.needs
    if not (found.drew or needs.known_folds or needs.membership or needs.budget):  # what is trained may be float32
        require(not _cut_off(found.values), "scores are float64 and hold digits of float32 only; compute in float64")


def _cut_off(values: Floats) -> bool:
    """Tell whether numbers that look like any others all fit into float32, as shares of a power of two do not."""
    with np.errstate(over="ignore"):
        fit = bool((values.astype(np.float32) == values).all())
        shorter = values.astype(np.float32).view(np.int32) & 0xFF
    return fit and len(np.unique(values)) > 20 and bool((shorter != 0).mean() > 0.5)


def check_finite_scores(attack: Attack) -> None:
    """Give finite scores on ordinary evidence."""
    for scores in run(attack, make_world(attack, Recipe())).given:
        numbers = np.asarray(scores, dtype=np.float64)
        bad = int((~np.isfinite(numbers)).sum())
        require(not bad, f"{bad} of {numbers.size} scores are not finite; give every record a number")


def check_one_record(attack: Attack) -> None:
    """Score a single audited record like any other, or refuse it in one line."""
    world = make_world(attack, SMALL).take(np.array([0]))
    if world.needs.known_folds >= 2:
        raise NotApplicable("it knows the membership of other records, so there are always several")
    require_usable(attack, world, "one audited record")
    try:
        scores = pristine(attack).score(world.evidence())
    except Exception:  # refused in one line, as was just seen
        return
    require(np.ndim(scores) >= 1 and len(scores) == 1, f"one audited record: shape {np.shape(scores)}; keep (n,)")


def check_one_population_record(attack: Attack) -> None:
    """Give finite scores with a population of one record, or refuse it in one line."""
    world = make_world(attack, SMALL)
    if world.population_labels is None:
        raise NotApplicable("it reads no population")
    require_usable(attack, world.take_population(np.array([0])), "one population record")


def check_fewest_references(attack: Attack) -> None:
    """Do with as many reference models as are declared to be needed."""
    needs = attack.needs
    if needs.min_references == 0:
        raise NotApplicable("it reads no reference models")
    world = make_world(attack, replace(SMALL, references=needs.min_references))
    try:
        found = run(attack, world)
    except Exception as error:  # a plugin is called: whatever it raises is its failure
        raise CheckFailed(f"with {needs.min_references} references: {error}; raise min_references") from error
    finite = all(np.isfinite(np.asarray(scores, dtype=np.float64)).all() for scores in found.given)
    require(finite, f"with {needs.min_references} references scores are not finite; raise min_references")


def check_constant_signals(attack: Attack) -> None:
    """Give finite scores where signals are the same for all records, or refuse them in one line."""
    world = make_world(attack, SMALL)
    constant = {key: np.ones_like(array) for key, array in world.arrays.items()}
    require_usable(attack, replace(world, arrays=constant), "signals that are the same for all records")


def check_saturated_model(attack: Attack) -> None:
    """Give finite scores for a model whose probabilities are all 0 or 1, or refuse it in one line."""
    require_usable(attack, make_world(attack, replace(SMALL, sharpness=1e4)), "a saturated model")


def check_signals_not_finite(attack: Attack) -> None:
    """Refuse a signal that is infinite or no number in one line, or still give finite scores."""
    world = make_world(attack, SMALL)
    if not world.arrays:
        raise NotApplicable("it reads no signals")
    for value in (np.inf, -np.inf, np.nan):
        spoilt = {}
        for key, array in world.arrays.items():
            spoilt[key] = np.array(array, dtype=np.float64)
            spoilt[key].reshape(-1)[-1] = value
        require_usable(attack, replace(world, arrays=spoilt), f"a signal of {value}")


def check_class_without_population(attack: Attack) -> None:
    """Give finite scores to a class of which the population has no record, or refuse it in one line."""
    world = make_world(attack, SMALL)
    if world.population_labels is None:
        raise NotApplicable("it reads no population")
    if world.population_labels.ndim != 1 or world.population_labels.dtype.kind != "i":
        raise NotApplicable("its task has no classes")
    others = np.flatnonzero(world.population_labels != world.labels[0])
    require_usable(attack, world.take_population(others), "a class without population records")


def check_single_class(attack: Attack) -> None:
    """Give finite scores to audited records of one class alone, or refuse them in one line."""
    world = make_world(attack, replace(SMALL, audited=120))
    if world.labels.ndim != 1 or world.labels.dtype.kind != "i":
        raise NotApplicable("its task has no classes")
    require_usable(attack, world.take(np.flatnonzero(world.labels == world.labels[0])), "records of one class alone")


def check_tasks(attack: Attack) -> None:
    """Score every task for which the signals are defined, or refuse it in one line."""
    tasks = tasks_of(signals_of(attack, attack.needs))
    for task in tasks[1:]:
        world = make_world(attack, replace(SMALL, task=task))
        require_usable(attack, world, f"a {task} model with {classes_of(task)} outputs")
    if len(tasks) < 2:
        raise NotApplicable("its signals are defined for one task")


def check_inputs_unchanged(attack: Attack) -> None:
    """Change nothing in the evidence."""
    world = make_world(attack, Recipe(audited=60, population=60))
    evidence = world.evidence(read_only=True)
    fresh = pristine(attack)
    try:
        fresh.score(evidence)
        fresh.p_values(evidence)
    except ValueError as error:
        if "read-only" in str(error):
            raise CheckFailed("it writes into the evidence; work on a copy") from error
        raise
    changed = [key.signal for key, array in evidence.arrays.items() if not np.array_equal(array, world.arrays[key])]
    require(not changed, f"it changes {', '.join(changed)} in the evidence; work on a copy")
    require(np.array_equal(evidence.labels, world.labels), "it changes the labels in the evidence; work on a copy")


def check_prints_nothing(attack: Attack) -> None:
    """Print nothing when scoring: standard output belongs to the report."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        run(attack, make_world(attack, SMALL))
    require(not printed.getvalue(), f"it prints {printed.getvalue()[:60]!r} while it scores; use logging")


def check_warns_of_nothing(attack: Attack) -> None:
    """Score ordinary evidence without a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(attack, make_world(attack, Recipe()))
    said = " ".join(f"{caught[0].category.__name__}: {caught[0].message}".split()) if caught else ""
    require(not caught, f"it warns while it scores: {said}; mend the cause, or suppress what is harmless")


def check_budget(attack: Attack) -> None:
    """Ask no more adaptive queries about a record than are declared."""
    world = make_world(attack, SMALL)
    if world.needs.budget <= 0:
        raise NotApplicable("it asks no adaptive queries")
    for fold in range(max(world.needs.known_folds, 1)):
        try:
            pristine(attack).score(world.evidence(fold, limited=True))
        except OverBudget as error:
            raise CheckFailed(f"it {error}; count the queries, or raise the budget") from error
