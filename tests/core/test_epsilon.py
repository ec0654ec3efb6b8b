"""Lower bounds of epsilon: known answers, and in simulations seldom above a truth that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr

from pmcore.epsilon import EpsilonBound, epsilon_at, epsilon_bound, epsilon_cap, epsilon_over_grid
from pmcore.errors import InputError
from pmcore.intervals import binomial_lower, binomial_upper
from pmcore.outputs import Floats
from pmcore.statistics import SortedScores, sort_scores

SIDES = st.lists(st.integers(-4, 4), min_size=1, max_size=30)
RUNS = 400
MOST = 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / RUNS)
"""Share of runs above the truth that a method with 5 % keeps below in more than 99 of 100 simulations."""


# Known answers


def test_a_perfect_attack_on_20_and_20_records_shows_an_epsilon_of_1_6() -> None:
    found = epsilon_at(sort_scores(np.arange(20) + 100, np.arange(20)), 50)
    assert found.value == pytest.approx(1.5968, abs=5e-5)
    assert found.value == found.cap == found.reachable == epsilon_cap(20, 20)
    assert found.threshold == 50


@pytest.mark.parametrize(("n", "cap"), [(100, 3.2813), (1000, 5.6006), (10_000, 7.9048), (1, 0), (2, 0)])
def test_the_number_of_records_alone_caps_what_can_be_shown(n: int, cap: float) -> None:
    assert epsilon_cap(n, n) == pytest.approx(cap, abs=5e-5)


def test_the_bound_is_the_ratio_of_two_one_sided_bounds_in_either_direction() -> None:
    tpr, fpr = float(binomial_lower(60, 100, 0.025)), float(binomial_upper(10, 200, 0.025))
    confident = epsilon_at(_counts(60, 100, 10, 200), 1)
    assert confident.value == pytest.approx(math.log(tpr / fpr))
    assert confident.side == "members"
    tnr, fnr = float(binomial_lower(60, 100, 0.025)), float(binomial_upper(10, 200, 0.025))
    reversed_ = epsilon_at(_counts(190, 200, 40, 100), 1)
    assert reversed_.value == pytest.approx(math.log(tnr / fnr))
    assert reversed_.side == "nonmembers"


def test_delta_is_taken_off_the_rate_of_hits() -> None:
    scores = _counts(60, 100, 10, 200)
    tpr, fpr = float(binomial_lower(60, 100, 0.025)), float(binomial_upper(10, 200, 0.025))
    assert epsilon_at(scores, 1, delta=0.1).value == pytest.approx(math.log((tpr - 0.1) / fpr))
    assert epsilon_at(scores, 1, delta=0.9).value == 0


def test_a_perfect_attack_reaches_what_each_method_can_reach() -> None:
    scores = sort_scores(np.arange(100) + 1000, np.arange(100))
    split = epsilon_bound(scores, np.random.default_rng(0))
    assert split.reachable == epsilon_cap(70, 70)
    assert 2.5 < split.value <= split.reachable
    grid = epsilon_over_grid(scores)
    assert grid.value == grid.reachable
    assert grid.method.endswith("over 14 thresholds")
    for found in (split, grid):
        assert found.reachable < found.cap == epsilon_cap(100, 100)
        assert found.threshold is not None
        assert 99 < found.threshold < 1010


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_a_constant_model_shows_nothing(n: int) -> None:
    scores = sort_scores(np.zeros(n), np.zeros(n))
    for found in (_split(scores), epsilon_over_grid(scores), epsilon_at(scores, 0)):
        assert (found.value, found.threshold, found.side) == (0, None, None)
        assert found.n_members == found.n_nonmembers == n


def test_an_attack_that_is_oriented_wrong_shows_nothing() -> None:
    scores = sort_scores(np.arange(300), np.arange(300) + 1000)
    assert _split(scores).value == epsilon_over_grid(scores).value == 0


# How often the truth is exceeded


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 200])
@pytest.mark.parametrize("kind", ["null", "ties", "response", "laplace", "gaussian", "table"])
def test_at_most_5_of_100_bounds_lie_above_the_truth(kind: str, n: int) -> None:
    rng = np.random.default_rng(5)
    above = np.zeros(2)
    for _ in range(RUNS):
        scores, truth, delta = _draw(kind, n, rng)
        bounds = (epsilon_bound(scores, rng, delta), epsilon_over_grid(scores, delta))
        above += [found.value > truth + 1e-9 for found in bounds]
    assert (above / RUNS <= MOST).all(), above / RUNS


def test_the_largest_ratio_over_all_thresholds_is_not_what_we_report() -> None:
    rng = np.random.default_rng(6)
    plain = bounded = 0
    for _ in range(100):
        scores = sort_scores(rng.normal(size=200), rng.normal(size=200))
        tpr = np.arange(200, 1, -1) / 200
        fpr = (200 - np.searchsorted(scores.nonmembers, scores.members[:-1])) / 200
        between = (fpr > 0) & (tpr < 1)
        tpr, fpr = tpr[between], fpr[between]
        ratios = np.concatenate([tpr / fpr, (1 - fpr) / (1 - tpr)])
        plain += ratios.max() > 1
        bounded += _split(scores).value > 0
    assert plain >= 95
    assert bounded <= 10


def test_much_of_the_truth_is_found() -> None:
    rng = np.random.default_rng(7)
    scores, truth, _ = _draw("response", 5000, rng)
    assert epsilon_bound(scores, rng).value > 0.85 * truth
    members, nonmembers = rng.normal(3, 1, 2000), rng.normal(0, 1, 2000)
    assert epsilon_over_grid(sort_scores(members, nonmembers)).value > 4.2


# Properties


@given(SIDES, SIDES, st.integers(0, 99), st.sampled_from([0.0, 1e-5, 0.2]))
@settings(max_examples=60, deadline=None)
def test_neither_the_order_of_records_nor_a_monotone_transformation_has_a_part_in_it(
    members: list[int], nonmembers: list[int], seed: int, delta: float
) -> None:
    rng = np.random.default_rng(seed)
    plain = sort_scores(members, nonmembers)
    bent = sort_scores(2.0 ** rng.permutation(members), 2.0 ** rng.permutation(nonmembers))
    for one, other in (
        (_split(plain, seed, delta), _split(bent, seed, delta)),
        (epsilon_over_grid(plain, delta), epsilon_over_grid(bent, delta)),
    ):
        assert one.value == other.value
        assert one.side == other.side
        assert 0 <= one.value <= one.reachable <= one.cap + 1e-12


def test_a_higher_confidence_and_a_larger_delta_show_less() -> None:
    rng = np.random.default_rng(8)
    scores = sort_scores(rng.normal(2, 1, 500), rng.normal(0, 1, 500))
    for method in (_split, lambda scores, _, *options: epsilon_over_grid(scores, *options)):
        assert method(scores, 0, 0.0, 0.99).value < method(scores, 0, 0.0, 0.95).value
        assert method(scores, 0, 0.01, 0.95).value < method(scores, 0, 0.0, 0.95).value


@pytest.mark.parametrize("delta", [-0.1, 1.0, math.nan])
def test_a_delta_outside_0_and_1_is_refused(delta: float) -> None:
    scores = sort_scores([1.0, 2.0], [0.0, 1.0])
    with pytest.raises(InputError, match="delta"):
        _split(scores, 0, delta)
    with pytest.raises(InputError, match="delta"):
        epsilon_over_grid(scores, delta)


def test_a_bad_confidence_or_no_records_are_refused() -> None:
    scores = sort_scores([1.0, 2.0], [0.0, 1.0])
    with pytest.raises(InputError, match="confidence"):
        epsilon_at(scores, 1, confidence=1)
    with pytest.raises(InputError, match="confidence"):
        _split(scores, 0, 0.0, 95)
    with pytest.raises(InputError, match="some of both"):
        epsilon_cap(0, 10)


def _split(scores: SortedScores, seed: int = 0, delta: float = 0.0, confidence: float = 0.95) -> EpsilonBound:
    return epsilon_bound(scores, np.random.default_rng(seed), delta, confidence)


def _counts(hits: int, n1: int, false_alarms: int, n0: int) -> SortedScores:
    return sort_scores(
        np.repeat([1.0, 0.0], [hits, n1 - hits]), np.repeat([1.0, 0.0], [false_alarms, n0 - false_alarms])
    )


def _draw(kind: str, n: int, rng: np.random.Generator) -> tuple[SortedScores, float, float]:
    """Return scores of a mechanism with the smallest epsilon that holds at a delta."""
    members: Floats
    nonmembers: Floats
    truth, delta = 0.0, 0.0
    if kind == "null":
        members, nonmembers = rng.normal(size=n), rng.normal(size=n)
    elif kind == "ties":
        members, nonmembers = rng.integers(0, 4, n) / 1.0, rng.integers(0, 4, n) / 1.0
    elif kind == "response":
        right = 1 / (1 + math.exp(-1))
        members, nonmembers = (rng.random(n) < right) / 1.0, (rng.random(n) > right) / 1.0
        truth = 1.0
    elif kind == "laplace":  # the ratio is e at every threshold of either tail
        members, nonmembers = rng.laplace(size=n) + 1, rng.laplace(size=n)
        truth = 1.0
    elif kind == "gaussian":
        members, nonmembers = rng.normal(1, 1, n), rng.normal(0, 1, n)
        delta = 0.05
        truth = float(brentq(lambda e: ndtr(0.5 - e) - math.exp(e) * ndtr(-0.5 - e) - delta, 0, 10))
    else:  # one in ten members is recognised for certain: (0, 0.1)
        members, nonmembers = (rng.random(n) < 0.1) / 1.0, np.zeros(n)
        delta = 0.1
    return sort_scores(members, nonmembers), truth, delta
