"""Worlds in which membership is known: evidence of whatever an attack declares, with a leak planted or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pmcore.evidence import EvidenceKey, Needs, Source, told_of
from pmcore.interfaces import Attack, Direction, Signal
from pmcore.outputs import Array, Floats, Task, Want
from pmcore.testing.evidence_outputs import classes_of, simulate_labels, simulate_outputs
from pmcore.testing.evidence_signals import TASKS, signals_of, tasks_of
from pmcore.testing.evidence_watched import Oracle, WatchedArrays, WatchedEvidence

AUDITED, POPULATION, REFERENCES = 200, 150, 8
LEAK = 2.0
"""How much further a model is from the other classes on a record that it was trained on, in units of its noise."""
SEED = (20, 24)
COLUMNS = 4
"""Numbers that a record of the simulation holds, if as many are read; the first says how easy the record is."""

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Recipe:
    """What a world is made of.

    Parameters
    ----------
    audited, population, references : how many; references at least as many as the attack declares, and twice as many
        where half of them have seen each record: those declared are the ones that have not
    spread : how much records differ in how easy they are, for every model alike
    leak : 0 for models that know nothing of membership
    task : None takes the first for which all signals are defined
    sharpness : factor on all logits
    mixed : whether members and non-members differ in their share of classes, which is no leak of a model
    seed : of the simulation, not of the attack
    """

    audited: int = AUDITED
    population: int = POPULATION
    references: int = REFERENCES
    leak: float = LEAK
    spread: float = 0.5
    task: Task | None = None
    sharpness: float = 1.0
    mixed: bool = False
    seed: int = 1


@dataclass(frozen=True)
class World:
    """One audit as it would reach an attack, and what the attack must not see of it.

    Parameters
    ----------
    truth : (n,) bool, whether a record is a member
    arrays : the signals, as in `Evidence`
    margins : (n,) distance of a record from the decision boundary, for adaptive queries
    membership : (n, r) bool, or None if it is not declared
    folds : (n,) fold of every record, 0 everywhere if the attack knows no members
    features, population_features : (n, d) and (m, d) what records hold, or None if it is not declared
    seed : what `Evidence.seed` will be
    """

    needs: Needs
    truth: NDArray[np.bool_]
    arrays: Mapping[EvidenceKey, Array]
    lower_is_member: Mapping[str, bool]
    labels: Array
    population_labels: Array | None
    task: Task
    margins: Floats
    membership: NDArray[np.bool_] | None
    folds: NDArray[np.int64]
    features: Floats | None = None
    population_features: Floats | None = None
    seed: tuple[int, ...] = SEED

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, records: Rows) -> World:
        """Return the world of these audited records, in this order; one may stand in it twice."""
        axes = {Source.TARGET: 0, Source.REFERENCES: 1}
        arrays = {
            key: array.take(records, axis=axes[key.source]) if key.source in axes else array
            for key, array in self.arrays.items()
        }
        return replace(
            self,
            truth=self.truth[records],
            arrays=arrays,
            labels=self.labels[records],
            margins=self.margins[records],
            membership=None if self.membership is None else self.membership[records],
            folds=self.folds[records],
            features=_taken(self.features, records),
        )

    def take_population(self, records: Rows) -> World:
        """Return the world with these population records, in this order."""
        axes = {Source.POPULATION: 0, Source.POPULATION_REFERENCES: 1}
        arrays = {
            key: array.take(records, axis=axes[key.source]) if key.source in axes else array
            for key, array in self.arrays.items()
        }
        return replace(
            self,
            arrays=arrays,
            population_labels=_taken(self.population_labels, records),
            population_features=_taken(self.population_features, records),
        )

    def take_references(self, models: Rows) -> World:
        """Return the world with these reference models, in this order."""
        of_references = (Source.REFERENCES, Source.POPULATION_REFERENCES)
        arrays = {
            key: array.take(models, axis=0) if key.source in of_references else array
            for key, array in self.arrays.items()
        }
        return replace(self, arrays=arrays, membership=None if self.membership is None else self.membership[:, models])

    def evidence(self, fold: int = 0, *, read_only: bool = False, limited: bool = False) -> WatchedEvidence:
        """Return evidence with arrays of its own, in which the membership of one fold is hidden.

        Parameters
        ----------
        read_only : whether arrays refuse to be written to, as in an audit
        limited : whether adaptive queries beyond the budget are refused
        """
        watched = WatchedArrays({key: _own(array, read_only) for key, array in self.arrays.items()})
        known = None
        if self.needs.known_folds:
            told = told_of(self.folds, fold, self.needs.known_folds)
            known = np.where(told, self.truth, -1).astype(np.int8)
        return WatchedEvidence(
            arrays=watched,
            labels=_own(self.labels, read_only),
            population_labels=_own_if_any(self.population_labels, read_only),
            lower_is_member=dict(self.lower_is_member),
            task=self.task,
            classes=classes_of(self.task),
            seed=self.seed,
            reference_membership=_own_if_any(self.membership, read_only),
            known=known,
            query=self._oracle(limited) if self.needs.budget > 0 else None,
            features=_own_if_any(self.features, read_only),
            population_features=_own_if_any(self.population_features, read_only),
        )

    def _oracle(self, limited: bool) -> Oracle:
        classes = classes_of(self.task)
        return Oracle(self.task, classes, self.labels, self.margins, self.needs.budget, limited=limited)


def make_world(attack: Attack, recipe: Recipe) -> World:
    """Return one world with everything that an attack declares."""
    return make_worlds(attack, recipe, 1)[0]


def make_worlds(attack: Attack, recipe: Recipe, count: int) -> list[World]:
    """Return independent worlds; all of them are simulated in one pass."""
    needs = attack.needs
    signals = signals_of(attack, needs)
    task = recipe.task or next(iter(tasks_of(signals)), TASKS[0])
    rng = np.random.default_rng(recipe.seed)
    n, m = recipe.audited, recipe.population
    r = max(recipe.references, needs.min_references)
    if needs.membership:
        r = max(r, 2 * needs.min_references, 2 * needs.min_in_references)
    truth = rng.permuted(np.tile(np.arange(n) % 2 == 0, (count, 1)), axis=1)
    labels = _audited_labels(rng, task, truth, recipe.mixed)
    population_labels = simulate_labels(rng, task, count * m)
    population_labels = population_labels.reshape(count, m, *population_labels.shape[1:])
    inside = np.zeros((count, r, n), dtype=np.bool_)
    if needs.membership:
        halves = np.broadcast_to((np.arange(r) < (r + 1) // 2)[None, :, None], inside.shape)
        inside = rng.permuted(halves, axis=1)
    ease, population_ease = (rng.normal(1.0, recipe.spread, size=(count, size)) for size in (n, m))
    margins = ease + recipe.leak * truth
    models = {
        Source.TARGET: (margins, labels),
        Source.POPULATION: (population_ease, population_labels),
        Source.REFERENCES: (ease[:, None] + recipe.leak * inside, _repeated(labels, r)),
        Source.POPULATION_REFERENCES: (_repeated(population_ease, r), _repeated(population_labels, r)),
    }
    arrays: dict[EvidenceKey, Array] = {}
    for source, names in needs.signals().items():
        for query in needs.queries if names else ():
            wanted = {name: signals[name] for name in names}
            computed = _compute(rng, task, models[source][0], models[source][1], wanted, recipe.sharpness)
            arrays |= {EvidenceKey(source, name, query): values for name, values in computed.items()}
    lower = {
        name: signal is not None and signal.direction is Direction.LOWER
        for name, signal in signals.items()
        if signal is None or signal.direction is not Direction.NEITHER
    }
    reads_population = bool(needs.population or needs.population_references)
    held, population_held = (_features(recipe, easy, needs.features) for easy in (ease, population_ease))
    return [
        World(
            needs=needs,
            truth=truth[world],
            arrays={key: values[world] for key, values in arrays.items()},
            lower_is_member=lower,
            labels=labels[world],
            population_labels=population_labels[world] if reads_population else None,
            task=task,
            margins=margins[world] + rng.normal(size=n),
            membership=inside[world].T.copy() if needs.membership else None,
            folds=_folds(truth[world], needs.known_folds),
            features=held[world] if needs.features > 0 else None,
            population_features=population_held[world] if needs.features > 0 and reads_population else None,
        )
        for world in range(count)
    ]


def _audited_labels(rng: np.random.Generator, task: Task, truth: NDArray[np.bool_], mixed: bool) -> Array:
    """Return labels, shape (count, n) or (count, n, k)."""
    flat = truth.reshape(-1)
    if not mixed:
        labels = simulate_labels(rng, task, flat.size)
        return labels.reshape(*truth.shape, *labels.shape[1:])
    labels = simulate_labels(rng, task, flat.size, np.array([0.2, 0.3, 0.5]))
    labels[flat] = simulate_labels(rng, task, int(flat.sum()), np.array([0.5, 0.3, 0.2]))
    return labels.reshape(*truth.shape, *labels.shape[1:])


def _features(recipe: Recipe, ease: Floats, most: int) -> Floats:
    """Return what records hold, (count, n, d): how easy each one is, and numbers that say nothing.

    Drawn apart, so that what an attack reads besides changes nothing else of a world.
    """
    rng = np.random.default_rng((recipe.seed, ease.shape[1]))
    held = rng.normal(size=(*ease.shape, max(min(most, COLUMNS), 0)))
    held[..., :1] = ease[..., None]
    return held


def _repeated(values: Array, models: int) -> Array:
    """Return (count, n, ...) once for every model, shape (count, r, n, ...)."""
    return np.broadcast_to(values[:, None], (len(values), models, *values.shape[1:]))


def _compute(
    rng: np.random.Generator,
    task: Task,
    margins: Floats,
    labels: Array,
    signals: Mapping[str, Signal | None],
    sharpness: float,
) -> dict[str, Array]:
    """Return signals over simulated answers, shape (*margins.shape) or (*margins.shape, d)."""
    flat_labels = labels.reshape(margins.size, *labels.shape[margins.ndim :])
    want = Want(predictions=True)
    for signal in signals.values():
        want |= signal.want if signal is not None else Want()
    outputs = simulate_outputs(rng, task, flat_labels, margins.reshape(-1), want, sharpness)
    computed: dict[str, Array] = {}
    for name, signal in signals.items():
        values = (margins.reshape(-1) + rng.normal(size=margins.size)) * sharpness
        if signal is not None:
            try:
                values = signal.compute(outputs)
            except Exception:  # a signal is called: what it cannot compute is its own check's finding
                signal = None
        computed[name] = values.reshape(*margins.shape, *values.shape[1:])
    return computed


def _folds(truth: NDArray[np.bool_], folds: int) -> NDArray[np.int64]:
    """Return the fold of every record; each fold has its share of members and of non-members."""
    result = np.zeros(len(truth), dtype=np.int64)
    for side in (truth, ~truth):
        result[side] = np.arange(int(side.sum())) % max(folds, 1)
    return result


def _taken(array: Array | None, records: Rows) -> Array | None:
    return None if array is None else array[records]


def _own_if_any(array: Array | None, read_only: bool) -> Array | None:
    return None if array is None else _own(array, read_only)


def _own(array: Array, read_only: bool) -> Array:
    copy = np.array(array)
    copy.flags.writeable = not read_only
    return copy
