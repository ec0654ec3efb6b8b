"""What an attack declares: its options, its docstring, what it needs and what its attacker knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pmcore.errors import AuditError
from pmcore.evidence import Needs
from pmcore.interfaces import Attack
from pmcore.testing import declarations
from pmcore.testing.attack_runs import Run, pristine, run, run_same, usable_p_values
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.evidence_signals import find_signal, names_of, tasks_of
from pmcore.testing.evidence_worlds import Recipe, World, make_world
from pmcore.testing.refusals import require

LONGEST_PHRASE = 120
SMALL = Recipe(audited=60, population=60)


def check_frozen_dataclass(attack: Attack) -> None:
    """Be a frozen dataclass: options stay what they were when it was made."""
    declarations.require_frozen(attack)


def check_equality(attack: Attack) -> None:
    """Be equal to an attack with the same options, and hash like it."""
    declarations.require_equality(attack)


def check_default_options(attack: Attack) -> None:
    """Have a default for every option."""
    declarations.require_defaults(attack)


def check_options_round_trip(attack: Attack) -> None:
    """Become the same attack again from the options as the report writes them."""
    declarations.require_round_trip(attack)


def check_option_types(attack: Attack) -> None:
    """Refuse an option that is not of its type."""
    declarations.require_typed_options(attack)


def check_options_are_documented(attack: Attack) -> None:
    """Describe every option in the docstring."""
    declarations.require_documented_options(attack)


def check_docstring_asks(attack: Attack) -> None:
    """Open the docstring with the question that is asked of a record."""
    declarations.require_question(attack)


def check_docstring_has_formula(attack: Attack) -> None:
    """Give the formula of the score in the docstring."""
    declarations.require_formula(attack, block=True)


def check_docstring_has_source(attack: Attack) -> None:
    """Cite the source in the docstring."""
    declarations.require_source(attack)


def check_knowledge(attack: Attack) -> None:
    """Say in one phrase what the attacker is assumed to know."""
    knowledge: object = getattr(attack, "knowledge", None)
    if not isinstance(knowledge, str) or not knowledge.strip():
        raise CheckFailed("`knowledge` is not set; say in one phrase what the attacker knows besides the model")
    fits = "\n" not in knowledge and len(knowledge) <= LONGEST_PHRASE and not knowledge.endswith(".")
    require(fits, f"`knowledge` is {knowledge!r}; make it one phrase of a line, without a full stop")


def check_needs(attack: Attack) -> None:
    """Declare needs that can be met, and signals that exist."""
    needs: object = attack.needs
    if not isinstance(needs, Needs):
        raise CheckFailed(f"`needs` is a {type(needs).__name__}; return pmcore.interfaces.Needs")
    for complaint in _complaints(needs):
        raise CheckFailed(f"`needs`: {complaint}")
    signals = {}
    for name in names_of(needs):
        try:
            signals[name] = find_signal(name, attack)
        except AuditError as error:
            raise CheckFailed(f"`needs` names a signal that cannot be had: {error}") from error
    require(bool(tasks_of(dict(signals))), "`needs` names signals that no task has in common; no model can be attacked")


def _complaints(needs: Needs) -> list[str]:
    names = [*needs.signals().values(), needs.queries]
    references = bool(needs.references or needs.population_references)
    wrong = {
        "give names in tuples of text": not all(
            isinstance(each, tuple) and all(isinstance(name, str) for name in each) for each in names
        ),
        "a name stands twice; give each once": any(len(set(each)) != len(each) for each in names),
        "neither a signal of the target nor adaptive queries; nothing would be learned of the target": not (
            needs.target or needs.budget
        ),
        f"min_references={needs.min_references}; give 0 or more": needs.min_references < 0,
        "signals of references are read, and min_references is 0; say how many are needed": references
        and needs.min_references == 0,
        "references are asked for, and no signal of theirs is read": needs.min_references > 0 and not references,
        "membership of references is read, and none are asked for": needs.membership and needs.min_references == 0,
        f"min_in_references={needs.min_in_references}; give 0 or more": needs.min_in_references < 0,
        "references that saw a record are asked for, and membership is not read": needs.min_in_references > 0
        and not needs.membership,
        f"known_folds={needs.known_folds}; give 0, or 3 and more": needs.known_folds < 0 or needs.known_folds in (1, 2),
        f"budget={needs.budget}; give 0 or more": needs.budget < 0,
        f"features={needs.features}; give 0 or more": needs.features < 0,
        "queries is empty; leave it out, or name the transformed queries": not needs.queries,
    }
    return [complaint for complaint, holds in wrong.items() if holds]


def check_needs_are_stable(attack: Attack) -> None:
    """Declare needs that follow from the options alone and stay the same."""
    fresh = pristine(attack)
    before = fresh.needs
    require(fresh.needs == before, "`needs` changes from one reading to the next; make it depend on the options only")
    run_same(fresh, make_world(fresh, Recipe(audited=24, population=24)))
    require(fresh.needs == before, "`needs` changes when it has scored; make it depend on the options only")


def check_reads_what_it_declares(attack: Attack) -> None:
    """Read everything that is declared: nothing is queried in vain."""
    world = make_world(attack, SMALL)
    evidence = world.evidence()
    fresh = pristine(attack)
    fresh.score(evidence)
    fresh.p_values(evidence)
    unread = sorted(f"{key.source}({key.signal!r}, {key.query!r})" for key in set(world.arrays) - evidence.asked)
    needs = world.needs
    declared = {
        "reference_membership": needs.membership,
        "known": needs.known_folds >= 2,
        "query": needs.budget > 0,
        "features": needs.features > 0,
    }
    unread += [name for name, wanted in declared.items() if wanted and name not in evidence.touched]
    require(not unread, f"it declares and never reads {', '.join(unread)}; declare only what is read")


def check_uses_what_it_reads(attack: Attack) -> None:
    """Let everything that is read bear on the scores or p-values."""
    world = make_world(attack, SMALL)
    evidence = world.evidence()
    fresh = pristine(attack)
    fresh.score(evidence)
    fresh.p_values(evidence)
    read = [key for key in world.arrays if key in evidence.asked]
    if not read:
        raise NotApplicable("it reads no signals")
    before = run(attack, world, folds=1)
    # A signal of few values may come out the same by chance, and not so every time.
    others = [make_world(attack, replace(SMALL, seed=seed)) for seed in range(2, 6)]
    changed = {
        f"{key.source}({key.signal!r}, {key.query!r})": [
            replace(world, arrays={**world.arrays, key: other.arrays[key]}) for other in others
        ]
        for key in read
    }
    if world.membership is not None and "reference_membership" in evidence.touched:
        changed["reference_membership"] = [replace(world, membership=other.membership) for other in others]
    if world.features is not None and "features" in evidence.touched:
        changed["features"] = [replace(world, features=other.features) for other in others]
    if world.population_features is not None and "population_features" in evidence.touched:
        changed["population_features"] = [
            replace(world, population_features=other.population_features) for other in others
        ]
    idle = [name for name, worlds in changed.items() if all(_indifferent(attack, each, before) for each in worlds)]
    require(not idle, f"other numbers in {', '.join(idle)} change nothing; use what is read, or do not declare it")


def _indifferent(attack: Attack, world: World, before: Run) -> bool:
    try:
        after = run(attack, world, folds=1)
    except AuditError:  # it looked at the numbers
        return False
    pairs = [(usable_p_values(found, len(world)) or None) for found in (before, after)]
    same = pairs[0] is None or pairs[1] is None or np.array_equal(pairs[0].values, pairs[1].values)
    return same and np.array_equal(before.values, after.values)


def check_reads_nothing_else(attack: Attack) -> None:
    """Read nothing that is not declared."""
    world = make_world(attack, SMALL)
    fresh = pristine(attack)
    for fold in range(max(world.needs.known_folds, 1)):
        evidence = world.evidence(fold)
        fresh.score(evidence)
        fresh.p_values(evidence)
        others = sorted(f"{key.source}({key.signal!r}, {key.query!r})" for key in evidence.asked - set(world.arrays))
        if world.needs.features <= 0:
            others += sorted(evidence.touched & {"features", "population_features"})
        require(not others, f"it reads {', '.join(others)} and does not declare it; add it to `needs`")


def check_pickle(attack: Attack) -> None:
    """Survive the way to a worker process."""
    declarations.require_pickles(attack)
