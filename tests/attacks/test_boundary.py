"""The boundary attack against known distances, of linear models and nearest neighbours, and its budget to the query."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import pmcore_labelonly.boundary
from pmcore.errors import InputError
from pmcore.evidence import Evidence, EvidenceKey, LabelQueries, Source
from pmcore.options import build, parse_spec
from pmcore.outputs import Array, Floats, Inputs
from pmcore.testing import check_attack
from pmcore_labelonly import BoundaryAttack

RNG = np.random.default_rng(12)
WEIGHTS, OFFSETS = RNG.normal(size=(6, 4)), RNG.normal(size=4)
RECORDS = RNG.normal(size=(80, 6)).astype(np.float32)
WIDE = {"x": (-40.0, 40.0)}
"""Bounds that are nowhere near the boundary."""


class Answers(LabelQueries):
    """Labels of a function, counted, of points that must lie within the bounds."""

    def __init__(
        self,
        records: Inputs,
        predict: Callable[[Inputs], Array],
        budget: int,
        bounds: Mapping[str, tuple[float, float]],
    ) -> None:
        self.bounds = bounds
        self.budget = budget
        self.spent = np.zeros(len(next(iter(records.values()))), dtype=np.int64)
        self._records = records
        self._predict = predict

    def inputs(self, records: NDArray[np.intp]) -> Inputs:
        return {name: array[records] for name, array in self._records.items()}

    def __call__(self, records: NDArray[np.intp], inputs: Inputs) -> Array:
        np.add.at(self.spent, records, 1)
        assert self.spent.max() <= self.budget
        for name, array in inputs.items():
            low, high = self.bounds[name]
            assert array.dtype == self._records[name].dtype
            assert array.shape[1:] == self._records[name].shape[1:]
            assert array.min() >= low
            assert array.max() <= high
        return self._predict(inputs)


@dataclass(frozen=True)
class Found:
    """What an attack found of some records, and what it asked."""

    scores: Floats
    spent: NDArray[np.int64]


def attacked(
    attack: BoundaryAttack,
    records: Inputs,
    labels: Array,
    predict: Callable[[Inputs], Array],
    bounds: Mapping[str, tuple[float, float]] = WIDE,
) -> Found:
    answers = Answers(records, predict, attack.budget, bounds)
    right = (predict(records) == labels).reshape(len(labels), -1).all(axis=1).astype(np.float64)
    signals: dict[EvidenceKey, Array] = {EvidenceKey(Source.TARGET, "correctness"): right}
    return Found(attack.score(Evidence(signals, labels, query=answers)), answers.spent)


@dataclass(frozen=True)
class Linear:
    """A linear softmax model of the first few classes."""

    classes: int = 4

    def __call__(self, inputs: Inputs) -> Array:
        labels: Array = self.logits(inputs["x"]).argmax(axis=1)
        return labels

    def logits(self, x: Array) -> Floats:
        """Return class scores, added up in the same order for any number of records."""
        scores: Floats = (OFFSETS + sum(x[:, [i]] * WEIGHTS[i] for i in range(6)))[:, : self.classes]
        return scores

    def distances(self, records: Array, norm: float) -> Floats:
        """Return how far each record is from the nearest class that is not its own: from one of some planes."""
        scores = self.logits(records)
        weights = WEIGHTS.T[: self.classes]
        sizes = np.linalg.norm(
            weights[scores.argmax(axis=1)][:, None] - weights, ord=1 if norm == np.inf else 2, axis=2
        )
        gaps = scores.max(axis=1)[:, None] - scores
        nearest: Floats = np.divide(gaps, sizes, out=np.full_like(scores, np.inf), where=sizes > 0).min(axis=1)
        return nearest


linear = Linear()


@pytest.mark.parametrize("norm", [2.0, np.inf])
def test_the_distance_from_a_plane_comes_out(norm: float) -> None:
    model = Linear(classes=2)
    found = attacked(BoundaryAttack(1_000, norm), {"x": RECORDS}, model({"x": RECORDS}), model).scores
    ratios = found / model.distances(RECORDS, norm)
    assert ratios.min() >= 1.0 - 1e-3
    assert ratios.mean() <= 1.02
    assert ratios.max() <= 1.05


@pytest.mark.parametrize("norm", [2.0, np.inf])
def test_of_several_planes_mostly_the_nearest_is_found(norm: float) -> None:
    found = attacked(BoundaryAttack(1_000, norm), {"x": RECORDS}, linear({"x": RECORDS}), linear).scores
    ratios = found / linear.distances(RECORDS, norm)
    assert ratios.min() >= 1.0 - 1e-3
    assert np.median(ratios) <= 1.03
    assert (ratios <= 1.1).mean() >= 0.8


def test_more_queries_come_nearer() -> None:
    model = Linear(classes=2)
    labels, distances = model({"x": RECORDS}), model.distances(RECORDS, 2.0)
    budgets = (100, 200, 400, 800, 1_600)
    found = [attacked(BoundaryAttack(budget), {"x": RECORDS}, labels, model).scores for budget in budgets]
    ratios = np.stack(found) / distances
    assert (np.diff(ratios.mean(axis=1)) < 0).all()
    assert (np.diff(ratios, axis=0) < 0.02 * ratios[:-1]).all()  # the last search may have ended between two rounds


@pytest.mark.parametrize("budget", [100, 101, 133, 250, 400])
@pytest.mark.parametrize("norm", [2.0, np.inf])
def test_the_budget_is_never_exceeded_and_mostly_used(budget: int, norm: float) -> None:
    found = attacked(BoundaryAttack(budget, norm), {"x": RECORDS}, linear({"x": RECORDS}), linear)
    assert found.spent.max() <= budget
    assert found.spent.min() >= budget / 2


def test_a_record_with_a_wrong_label_has_distance_0_and_costs_nothing() -> None:
    labels = linear({"x": RECORDS})
    labels[::2] = (labels[::2] + 1) % 4
    found = attacked(BoundaryAttack(100), {"x": RECORDS}, labels, linear)
    assert (found.scores[::2] == 0).all()
    assert (found.spent[::2] == 0).all()
    assert (found.scores[1::2] > 0).all()


def test_a_model_that_is_always_wrong_is_asked_nothing() -> None:
    found = attacked(BoundaryAttack(100), {"x": RECORDS}, np.full(80, 9), linear)
    assert not found.scores.any()
    assert not found.spent.any()


def test_a_record_is_measured_alike_in_any_order_company_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    attack, labels = BoundaryAttack(150), linear({"x": RECORDS})
    whole = attacked(attack, {"x": RECORDS}, labels, linear).scores
    some = RNG.permutation(80)[:33]
    part = attacked(attack, {"x": RECORDS[some]}, labels[some], linear).scores
    np.testing.assert_array_equal(part, whole[some])
    monkeypatch.setattr(pmcore_labelonly.boundary, "VALUES", 7 * 6)
    np.testing.assert_array_equal(attacked(attack, {"x": RECORDS}, labels, linear).scores, whole)


def test_the_seed_decides_the_directions_and_little_else() -> None:
    model = Linear(classes=2)
    attack, labels = BoundaryAttack(400), model({"x": RECORDS})
    right: dict[EvidenceKey, Array] = {EvidenceKey(Source.TARGET, "correctness"): np.ones(80)}
    first, second, again = (
        attack.score(Evidence(right, labels, seed=seed, query=Answers({"x": RECORDS}, model, 400, WIDE)))
        for seed in ((1,), (2, 3), (1,))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != second).all()
    np.testing.assert_allclose(first, second, rtol=0.1)


def test_members_of_a_nearest_neighbour_model_are_half_way_from_the_next_one() -> None:
    stored = RNG.normal(size=(40, 3)).astype(np.float32)
    others = RNG.normal(size=(40, 3)).astype(np.float32)

    def nearest(inputs: Inputs) -> Array:
        closest: Array = np.linalg.norm(inputs["x"][:, None] - stored, axis=2).argmin(axis=1)
        return closest

    x, labels = np.concatenate([stored, others]), np.concatenate([np.arange(40), RNG.permutation(40)])
    found = attacked(BoundaryAttack(600), {"x": x}, labels, nearest, {"x": (-4.0, 4.0)}).scores
    apart = np.linalg.norm(stored[:, None] - stored, axis=2) + np.diag(np.full(40, np.inf))
    ratios = found[:40] / (apart.min(axis=1) / 2)
    assert ratios.min() >= 1.0 - 1e-3
    assert np.median(ratios) <= 1.03
    assert roc_auc_score(np.repeat([1, 0], 40), found) > 0.97


def test_several_inputs_are_moved_together() -> None:
    inputs: Inputs = {"b": RECORDS[:, :4].reshape(80, 2, 2).astype(np.float64), "a": RECORDS[:, 4:]}

    def predict(parts: Inputs) -> Array:
        return linear({"x": np.concatenate([parts["b"].reshape(len(parts["b"]), 4), parts["a"]], axis=1)})

    bounds = {"a": (-40.0, 40.0), "b": (-30.0, 30.0)}
    found = attacked(BoundaryAttack(1_000), inputs, predict(inputs), predict, bounds).scores
    assert np.median(found / linear.distances(RECORDS, 2.0)) == pytest.approx(1.0, abs=0.02)


def test_bits_are_moved_between_their_values() -> None:
    """Of two bits of weight 1 and a threshold of .5, the nearest other label is .5 away, within the bounds."""
    x = np.zeros((4, 3), dtype=np.float32)
    found = attacked(
        BoundaryAttack(1_000), {"x": x}, np.zeros(4, dtype=np.int64), lambda i: i["x"][:, 0] > 0.5, {"x": (0.0, 1.0)}
    ).scores
    np.testing.assert_allclose(found, 0.5, rtol=0.02)


def test_a_model_with_one_answer_leaves_the_largest_distance() -> None:
    labels = np.zeros(80, dtype=np.int64)
    found = attacked(BoundaryAttack(100), {"x": RECORDS}, labels, lambda i: np.zeros(len(i["x"]), dtype=np.int64))
    np.testing.assert_allclose(found.scores, np.linalg.norm(np.abs(RECORDS) + 40.0, axis=1), rtol=1e-6)
    assert set(found.spent.tolist()) == {20}


def test_where_noise_has_one_label_another_record_is_the_start() -> None:
    x = np.clip(RECORDS, -3, 3)
    x[::4] = 39.0 + RNG.random((20, 6), dtype=np.float32)

    def corner(inputs: Inputs) -> Array:
        return np.asarray((inputs["x"] > 38.0).all(axis=1), dtype=np.int64)

    labels = corner({"x": x})
    found = attacked(BoundaryAttack(400), {"x": x}, labels, corner)
    low = labels == 0
    np.testing.assert_allclose(found.scores[low], np.linalg.norm(38.0 - x[low], axis=1), rtol=0.05)
    order = RNG.permutation(80)
    again = attacked(BoundaryAttack(400), {"x": x[order]}, labels[order], corner)
    np.testing.assert_array_equal(again.scores, found.scores[order])


def test_of_label_sets_every_label_must_stay() -> None:
    def both(inputs: Inputs) -> Array:
        signs: Array = (inputs["x"][:, :2] > 0).astype(np.int64)
        return signs

    found = attacked(BoundaryAttack(1_000), {"x": RECORDS}, both({"x": RECORDS}), both).scores
    assert np.median(found / np.abs(RECORDS[:, :2]).min(axis=1)) == pytest.approx(1.0, abs=0.02)


def test_whole_numbers_are_refused() -> None:
    x = np.arange(12).reshape(4, 3)
    with pytest.raises(InputError, match="boundary: input 'x' takes whole numbers"):
        attacked(BoundaryAttack(100), {"x": x}, np.zeros(4), lambda i: np.zeros(len(i["x"])), {"x": (0.0, 11.0)})


def test_a_model_that_takes_back_what_it_said_leaves_the_distance_0() -> None:
    """It is right about the records by themselves, and wrong about them ever after."""
    asked = iter([True])
    labels = np.zeros(80, dtype=np.int64)
    found = attacked(
        BoundaryAttack(4_000), {"x": RECORDS}, labels, lambda i: np.full(len(i["x"]), not next(asked, False))
    )
    assert (found.scores < 1e-5).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"budget": 99}, "boundary: budget: 99 - give 100 or more"),
        ({"norm": 1.0}, "boundary: norm: 1 - give 2 or inf"),
        ({"samples": 1}, "boundary: samples: 1 - give 2 or more"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        build(BoundaryAttack, options, "attack 'boundary'")


def test_options_are_read_from_text() -> None:
    options = parse_spec("boundary:budget=190,norm=inf").options
    assert build(BoundaryAttack, options, "attack 'boundary'") == BoundaryAttack(190, float("inf"))


@pytest.mark.slow
def test_it_keeps_every_promise_in_the_largest_norm() -> None:
    check_attack(BoundaryAttack(budget=120, norm=float("inf")))
