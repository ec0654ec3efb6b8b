"""The figures of one attack: known answers for every part, and intervals that cover where covering is hard."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom, binomtest

from pmcore.curves import roc_band
from pmcore.evaluate import Scored, evaluate
from pmcore.interfaces import Floats, Task
from pmcore.intervals import order_statistic_tpr
from pmcore.reports.meaning import headline, in_words
from pmcore.schema import AttackPart, Figure, Figures, TprFigure
from pmcore.statistics import auc, sort_scores, tpr_at_fpr
from pmcore.testing.example_report import attack_from_scores, example_report, gaussian_attack

NO_LEAK = "No attack tried here did better than guessing"


def gaussian(n_members: int, n_nonmembers: int, shift: float = 1.0, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.0, n_members), rng.normal(0.0, 1.0, n_nonmembers)


def figures(
    members: Floats,
    nonmembers: Floats,
    rates: tuple[float, ...] = (0.1, 0.01),
    p_values: tuple[Floats, Floats] | None = None,
    finest_level: float = 1e-9,
    seed: tuple[int, ...] = (0,),
) -> Figures:
    scored = Scored(
        scores=np.concatenate([members, nonmembers]),
        p_values=np.concatenate(p_values) if p_values is not None else None,
        finest_level=finest_level,
        n_members=len(members),
        labels=np.zeros(len(members) + len(nonmembers), dtype=np.int64),
    )
    return evaluate(scored, Task.MULTICLASS, rates, seed, 0.95)


def calibrated(members: list[float], nonmembers: list[float], rate: float) -> Figures:
    values = np.array(members), np.array(nonmembers)
    return figures(-values[0], -values[1], (rate,), p_values=values)


@pytest.mark.parametrize(
    ("n_nonmembers", "method", "weak"),
    [
        (100, "bootstrap with redrawn threshold", False),
        (99, "order statistics and Clopper-Pearson", True),
        (10, "order statistics and Clopper-Pearson", True),
        (9, "none", False),
    ],
)
def test_ten_false_positives_decide_how_the_interval_of_a_tpr_is_made(
    n_nonmembers: int, method: str, weak: bool
) -> None:
    found = figures(*gaussian(300, n_nonmembers), rates=(0.1,)).tpr_at_fpr["0.1"]
    assert found.method == method
    assert found.weak is weak
    assert found.resolved is (method != "none")


def test_a_well_resolved_tpr_has_a_shorter_interval_than_order_statistics_give() -> None:
    members, nonmembers = gaussian(1000, 1000)
    found = figures(members, nonmembers, rates=(0.1,)).tpr_at_fpr["0.1"]
    wide = order_statistic_tpr(np.sort(members), np.sort(nonmembers), np.array([0.1]), 0.95)
    assert found.low is not None
    assert found.high is not None
    assert wide.low[0] < found.low < found.high < wide.high[0]


def test_the_figures_of_a_rate_do_not_depend_on_which_others_are_asked_for() -> None:
    members, nonmembers = gaussian(400, 1000)
    alone = figures(members, nonmembers, rates=(0.05,))
    among = figures(members, nonmembers, rates=(0.3, 0.1, 0.05, 0.01, 0.0001))
    assert among.tpr_at_fpr["0.05"] == alone.tpr_at_fpr["0.05"]
    assert alone.tpr_at_fpr["0.05"].method.startswith("bootstrap")
    assert among.auc == alone.auc
    assert among.curve == alone.curve


def test_another_seed_draws_another_bootstrap_around_the_same_value() -> None:
    members, nonmembers = gaussian(400, 1000)
    first, second = (figures(members, nonmembers, seed=(seed,)).tpr_at_fpr["0.1"] for seed in (0, 1))
    assert first.value == second.value
    assert (first.low, first.high) != (second.low, second.high)
    assert first.low == pytest.approx(second.low, abs=0.02)
    assert first.high == pytest.approx(second.high, abs=0.02)


def test_the_band_of_the_curve_is_that_of_the_order_statistics() -> None:
    members, nonmembers = gaussian(150, 400)
    curve = figures(members, nonmembers).curve
    known = roc_band(sort_scores(members, nonmembers), np.array(curve.band_fpr), 0.95)
    np.testing.assert_allclose(curve.band_low, known.low, rtol=1e-8)
    np.testing.assert_allclose(curve.band_high, known.high, rtol=1e-8)
    falling = np.sort(nonmembers)[::-1]
    for fpr, low, high in zip(curve.band_fpr, curve.band_low, curve.band_high, strict=True):
        fewest, most = (int(binom.ppf(share, 400, fpr)) for share in (0.0125, 0.9875))
        sure = int((members > falling[fewest - 1]).sum()) if fewest >= 1 else 0
        possible = int((members > falling[most]).sum()) if most < 400 else 150
        assert low == pytest.approx(binomtest(sure, 150).proportion_ci(0.975).low, abs=1e-8)
        assert high == pytest.approx(binomtest(possible, 150).proportion_ci(0.975).high, abs=1e-8)


def test_every_point_of_the_curve_is_reached_by_a_threshold() -> None:
    members, nonmembers = (np.round(scores, 1) for scores in gaussian(100, 100))
    curve = figures(members, nonmembers).curve
    thresholds = [np.inf, *np.unique(np.concatenate([members, nonmembers]))]
    reached = {(float(np.mean(nonmembers >= at)), float(np.mean(members >= at))) for at in thresholds}
    assert set(zip(curve.fpr, curve.tpr, strict=True)) <= reached


@pytest.mark.parametrize(("p_value", "rate"), [(0.05, 0.05), (3 / 30, 0.1), (29 / 100, 0.29), (0.1 + 0.2, 0.3)])
def test_a_p_value_at_the_level_itself_is_an_alarm(p_value: float, rate: float) -> None:
    """On both sides; the last one is the level but for its rounding."""
    points = calibrated([p_value, p_value, 0.9, 0.9], [p_value, 0.9, 0.9, 0.9, 0.9], rate).calibrated
    assert [point.alpha for point in points] == [rate]
    assert points[0].tpr.value == 0.5
    assert points[0].fpr.value == 0.2


def test_a_p_value_just_above_the_level_is_no_alarm() -> None:
    point = calibrated([0.0501, 0.06], [0.0501, 0.06, 0.07], 0.05).calibrated[0]
    assert point.tpr.value == 0.0
    assert point.fpr.value == 0.0


def test_alarms_among_members_are_true_and_among_non_members_false() -> None:
    point = calibrated([0.01] * 18 + [0.5] * 2, [0.01] * 2 + [0.5] * 48, 0.05).calibrated[0]
    for found, alarms, n in ((point.tpr, 18, 20), (point.fpr, 2, 50)):
        known = binomtest(alarms, n).proportion_ci(0.95, method="exact")
        assert (found.value, found.n, found.reason) == (alarms / n, n, None)
        assert found.low == pytest.approx(known.low, abs=1e-12)
        assert found.high == pytest.approx(known.high, abs=1e-12)


@pytest.mark.parametrize(
    ("population", "rate", "needed"), [(10, 0.05, 19), (98, 0.01, 99), (998, 0.001, 999), (18, 0.05, 19), (0, 0.3, 3)]
)
def test_a_level_below_the_smallest_p_value_is_not_shown(population: int, rate: float, needed: int) -> None:
    smallest = 1 / (population + 1)
    p_values = np.full(30, smallest), np.full(40, 1.0)
    found = figures(*gaussian(30, 40), rates=(rate,), p_values=p_values, finest_level=smallest).calibrated
    assert [point.alpha for point in found] == [rate]
    for shown in (found[0].fpr, found[0].tpr):
        assert (shown.value, shown.low, shown.high, shown.n) == (None, None, None, 0)
        assert shown.reason is not None
        assert f"needs {needed} population records" in shown.reason
        assert shown.reason.endswith(f"there are {population}")


@pytest.mark.parametrize(("population", "rate"), [(19, 0.05), (99, 0.01), (999, 0.001), (9, 0.1)])
def test_a_level_that_the_smallest_p_value_just_reaches_is_shown(population: int, rate: float) -> None:
    smallest = 1 / (population + 1)
    p_values = np.full(30, smallest), np.full(40, 1.0)
    found = figures(*gaussian(30, 40), rates=(rate,), p_values=p_values, finest_level=smallest).calibrated
    assert found[0].tpr.value == 1.0
    assert found[0].fpr.value == 0.0


def test_an_attack_without_p_values_has_no_calibrated_points() -> None:
    assert figures(*gaussian(30, 40)).calibrated == []


@pytest.mark.parametrize(("n_members", "n_nonmembers"), [(20, 5000), (5000, 20)])
def test_auc_intervals_cover_where_one_side_has_few_records(n_members: int, n_nonmembers: int) -> None:
    rng = np.random.default_rng(1)
    truth = float(ndtr(3 / np.sqrt(2)))
    covered = 0
    for _ in range(300):
        found = auc(sort_scores(rng.normal(3, 1, n_members), rng.normal(0, 1, n_nonmembers)))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert covered / 300 >= 0.92


def test_auc_intervals_cover_for_labels_alone_with_few_non_members() -> None:
    rng = np.random.default_rng(2)
    truth = 0.5 + (0.999 - 0.99) / 2
    covered = 0
    for _ in range(300):
        found = auc(sort_scores(rng.random(5000) < 0.999, rng.random(20) < 0.99))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert covered / 300 >= 0.92


def test_tpr_intervals_cover_where_ties_stand_exactly_at_the_rate() -> None:
    """Half of the members and 1 % of the others score 1: the TPR at 1 % is .5, and often seen as 0."""
    rng = np.random.default_rng(3)
    covered = seen_as_nothing = 0
    for _ in range(300):
        scores = sort_scores(rng.random(1000) < 0.5, rng.random(1000) < 0.01)
        found = tpr_at_fpr(scores, 0.01, rng)
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high
        seen_as_nothing += found.value == 0
        covered += found.low <= 0.5 <= found.high
    assert 60 < seen_as_nothing < 240
    assert covered / 300 >= 0.93


@pytest.mark.parametrize("of_members", [0.9, 0.7])
def test_an_attack_on_labels_that_reaches_no_low_rate_names_nobody(of_members: float) -> None:
    rng = np.random.default_rng(4)
    right = (rng.random(2000) < of_members).astype(np.float64), (rng.random(2000) < 0.7).astype(np.float64)
    attack = attack_from_scores(*right, access="label")
    assert {figure.value for figure in attack.tpr_at_fpr.values()} == {0.0}
    words = in_words(example_report({"label-gap": attack}, n=2000))
    assert "names" not in words
    assert "people" not in words
    assert (NO_LEAK in words) is (of_members == 0.7)
    assert ("tells which is which" in words) is (of_members == 0.9)


def test_an_attack_that_reaches_the_rate_is_the_one_that_names() -> None:
    rng = np.random.default_rng(5)
    right = (rng.random(5000) < 0.999).astype(np.float64), (rng.random(5000) < 0.5).astype(np.float64)
    report = example_report({"label-gap": attack_from_scores(*right), "loss": gaussian_attack(0.5)})
    found = headline(report)
    assert found is not None
    assert found.attack == "loss"
    assert "label-gap" not in in_words(report)


def test_twenty_attacks_without_a_leak_claim_one_in_at_most_7_percent_of_reports() -> None:
    rng = np.random.default_rng(6)
    template = gaussian_attack(0.0, 200, classes=1)
    claims = 0
    for _ in range(100):
        attacks = {f"attack {index}": without_a_leak(template, rng) for index in range(20)}
        claims += NO_LEAK not in in_words(example_report(attacks, n=300))
    assert claims <= 7


def without_a_leak(template: AttackPart, rng: np.random.Generator) -> AttackPart:
    """Return an attack that knows nothing, with the figures by which it is judged at well and weakly resolved rates."""
    scores = sort_scores(rng.normal(size=300), rng.normal(size=300))
    tpr = {}
    for rate in (0.1, 0.01):
        values = asdict(tpr_at_fpr(scores, rate, rng))
        del values["fpr"]
        tpr[f"{rate:g}"] = TprFigure(**values)
    return template.model_copy(update={"auc": Figure(**asdict(auc(scores))), "tpr_at_fpr": tpr})
