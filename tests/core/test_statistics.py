"""The figures agree with closed forms and scikit-learn, and know what they cannot say."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from pmcore.curves import RocCurve, histogram, roc, roc_band, thin
from pmcore.errors import InputError
from pmcore.outputs import Floats
from pmcore.statistics import (
    SortedScores,
    TprAtFpr,
    advantage,
    auc,
    balanced_accuracy,
    group_advantages,
    sort_scores,
    tpr_at_fpr,
)

# Few values, so that ties within and across the sides are common.
SIDES = st.lists(st.integers(-4, 4), min_size=1, max_size=30)


def test_start_up_does_not_import_slow_libraries() -> None:
    code = "import sys, pmcore.statistics; print([m for m in ('scipy.stats', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Known answers


def test_two_gaussians_one_apart_give_the_closed_forms() -> None:
    scores = sort_scores(_gaussian_quantiles(200_000) + 1, _gaussian_quantiles(200_000))
    assert auc(scores).value == pytest.approx(0.760250, abs=2e-6)
    assert _tpr(scores, 0.1).value == pytest.approx(0.389144, abs=5e-5)
    assert _tpr(scores, 0.01).value == pytest.approx(0.092362, abs=5e-5)
    assert _tpr(scores, 0.001).value == pytest.approx(0.018298, abs=5e-5)
    assert advantage(scores).value == pytest.approx(0.382925, abs=2e-5)
    assert balanced_accuracy(scores).value == pytest.approx((1 + 0.382925) / 2, abs=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_look_up_table_has_auc_half_plus_half_its_share_and_a_constant_tpr(share: float) -> None:
    scores = _look_up_table(share)
    assert auc(scores).value == pytest.approx(0.5 + share / 2, abs=1e-12)
    for fpr in (0.001, 0.01, 0.1, 0.5, 0.999):
        assert _tpr(scores, fpr).value == share
    assert advantage(scores).value == share


def test_label_only_scores_have_no_tpr_at_a_low_fpr() -> None:
    found = _tpr(_label_only(), 0.01)
    assert found.resolved
    assert found.value == 0
    assert found.reason == "no threshold of this attack reaches this FPR"
    assert _tpr(_label_only(), 0.7).value == pytest.approx(0.9)
    assert _tpr(_label_only(), 0.7).reason is None
    assert advantage(_label_only()).value == pytest.approx(0.2, abs=1e-15)


def test_a_tpr_of_0_at_a_reachable_fpr_has_no_reason() -> None:
    found = _tpr(sort_scores(np.arange(100.0) - 1000, np.arange(1000.0)), 0.01)
    assert found.value == 0
    assert found.reason is None


def test_a_constant_model_knows_nothing() -> None:
    scores = sort_scores(np.full(20, 3.5), np.full(30, 3.5))
    found = auc(scores)
    assert found.value == 0.5
    known = binomtest(10, 20).proportion_ci(0.95)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert advantage(scores).value == 0
    assert advantage(scores).low == 0


def test_a_perfect_attack_on_20_and_20_records_is_not_certain() -> None:
    scores = sort_scores(np.arange(20) + 100, np.arange(20))
    found = auc(scores)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    best = advantage(scores)
    assert best.value == 1
    assert best.low is not None
    assert 0.5 < best.low < 1
    weak = _tpr(scores, 0.1)
    assert weak.value == 1
    assert weak.low is not None
    assert weak.low < 1


def test_one_record_on_a_side_still_has_an_interval() -> None:
    found = auc(sort_scores([0.5], [0.1, 0.2, 0.9]))
    assert found.value == pytest.approx(2 / 3)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < 0.1
    assert found.high > 0.95


@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_auc_and_roc_equal_those_of_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    members, nonmembers = rng.normal(0.7, 1, 1234).round(decimals), rng.normal(0, 1, 987).round(decimals)
    truth = np.repeat([1, 0], [1234, 987])
    fpr, tpr, thresholds = roc_curve(truth, np.concatenate((members, nonmembers)), drop_intermediate=False)
    scores = sort_scores(members, nonmembers)
    curve = roc(scores)
    np.testing.assert_array_equal(curve.fpr, fpr)
    np.testing.assert_array_equal(curve.tpr, tpr)
    np.testing.assert_array_equal(curve.thresholds[1:], thresholds[1:])
    assert members.max() < curve.thresholds[0] < members.max() + 1e-9 or nonmembers.max() > members.max()
    area = roc_auc_score(truth, np.concatenate((members, nonmembers)))
    assert auc(scores).value == pytest.approx(area, abs=1e-12)
    assert advantage(scores).value == pytest.approx(np.max(tpr - fpr), abs=1e-12)


# Resolution


def test_an_fpr_below_one_non_member_is_not_resolved() -> None:
    found = _tpr(sort_scores(np.arange(500.0), np.arange(200.0)), 0.001)
    assert (found.value, found.low, found.high, found.resolved) == (None, None, None, False)
    assert found.reason == "cannot be resolved with 200 non-members; 1 000 needed"


@pytest.mark.parametrize(("n0", "weak"), [(1000, True), (9999, True), (10_000, False)])
def test_an_fpr_of_fewer_than_10_non_members_is_weak(n0: int, weak: bool) -> None:
    found = _tpr(sort_scores(np.arange(50.0), np.arange(float(n0))), 0.001)
    assert found.resolved
    assert found.weak is weak


@pytest.mark.parametrize(
    ("n0", "fpr", "allowed"),
    [(100, 0.29, 29), (100, 0.07, 7), (3, 1 / 3, 1), (1000, 0.0579, 57), (10, 0.999, 9)],
)
def test_the_false_positives_allowed_survive_rounding(n0: int, fpr: float, allowed: int) -> None:
    # Members just above each non-member: the TPR counts the false positives.
    found = _tpr(sort_scores(np.arange(n0) + 0.5, np.arange(float(n0))), fpr)
    assert found.value == pytest.approx((allowed + 1) / n0)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = _gaussian_sample(1, 300, 300, 0.5)
    assert _tpr(scores, 0.1) == _tpr(scores, 0.1)


# Planted faults


def test_interpolation_between_achievable_points_is_not_what_we_do() -> None:
    curve = roc(_look_up_table(0.1))
    interpolated = float(np.interp(0.01, curve.fpr, curve.tpr))
    assert interpolated == pytest.approx(0.109)
    assert _tpr(_look_up_table(0.1), 0.01).value == 0.1


def test_ties_broken_by_order_are_not_what_we_do() -> None:
    # Members listed first win every tie of an ordinary sort: .7 * .9 + .3 * 1 instead of .6.
    members, nonmembers = np.repeat([1.0, 0.0], [90, 10]), np.repeat([1.0, 0.0], [70, 30])
    both = np.concatenate((members, nonmembers))
    member = np.repeat([True, False], 100)[np.argsort(-both, kind="stable")]
    broken = np.sum(np.cumsum(member)[~member]) / 100**2
    assert broken == pytest.approx(0.93)
    assert auc(sort_scores(members, nonmembers)).value == pytest.approx(0.6)


def test_ties_enter_the_roc_as_a_block() -> None:
    curve = roc(sort_scores([1, 1, 0], [1, 0, 0]))
    np.testing.assert_array_equal(curve.fpr, [0, 1 / 3, 1])
    np.testing.assert_array_equal(curve.tpr, [0, 2 / 3, 1])
    np.testing.assert_array_equal(curve.thresholds[1:], [1, 0])


# Properties


@given(SIDES, SIDES)
def test_the_auc_is_the_share_of_pairs_won(members: list[int], nonmembers: list[int]) -> None:
    wins = sum((a > b) + (a == b) / 2 for a in members for b in nonmembers)
    assert auc(sort_scores(members, nonmembers)).value == pytest.approx(
        wins / len(members) / len(nonmembers), abs=1e-12
    )


@given(SIDES, SIDES)
def test_swapping_the_sides_mirrors_the_auc(members: list[int], nonmembers: list[int]) -> None:
    one, other = auc(sort_scores(members, nonmembers)), auc(sort_scores(nonmembers, members))
    assert None not in (one.value, one.low, one.high, other.value, other.low, other.high)
    assert one.value == pytest.approx(1 - _number(other.value), abs=1e-12)
    assert one.low == pytest.approx(1 - _number(other.high), abs=1e-9)


@given(SIDES, SIDES, st.sampled_from([0.05, 0.1, 1 / 3, 0.5, 0.9]))
@settings(max_examples=50)
def test_a_monotone_transformation_changes_no_figure(a: list[int], b: list[int], fpr: float) -> None:
    plain = sort_scores(a, b)
    bent = sort_scores(np.exp(np.array(a) / 3.0) - 7, np.exp(np.array(b) / 3.0) - 7)
    assert auc(plain) == auc(bent)
    assert advantage(plain) == advantage(bent)
    assert _tpr(plain, fpr) == _tpr(bent, fpr)
    np.testing.assert_array_equal(roc(plain).tpr, roc(bent).tpr)


@given(SIDES, SIDES, st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_the_order_of_records_changes_no_figure(a: list[int], b: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain, shuffled = sort_scores(a, b), sort_scores(rng.permutation(a), rng.permutation(b))
    assert auc(plain) == auc(shuffled)
    assert advantage(plain) == advantage(shuffled)
    assert _tpr(plain, 0.3) == _tpr(shuffled, 0.3)
    np.testing.assert_array_equal(roc(plain).tpr, roc(shuffled).tpr)


@given(SIDES, SIDES, st.sampled_from([0.1, 0.25, 0.5, 0.8]))
def test_tpr_and_advantage_are_maxima_over_achievable_points(a: list[int], b: list[int], fpr: float) -> None:
    scores = sort_scores(a, b)
    curve = roc(scores)
    found = _tpr(scores, fpr)
    if found.resolved:
        assert found.value == np.max(curve.tpr[curve.fpr <= fpr * (1 + 1e-12)])
        assert _number(found.low) <= _number(found.value) <= _number(found.high)
    else:
        assert len(b) * fpr < 1
    best = advantage(scores)
    assert best.value == pytest.approx(np.max(curve.tpr - curve.fpr), abs=1e-12)
    assert 0 <= _number(best.low) <= _number(best.value) <= _number(best.high) <= 1


# Refusals


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "shape"),
        ([[1.0]], "shape"),
        (3.0, "shape"),
        ([1.0, math.nan], r"members\[1\]: nan"),
        ([-math.inf], "finite"),
        (["a"], "real numbers"),
        ([1j], "real numbers"),
    ],
)
def test_scores_that_are_not_finite_numbers_are_refused(members: ArrayLike, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sort_scores(members, [0.0])
    with pytest.raises(InputError, match=message):
        sort_scores([0.0], members)


@pytest.mark.parametrize("fpr", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_an_fpr_outside_0_and_1_is_refused(fpr: float) -> None:
    with pytest.raises(InputError, match="FPR"):
        _tpr(_label_only(), fpr)
    with pytest.raises(InputError, match="FPR"):
        roc_band(_label_only(), [0.5, fpr])


def test_a_bad_confidence_is_refused_by_every_figure() -> None:
    scores = _label_only()
    for figure in (auc, advantage, balanced_accuracy):
        with pytest.raises(InputError, match="confidence"):
            figure(scores, 1.0)
    with pytest.raises(InputError, match="confidence"):
        tpr_at_fpr(scores, 0.0001, np.random.default_rng(0), confidence=95)
    with pytest.raises(InputError, match="confidence"):
        roc_band(scores, [0.1], confidence=0)


def test_the_callers_scores_are_left_alone_and_the_sorted_ones_cannot_be_changed() -> None:
    members = np.array([3.0, 1.0, 2.0])
    scores = sort_scores(members, members)
    np.testing.assert_array_equal(members, [3, 1, 2])
    with pytest.raises(ValueError, match="read-only"):
        scores.members[0] = 9


# Drawings


def test_a_thinned_curve_keeps_real_points_both_ends_and_the_low_end() -> None:
    scores = _gaussian_sample(2, 20_000, 20_000, 1.0)
    curve = roc(scores)
    thinned = thin(curve, 200)
    assert 100 < thinned.fpr.size <= 200
    assert _points(thinned) <= _points(curve)
    assert (thinned.fpr[0], thinned.tpr[0], thinned.fpr[-1], thinned.tpr[-1]) == (0, 0, 1, 1)
    assert np.max(thinned.tpr - thinned.fpr) == np.max(curve.tpr - curve.fpr)
    for fpr in (1 / 20_000, 0.001, 0.01, 0.1):
        drawn = np.max(thinned.tpr[thinned.fpr <= fpr * 1.001])
        assert drawn == pytest.approx(np.max(curve.tpr[curve.fpr <= fpr * 1.001]), rel=0.15)
    # No visible gap on the linear axes.
    gaps = np.diff(thinned.fpr) + np.diff(thinned.tpr)
    assert gaps.max() < 0.03


@given(SIDES, SIDES, st.integers(10, 40))
def test_a_curve_is_never_thinned_above_the_points_asked_for(a: list[int], b: list[int], points: int) -> None:
    curve = roc(sort_scores(a + [v + 0.5 for v in a], b))
    thinned = thin(curve, points)
    assert thinned.fpr.size <= points
    assert (thinned.fpr[0], thinned.fpr[-1]) == (0, 1)


def test_thinning_to_too_few_points_is_refused() -> None:
    with pytest.raises(InputError, match="10 or more"):
        thin(roc(_label_only()), 9)


def test_a_band_starts_at_the_first_resolved_fpr_and_surrounds_the_curve() -> None:
    scores = _gaussian_sample(3, 400, 500, 1.0)
    band = roc_band(scores, [0.0001, 0.001, 0.002, 0.01, 0.1, 0.5, 0.999])
    np.testing.assert_array_equal(band.fpr, [0.002, 0.01, 0.1, 0.5, 0.999])
    assert np.all((band.low <= band.tpr) & (band.tpr <= band.high))
    assert [_tpr(scores, fpr).value for fpr in band.fpr] == list(band.tpr)
    truth = ndtr(1 + ndtri(band.fpr))
    assert np.all((band.low <= truth) & (truth <= band.high))
    weak = _tpr(scores, 0.01)
    assert (weak.low, weak.high) == (band.low[1], band.high[1])


def test_a_histogram_counts_every_record_despite_outliers() -> None:
    rng = np.random.default_rng(0)
    members = np.concatenate((rng.normal(1, 1, 1000), [1e9]))
    found = histogram(sort_scores(members, rng.normal(0, 1, 500)), bins=30)
    assert found.edges.shape == (31,)
    assert found.members.sum() == 1001
    assert found.nonmembers.sum() == 500
    assert -12 < found.edges[0] < found.edges[-1] < 12
    assert np.count_nonzero(found.members) > 5


def test_a_histogram_without_outliers_is_that_of_numpy() -> None:
    members, nonmembers = np.linspace(0, 2, 101), np.linspace(-1, 1, 77)
    found = histogram(sort_scores(members, nonmembers), bins=10)
    np.testing.assert_array_equal(found.members, np.histogram(members, found.edges)[0])
    np.testing.assert_array_equal(found.nonmembers, np.histogram(nonmembers, found.edges)[0])
    assert (found.edges[0], found.edges[-1]) == (-1, 2)


@pytest.mark.parametrize("value", [0.0, 7.0, -1e17, 1e300, 5e-324])
@pytest.mark.parametrize("bins", [1, 40])
def test_a_histogram_of_constant_scores_has_rising_edges(value: float, bins: int) -> None:
    found = histogram(sort_scores([value] * 3, [value]), bins)
    assert all(a < b for a, b in pairwise(found.edges))
    assert (found.members.sum(), found.nonmembers.sum()) == (3, 1)


def test_a_histogram_of_the_largest_numbers_does_not_overflow() -> None:
    found = histogram(sort_scores([-1.7e308, 0.0], [1.7e308]), 4)
    assert np.isfinite(found.edges).all()
    assert found.members.sum() == 2


# Classes


def test_the_advantage_of_each_class_is_that_of_its_records() -> None:
    rng = np.random.default_rng(5)
    members, nonmembers = rng.normal(1, 1, 200), rng.normal(0, 1, 150)
    inside, outside = rng.integers(0, 2, 200), rng.integers(0, 2, 150)
    inside[0], inside[1], outside[0] = -1, 7, 9
    found = group_advantages(members, nonmembers, inside, outside)
    assert [group.label for group in found] == [-1, 0, 1, 7, 9]
    for group in found:
        if group.label in (0, 1):
            scores = sort_scores(members[inside == group.label], nonmembers[outside == group.label])
            assert group.estimate is not None
            assert group.reason is None
            assert group.estimate.value == advantage(scores).value
            # Two classes are shown: each interval has half of the error.
            assert group.estimate.low == advantage(scores, 0.975).low
            assert group.estimate.method.endswith("Bonferroni over 2 classes")
        else:
            assert group.estimate is None
    assert found[0].reason == "1 members and 0 non-members; 10 of each are needed"


@pytest.mark.parametrize("labels", [np.array([0]), np.array([0.0, 1.0]), np.array([[0, 1]]), np.array(["a", "b"])])
def test_labels_that_are_not_one_integer_per_score_are_refused(labels: ArrayLike) -> None:
    with pytest.raises(InputError, match="one integer class per score"):
        group_advantages([0.1, 0.2], [0.1, 0.2], labels, [0, 1])


# Coverage of the AUC interval


@pytest.mark.parametrize(("n", "shift"), [(50, 0.0), (200, 1.0)])
def test_auc_intervals_cover_in_a_quick_simulation(n: int, shift: float) -> None:
    assert 0.92 <= _auc_coverage(n, shift, 500) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_auc_intervals_cover_between_93_and_97_percent(n: int, shift: float) -> None:
    assert 0.93 <= _auc_coverage(n, shift, 2000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "shift"), [(20, 0.0), (20, 0.5), (20, 1.0), (20, 3.0), (50, 3.0), (200, 3.0), (1000, 3.0)]
)
def test_auc_intervals_cover_92_percent_at_the_edges(n: int, shift: float) -> None:
    assert _auc_coverage(n, shift, 2000) >= 0.92


def _auc_coverage(n: int, shift: float, repetitions: int) -> float:
    truth = float(ndtr(shift / math.sqrt(2)))
    covered = 0
    for seed in range(repetitions):
        found = auc(_gaussian_sample(seed, n, n, shift))
        covered += _number(found.low) <= truth <= _number(found.high)
    return covered / repetitions


def _gaussian_sample(seed: int, n1: int, n0: int, shift: float) -> SortedScores:
    rng = np.random.default_rng(seed)
    return sort_scores(rng.normal(shift, 1, n1), rng.normal(0, 1, n0))


def _gaussian_quantiles(n: int) -> Floats:
    return np.asarray(ndtri((np.arange(n) + 0.5) / n), dtype=np.float64)


def _look_up_table(share: float) -> SortedScores:
    """Return the scores of a model that stores a share of 1 000 members and ties on everything else."""
    stored = round(1000 * share)
    return sort_scores(np.repeat([1.0, 0.0], [stored, 1000 - stored]), np.zeros(1000))


def _label_only() -> SortedScores:
    """Return scores with the single operating point TPR .9 at FPR .7."""
    return sort_scores(np.repeat([1, 0], [900, 100]), np.repeat([1, 0], [700, 300]))


def _tpr(scores: SortedScores, fpr: float) -> TprAtFpr:
    return tpr_at_fpr(scores, fpr, np.random.default_rng(0), draws=200)


def _points(curve: RocCurve) -> set[tuple[float, float, float]]:
    return set(zip(curve.fpr.tolist(), curve.tpr.tolist(), curve.thresholds.tolist(), strict=True))


def _number(value: float | None) -> float:
    assert value is not None
    return value
