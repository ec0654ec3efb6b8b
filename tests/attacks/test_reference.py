"""The reference attack against its formula, on leaks of a known size, and where models are surer than numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm, spearmanr

from pmcore.errors import AuditError, InputError
from pmcore.options import build
from pmcore.outputs import Floats
from pmcore.testing import check_attack
from pmcore.testing.attack_findings import most_misses
from pmcore_reference import ReferenceAttack
from pmcore_reference.empirical import empirical_log_odds
from tests.attacks.gaussian_worlds import evidence_of, gaussian_world, misses_of_half, require_no_order

PHI = "rescaled_logit"
SMOOTHINGS = ("auto", "linear", "gaussian", "minimum")


def test_it_keeps_every_promise() -> None:
    check_attack(ReferenceAttack)


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        ReferenceAttack(smoothing="linear"),
        ReferenceAttack(smoothing="minimum"),
        ReferenceAttack("hinge"),
        ReferenceAttack(PHI),
    ],
)
def test_it_keeps_every_promise_with_other_options(attack: ReferenceAttack) -> None:
    check_attack(attack)


def test_linear_scores_are_the_interpolated_share_of_larger_losses() -> None:
    world = gaussian_world(300, 9, seen=False)
    losses, others = np.exp(world.target), np.exp(world.references)
    found = expit(ReferenceAttack(smoothing="linear").score(evidence_of("loss", losses, others, lower=True)))
    inside = (losses > others.min(axis=0)) & (losses < others.max(axis=0))
    nodes = np.arange(1, 10) / 10
    expected = [1 - np.interp(loss, np.sort(other), nodes) for loss, other in zip(losses, others.T, strict=True)]
    np.testing.assert_allclose(found[inside], np.array(expected)[inside], rtol=1e-9)
    assert (found[losses < others.min(axis=0)] > 0.9).all()
    assert (found[losses > others.max(axis=0)] < 0.1).all()


def test_losses_beyond_all_references_are_ranked_and_never_tie() -> None:
    others = np.tile(np.linspace(1.0, 2.0, 24)[:, None], 50)
    losses = np.geomspace(1e-300, 0.9, 50)
    rescaled = -np.log(np.expm1(losses))
    of_references = -np.log(np.expm1(others))
    scores = ReferenceAttack().score(evidence_of(PHI, rescaled, of_references))
    assert (np.diff(scores) < 0).all()
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_extreme_logits_get_finite_scores_in_their_order(smoothing: str) -> None:
    """A normal distribution function is 1 from 8.3 standard deviations on; a loss is 0 from a logit of 745 on."""
    others = np.tile(np.array([-1.0, 0.0, 1.0, 0.5])[:, None], 7)
    rescaled = np.array([-1e6, -50.0, 0.2, 9.0, 40.0, 1e5, 1e6])
    attack = build(ReferenceAttack, {"signal": PHI, "smoothing": smoothing}, "attack 'reference'")
    scores = attack.score(evidence_of(PHI, rescaled, others))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_references_that_all_agree_still_rank(smoothing: str) -> None:
    rescaled = np.array([-1e6, -1.0, 2.0, 3.0, 1e6])
    attack = build(ReferenceAttack, {"signal": PHI, "smoothing": smoothing}, "attack 'reference'")
    scores = attack.score(evidence_of(PHI, rescaled, np.full((6, 5), 2.0)))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()
    assert scores[2] == 0.0


def test_of_one_spread_the_gaussian_score_is_the_log_odds_of_the_normal_distribution() -> None:
    world = gaussian_world(4_000, 12, seen=False)
    found = ReferenceAttack(smoothing="gaussian").score(world.evidence(PHI))
    residual = (world.target - world.references.mean(axis=0)) / np.sqrt(1 + 1 / 12)
    expected = norm.logcdf(residual) - norm.logsf(residual)
    assert spearmanr(found, expected).statistic > 0.999
    assert np.abs(found - expected).max() < 0.15 * np.abs(expected).max()


@pytest.mark.parametrize(("smoothing", "r", "loss"), [("gaussian", 4, 0.005), ("linear", 60, 0.02)])
def test_the_auc_is_that_of_two_normal_distributions(smoothing: str, r: int, loss: float) -> None:
    world = gaussian_world(10_000, r, leak=1.5, seen=False)
    attack = build(ReferenceAttack, {"smoothing": smoothing, "signal": PHI}, "attack 'reference'")
    found = world.area(attack.score(world.evidence(PHI))).value
    best = norm.cdf(1.5 / np.sqrt(2 * (1 + 1 / r)))
    assert found is not None
    assert best - loss - 0.01 < found < best + 0.01


def test_records_with_a_spread_of_their_own_are_measured_by_it() -> None:
    """Against the difference to the mean, which takes every record to spread alike."""
    world = gaussian_world(6_000, 16, leak=1.5, spread=1.5, seen=False)
    plain = world.area(world.target - world.references.mean(axis=0)).value
    found = world.area(ReferenceAttack().score(world.evidence(PHI))).value
    assert plain is not None
    assert found is not None
    assert found > plain + 0.02


def test_the_minimum_is_the_less_certain_of_both() -> None:
    world = gaussian_world(200, 6, seen=False)
    scores = [ReferenceAttack(PHI, smoothing).score(world.evidence(PHI)) for smoothing in ("linear", "gaussian")]
    minimum = ReferenceAttack(PHI, "minimum").score(world.evidence(PHI))
    np.testing.assert_array_equal(minimum, np.minimum(*scores))


@pytest.mark.parametrize(("r", "smoothing"), [(19, "gaussian"), (20, "linear")])
def test_auto_trusts_the_empirical_distribution_of_twenty_references(r: int, smoothing: str) -> None:
    world = gaussian_world(50, r, seen=False)
    attack = build(ReferenceAttack, {"smoothing": smoothing, "signal": PHI}, "attack 'reference'")
    np.testing.assert_array_equal(ReferenceAttack().score(world.evidence(PHI)), attack.score(world.evidence(PHI)))


def test_the_direction_of_the_signal_decides_the_sign() -> None:
    world = gaussian_world(100, 8, seen=False)
    for smoothing in SMOOTHINGS:
        attack = build(ReferenceAttack, {"smoothing": smoothing, "signal": "hinge"}, "attack 'reference'")
        found = attack.score(world.evidence("hinge"))
        negated = attack.score(evidence_of("hinge", -world.target, -world.references, lower=True))
        np.testing.assert_allclose(negated, found, rtol=1e-9, atol=1e-12)


def test_losses_are_read_as_rescaled_logits_unless_linear_is_asked_for() -> None:
    assert ReferenceAttack().needs.target == (PHI,)
    assert ReferenceAttack(smoothing="linear").needs.target == ("loss",)
    assert ReferenceAttack().fallback == ReferenceAttack(smoothing="linear")
    assert ReferenceAttack(smoothing="linear").fallback is None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), r=st.integers(2, 12), ties=st.booleans())
def test_the_empirical_log_odds_rise_with_the_value(seed: int, r: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    column = rng.normal(size=(r, 1)).round(0 if ties else 9)
    values = np.sort(np.concatenate([rng.normal(0, 4, 40).round(0 if ties else 9), column[:, 0]]))
    odds = empirical_log_odds(values, np.tile(column, (1, len(values))), np.ones(len(values)))
    assert (np.diff(odds) >= 0).all()
    assert (np.diff(odds)[np.diff(values) > 0] > 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), r=st.integers(2, 9))
def test_the_empirical_distribution_is_the_same_seen_from_either_end(seed: int, r: int) -> None:
    rng = np.random.default_rng(seed)
    values, others = rng.normal(size=30).round(1), rng.normal(size=(r, 30)).round(1)
    ones: Floats = np.ones(30)
    odds = empirical_log_odds(values, others, ones)
    np.testing.assert_allclose(empirical_log_odds(-values, -others, ones), -odds, rtol=1e-9, atol=1e-12)
    assert logit(1 / (r + 1)) >= odds[values < others.min(axis=0)].max(initial=-np.inf)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_scores_do_not_depend_on_any_order(smoothing: str) -> None:
    attack = build(ReferenceAttack, {"smoothing": smoothing, "signal": PHI}, "attack 'reference'")
    require_no_order(attack, gaussian_world(300, 7, seen=False).evidence(PHI))


@pytest.mark.parametrize("smoothing", ["gaussian", "linear"])
def test_without_a_leak_intervals_hold_one_half(smoothing: str) -> None:
    attack = build(ReferenceAttack, {"smoothing": smoothing, "signal": PHI}, "attack 'reference'")
    assert misses_of_half(attack, PHI, 200, seen=False) <= most_misses(200, 0.07)


def test_one_reference_alone_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="has 1 that did not see it, 2 needed") as caught:
        ReferenceAttack().score(gaussian_world(9, 1, seen=False).evidence(PHI))
    assert "\n" not in str(caught.value)


def test_a_smoothing_that_does_not_exist_is_refused_in_one_line() -> None:
    with pytest.raises(AuditError, match="smoothing") as caught:
        build(ReferenceAttack, {"smoothing": "kernel"}, "attack 'reference'")
    assert "\n" not in str(caught.value)
