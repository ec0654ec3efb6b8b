"""Intervals agree with scipy.stats where it has them, and cover the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom, binomtest

from pmcore.errors import InputError
from pmcore.intervals import (
    advantage_interval,
    auc_interval,
    binomial_lower,
    binomial_upper,
    bootstrap_tpr,
    order_statistic_tpr,
    proportion,
)
from pmcore.outputs import Floats


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (50, 1000), (999_999, 1_000_000)]
)
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_a_proportion_has_the_clopper_pearson_interval(successes: int, n: int, confidence: float) -> None:
    found = proportion(successes, n, confidence)
    known = binomtest(successes, n).proportion_ci(confidence, method="exact")
    assert found.value == successes / n
    assert found.low == pytest.approx(known.low, abs=1e-12)
    assert found.high == pytest.approx(known.high, abs=1e-12)


def test_a_proportion_of_nothing_has_no_value() -> None:
    found = proportion(0, 0)
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(InputError, match="0 <= successes <= n"):
        proportion(successes, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, 95.0, math.nan])
def test_a_confidence_outside_0_and_1_is_refused(confidence: float) -> None:
    with pytest.raises(InputError, match="confidence"):
        proportion(1, 2, confidence)


@pytest.mark.parametrize(("percent", "needed"), [(10, 29), (1, 299), (0.1, 2995), (0.01, 29956)])
def test_a_false_positive_rate_is_claimed_with_the_known_numbers_of_non_members(percent: float, needed: int) -> None:
    assert float(binomial_upper(0, needed, 0.05)) <= percent / 100
    assert float(binomial_upper(0, needed - 1, 0.05)) > percent / 100


def test_an_auc_interval_stays_inside_0_and_1_and_around_the_auc() -> None:
    found = auc_interval(0.98, 0.02**2, 0.95)
    assert found is not None
    assert 0 < found.low < 0.98 < found.high < 1
    assert 0.98 - found.low > found.high - 0.98


@pytest.mark.parametrize(("auc", "variance"), [(0.0, 0.1), (1.0, 0.1), (0.5, 0.0), (0.5, math.nan)])
def test_an_auc_without_a_usable_variance_has_no_interval(auc: float, variance: float) -> None:
    assert auc_interval(auc, variance, 0.95) is None


@pytest.mark.parametrize("ties", [False, True])
def test_order_statistics_are_taken_where_the_binomial_quantiles_say(ties: bool) -> None:
    rng = np.random.default_rng(3)
    members, nonmembers = rng.normal(1, 1, 150), rng.normal(0, 1, 400)
    if ties:
        members, nonmembers = np.round(members, 1), np.round(nonmembers, 1)
    members.sort()
    nonmembers.sort()
    grid = np.array([0.0025, 0.005, 0.01, 0.02, 0.3, 0.99])
    found = order_statistic_tpr(members, nonmembers, grid, 0.95)
    falling = nonmembers[::-1]
    for fpr, low, high in zip(grid, found.low, found.high, strict=True):
        fewest, most = (int(binom.ppf(share, 400, fpr)) for share in (0.0125, 0.9875))
        sure = int((members > falling[fewest - 1]).sum()) if fewest >= 1 else 0
        possible = int((members > falling[most]).sum()) if most < 400 else 150
        assert low == pytest.approx(binomtest(sure, 150).proportion_ci(0.975).low, abs=1e-12)
        assert high == pytest.approx(binomtest(possible, 150).proportion_ci(0.975).high, abs=1e-12)


def test_the_bootstrap_agrees_with_one_that_resamples_the_records() -> None:
    rng = np.random.default_rng(4)
    members, nonmembers = np.sort(rng.normal(1, 1, 800)), np.sort(rng.normal(0, 1, 1000))
    found = bootstrap_tpr(members, nonmembers, 0.05, rng, 20_000, 0.95)
    tpr = np.empty(2000)
    for i in range(tpr.size):
        threshold = np.sort(rng.choice(nonmembers, nonmembers.size))[-51]
        tpr[i] = np.mean(rng.choice(members, members.size) > threshold)
    assert found.low == pytest.approx(np.quantile(tpr, 0.025), abs=0.015)
    assert found.high == pytest.approx(np.quantile(tpr, 0.975), abs=0.015)


@pytest.mark.parametrize("above", [0, 12])
def test_the_bootstrap_of_a_fixed_threshold_is_clopper_pearson(above: int) -> None:
    # All non-members tie, so that redrawing them changes nothing.
    members = np.sort(np.concatenate((np.zeros(12 - above), np.full(above, 2.0))))
    found = bootstrap_tpr(members, np.ones(100), 0.1, np.random.default_rng(0), 20_000, 0.95)
    assert found.low == pytest.approx(float(binomial_lower(above, 12, 0.025)), abs=0.01)
    assert found.high == pytest.approx(float(binomial_upper(above, 12, 0.025)), abs=0.01)


def test_the_advantage_of_no_leak_keeps_the_kolmogorov_smirnov_bound() -> None:
    # The observed maximum at which the lower end leaves 0 is the two-sample critical value.
    critical = math.sqrt(-math.log(0.025) / 2) * math.sqrt(1 / 50 + 1 / 80)
    assert advantage_interval(critical - 1e-9, 50, 80, 0.95).low == 0
    assert advantage_interval(critical + 1e-6, 50, 80, 0.95).low > 0


@pytest.mark.parametrize("advantage", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("n1", "n0"), [(1, 1), (20, 20), (5, 5000), (100_000, 30)])
def test_an_advantage_interval_surrounds_it_inside_0_and_1(advantage: float, n1: int, n0: int) -> None:
    found = advantage_interval(advantage, n1, n0, 0.95)
    assert 0 <= found.low <= advantage <= found.high <= 1
    assert found.low < 1
    assert found.high > 0


@pytest.mark.parametrize(("n1", "n0"), [(20, 20), (200, 50)])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_advantage_intervals_cover_in_a_quick_simulation(n1: int, n0: int, shift: float) -> None:
    assert _advantage_coverage(_Gaussians(shift), n1, n0, 400) >= 0.94


@pytest.mark.slow
@pytest.mark.parametrize(("n1", "n0"), [(10, 10), (20, 20), (50, 50), (500, 20), (20, 500), (1000, 1000)])
@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, 1.0, 3.0])
def test_advantage_intervals_cover_for_gaussian_scores(n1: int, n0: int, shift: float) -> None:
    assert _advantage_coverage(_Gaussians(shift), n1, n0, 1000) >= 0.94


@pytest.mark.slow
@pytest.mark.parametrize(("n1", "n0"), [(10, 10), (20, 20), (100, 30), (1000, 1000)])
@pytest.mark.parametrize(("tpr", "fpr"), [(0.9, 0.7), (0.5, 0.5), (0.95, 0.05), (0.999, 0.0), (1.0, 0.95), (0.1, 0.0)])
def test_advantage_intervals_cover_for_two_valued_scores(n1: int, n0: int, tpr: float, fpr: float) -> None:
    assert _advantage_coverage(_Labels(tpr, fpr), n1, n0, 1000) >= 0.94


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    ("n1", "n0", "fpr"),
    [
        (100, 100, 0.1),
        (20, 100, 0.1),
        (1000, 100, 0.1),
        (1000, 1000, 0.01),
        (10_000, 1000, 0.01),
        (50, 1000, 0.01),
        (1000, 10_000, 0.001),
    ],
)
def test_bootstrap_intervals_of_a_tpr_cover(shift: float, n1: int, n0: int, fpr: float) -> None:
    rng = np.random.default_rng(11)
    truth = _Gaussians(shift).tpr(fpr)
    covered = 0
    for _ in range(600):
        members, nonmembers = np.sort(rng.normal(shift, 1, n1)), np.sort(rng.normal(0, 1, n0))
        found = bootstrap_tpr(members, nonmembers, fpr, rng, 400, 0.95)
        covered += found.low <= truth <= found.high
    assert covered / 600 >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("n1", "n0", "fpr"), [(100, 100, 0.01), (1000, 500, 0.01), (50, 2000, 0.002)])
def test_order_statistic_intervals_of_a_tpr_cover(shift: float, n1: int, n0: int, fpr: float) -> None:
    rng = np.random.default_rng(12)
    truth = _Gaussians(shift).tpr(fpr)
    covered = 0
    for _ in range(1000):
        members, nonmembers = np.sort(rng.normal(shift, 1, n1)), np.sort(rng.normal(0, 1, n0))
        found = order_statistic_tpr(members, nonmembers, np.array([fpr]), 0.95)
        covered += bool(found.low[0] <= truth <= found.high[0])
    assert covered / 1000 >= 0.97


def test_resampling_the_records_would_fail_where_ours_covers() -> None:
    # 20 members at TPR = FPR = 1 % are often all below the threshold: resampled members stay there.
    rng = np.random.default_rng(13)
    ours = plain = 0
    for _ in range(200):
        members, nonmembers = np.sort(rng.normal(size=20)), np.sort(rng.normal(size=1000))
        found = bootstrap_tpr(members, nonmembers, 0.01, rng, 300, 0.95)
        ours += found.low <= 0.01 <= found.high
        ranks = np.ceil(1000 * rng.beta(11, 990, 300)).astype(np.int64)
        tpr = np.mean(rng.choice(members, (300, 20)) > nonmembers[1000 - ranks][:, None], axis=1)
        plain += bool(np.quantile(tpr, 0.025) <= 0.01 <= np.quantile(tpr, 0.975))
    assert ours >= 186
    assert plain < 100


class _Gaussians:
    """Members N(shift, 1), non-members N(0, 1)."""

    def __init__(self, shift: float) -> None:
        self.shift = shift
        self.advantage = float(2 * ndtr(shift / 2) - 1)

    def tpr(self, fpr: float) -> float:
        return float(ndtr(self.shift + ndtri(fpr)))

    def draw(self, rng: np.random.Generator, member: bool, n: int) -> Floats:
        return rng.normal(self.shift if member else 0.0, 1.0, n)


class _Labels:
    """Scores 0 and 1, as of a label-only attack."""

    def __init__(self, tpr: float, fpr: float) -> None:
        self.rates = {True: tpr, False: fpr}
        self.advantage = tpr - fpr

    def draw(self, rng: np.random.Generator, member: bool, n: int) -> Floats:
        return (rng.random(n) < self.rates[member]).astype(np.float64)


def _advantage_coverage(law: _Gaussians | _Labels, n1: int, n0: int, repetitions: int) -> float:
    rng = np.random.default_rng(10)
    covered = 0
    for _ in range(repetitions):
        members, nonmembers = np.sort(law.draw(rng, True, n1)), np.sort(law.draw(rng, False, n0))
        below = np.searchsorted(nonmembers, members, side="left")
        observed = max(0.0, float(np.max(below / n0 - np.arange(n1) / n1)))
        found = advantage_interval(min(observed, 1.0), n1, n0, 0.95)
        covered += found.low - 1e-12 <= law.advantage <= found.high + 1e-12
    return covered / repetitions
