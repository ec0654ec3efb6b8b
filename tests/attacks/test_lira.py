"""LiRA against the formulas of the paper, on leaks of a known size, and where models are surer than numbers are."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import invgamma, norm
from scipy.stats import t as student

from pmcore.errors import AuditError, InputError
from pmcore.options import build
from pmcore.outputs import Floats
from pmcore.testing import check_attack
from pmcore.testing.attack_findings import most_misses
from pmcore_reference import LiraAttack
from pmcore_reference.moments import Centre, Moments, moments, moments_by_side
from pmcore_reference.variances import LEAST, Predictive, Variance, fitted_prior, predictive
from tests.attacks.gaussian_worlds import evidence_of, gaussian_world, misses_of_half, require_no_order

PHI = "rescaled_logit"
VARIANCES: tuple[Variance, ...] = ("auto", "per_record", "pooled", "shrink")


@pytest.mark.parametrize("attack", [LiraAttack(), LiraAttack("offline")])
def test_it_keeps_every_promise(attack: LiraAttack) -> None:
    check_attack(attack)


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        LiraAttack(variance="shrink"),
        LiraAttack(variance="per_record", centre="mean"),
        LiraAttack(augment=("plain", "flip")),
        LiraAttack("offline", "shrink"),
        LiraAttack("offline", signal="loss"),
    ],
)
def test_it_keeps_every_promise_with_other_options(attack: LiraAttack) -> None:
    check_attack(attack)


def textbook(
    phi: Floats, values: Floats, chosen: NDArray[np.bool_], centre: Centre, variance: Variance
) -> tuple[Floats, Floats, list[tuple[int, float]]]:
    """Return centres, deviations and (count, variance) of one side, record by record."""
    sides = [values[chosen[row], row] for row in range(len(phi))]
    centres = np.array([np.median(side) if centre == "median" else np.mean(side) for side in sides])
    own = [(len(side), float(np.var(side, ddof=1))) for side in sides]
    pooled = sum((n - 1) * v for n, v in own) / sum(n - 1 for n, _ in own)
    many = variance == "per_record"
    deviations = [np.sqrt(v if many or (variance == "auto" and n >= 32) else pooled) for n, v in own]
    return centres, np.array(deviations), own


@pytest.mark.parametrize("variance", ["auto", "per_record", "pooled"])
@pytest.mark.parametrize("centre", ["median", "mean"])
@pytest.mark.parametrize("r", [8, 9, 64])
def test_scores_are_the_formulas_of_the_paper(variance: Variance, centre: Centre, r: int) -> None:
    world = gaussian_world(60, r, leak=2.0, spread=0.3)
    mu_in, s_in, _ = textbook(world.target, world.references, world.inside, centre, variance)
    mu_out, s_out, _ = textbook(world.target, world.references, ~world.inside, centre, variance)
    online = norm.logpdf(world.target, mu_in, s_in) - norm.logpdf(world.target, mu_out, s_out)
    attack = LiraAttack("online", variance, centre)
    np.testing.assert_allclose(attack.score(world.evidence(PHI)), online, rtol=1e-9, atol=1e-9)
    offline = replace(attack, mode="offline")
    np.testing.assert_allclose(offline.score(world.unseen(PHI)), (world.target - mu_out) / s_out, rtol=1e-9)
    two_sided = replace(offline, offline_statistic="pdf")
    np.testing.assert_allclose(
        two_sided.score(world.unseen(PHI)), -norm.logpdf(world.target, mu_out, s_out), rtol=1e-9, atol=1e-12
    )


def test_some_records_may_have_many_models_and_others_few() -> None:
    """40 references saw the even records and 3 the odd ones: only the former have a variance of their own."""
    world = gaussian_world(50, 80, spread=0.5)
    inside = np.arange(80)[None, :] < np.where(np.arange(50) % 2, 3, 40)[:, None]
    mu_in, s_in, _ = textbook(world.target, world.references, inside, "median", "auto")
    mu_out, s_out, _ = textbook(world.target, world.references, ~inside, "median", "auto")
    expected = norm.logpdf(world.target, mu_in, s_in) - norm.logpdf(world.target, mu_out, s_out)
    found = LiraAttack().score(evidence_of(PHI, world.target, world.references, inside=inside))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert len(np.unique(s_in)) == 26


def test_shrunk_scores_are_ratios_of_students_t() -> None:
    world = gaussian_world(400, 12, leak=2.0, spread=0.5)
    densities = []
    for chosen in (world.inside, ~world.inside):
        centres, _, own = textbook(world.target, world.references, chosen, "mean", "auto")
        n = np.array([count for count, _ in own])
        v = np.array([variance for _, variance in own])
        prior = fitted_prior(Moments(n, centres, v))
        shape, rate = prior.shape + (n - 1) / 2, prior.rate + (n - 1) * v / 2
        densities.append(student.logpdf(world.target, 2 * shape, centres, np.sqrt(rate / shape * (1 + 1 / n))))
    found = LiraAttack(variance="shrink", centre="mean").score(world.evidence(PHI))
    np.testing.assert_allclose(found, densities[0] - densities[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("shape", "rate"), [(1.5, 2.0), (4.0, 1.0), (30.0, 40.0)])
@pytest.mark.parametrize("r", [4, 16])
def test_the_prior_of_the_variances_is_found_again(shape: float, rate: float, r: int) -> None:
    true = invgamma.rvs(shape, scale=rate, size=40_000, random_state=5)
    values = np.random.default_rng(6).normal(size=(r, 40_000)) * np.sqrt(true)
    found = fitted_prior(moments(values, "mean"))
    # How much variances vary is known to a few percent, and for a narrow prior the less so the wider they scatter.
    assert 1 / found.shape == pytest.approx(1 / shape, rel=0.1, abs=0.02)
    assert found.rate / found.shape == pytest.approx(rate / shape, rel=0.05)


def test_of_records_that_spread_alike_the_shrunk_variance_is_the_pooled_one() -> None:
    world = gaussian_world(5_000, 8)
    side = moments_by_side(world.references, world.inside, "mean").outside
    shrunk = predictive(side, "shrink", 1.0)
    assert shrunk.scale / np.sqrt(1 + 1 / 4) == pytest.approx(np.ones(5_000), abs=0.03)


@pytest.mark.parametrize("r", [16, 64])
def test_the_auc_is_that_of_two_normal_distributions(r: int) -> None:
    """The ratio of two normal densities of one variance orders as phi - mu does: the AUC is Phi(d / sqrt 2)."""
    world = gaussian_world(20_000, r, leak=1.0)
    exact = np.tile(np.array([-1.0, 1.0]), r // 4)[:, None] * np.sqrt((r // 2 - 1) / (r // 2))
    inside = np.tile(np.arange(r) < r // 2, (20_000, 1))
    known = np.concatenate([world.means + 1.0 + exact, world.means + exact])
    found = world.area(LiraAttack().score(evidence_of(PHI, world.target, known, inside=inside))).value
    assert found == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.008)
    offline = world.area(LiraAttack("offline").score(evidence_of(PHI, world.target, known[r // 2 :]))).value
    assert offline == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.008)


def test_estimated_distributions_come_near_the_true_ones() -> None:
    world = gaussian_world(20_000, 64, leak=1.5)
    found = world.area(LiraAttack().score(world.evidence(PHI))).value
    best = norm.cdf(1.5 / np.sqrt(2))
    assert found is not None
    assert best - 0.02 < found < best + 0.01


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_shrunk_variance_is_near_the_better_of_own_and_pooled(mode: str) -> None:
    """At a false-positive rate of 1 %, where records spread alike and where they do not."""
    for spread in (0.0, 1.0):
        world = gaussian_world(20_000, 16, leak=2.0, spread=spread)
        rates = {}
        for variance in ("per_record", "pooled", "shrink"):
            attack = build(LiraAttack, {"mode": mode, "variance": variance}, "attack 'lira'")
            scores = attack.score(world.evidence(PHI) if mode == "online" else world.unseen(PHI))
            rates[variance] = float((scores[world.truth] > np.quantile(scores[~world.truth], 0.99)).mean())
        assert rates["shrink"] > 0.95 * max(rates.values())
        assert rates["shrink"] > 1.2 * min(rates.values())


def test_several_queries_give_the_mean_of_their_scores() -> None:
    first, second = gaussian_world(50, 8, seed=1), gaussian_world(50, 8, seed=2)
    alone = evidence_of(PHI, second.target, second.references, inside=first.inside)
    both = evidence_of(PHI, first.target, first.references, inside=first.inside, queries={"flip": alone})
    mean = (LiraAttack().score(first.evidence(PHI)) + LiraAttack().score(alone)) / 2
    np.testing.assert_allclose(LiraAttack(augment=("plain", "flip")).score(both), mean, rtol=1e-12)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("options", [{}, {"mode": "offline"}, {"mode": "offline", "offline_statistic": "pdf"}])
def test_extreme_logits_get_finite_scores_that_do_not_tie(variance: str, options: dict[str, str]) -> None:
    """Tail probabilities are 0 from 38 standard deviations on, and densities too."""
    world = gaussian_world(40, 8, difficulty=0.0)
    target = np.concatenate([-np.geomspace(1e6, 50, 20), np.geomspace(50, 1e6, 20)])
    attack = build(LiraAttack, {"variance": variance, **options}, "attack 'lira'")
    evidence = world.evidence(PHI) if attack.mode == "online" else world.unseen(PHI)
    found = attack.score(evidence_of(PHI, target, evidence.references(PHI), inside=evidence.reference_membership))
    assert np.isfinite(found).all()
    assert len(np.unique(found)) == 40
    if options == {"mode": "offline"} and variance == "pooled":
        assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("variance", VARIANCES)
def test_references_that_all_agree_still_rank(variance: Variance) -> None:
    inside = np.tile(np.arange(8) < 4, (5, 1))
    target = np.array([-1e6, -1.0, 0.0, 3.0, 1e6])
    references = np.where(inside.T, 2.0, 0.0)
    online = LiraAttack(variance=variance).score(evidence_of(PHI, target, references, inside=inside))
    offline = LiraAttack("offline", variance).score(evidence_of(PHI, target, references[4:]))
    for found in (online, offline):
        assert np.isfinite(found).all()
    assert (np.diff(offline) > 0).all()
    assert online[3] > online[2] > online[1]


def test_a_record_without_variance_gets_a_share_of_the_pooled_one() -> None:
    values = np.array([[0.0, 1.0, 5.0], [0.0, 3.0, 9.0]])
    scale = predictive(moments(values, "mean"), "per_record", 2.0).scale
    np.testing.assert_allclose(scale, [2.0 * LEAST, np.sqrt(2), np.sqrt(8)])


@settings(max_examples=40, deadline=None)
@given(degrees=st.floats(3.0, 500.0), value=st.floats(-6.0, 6.0))
def test_z_scores_of_students_t_are_normal_quantiles_of_its_tails(degrees: float, value: float) -> None:
    one = Predictive(np.zeros(1), np.ones(1), np.array([degrees]))
    expected = norm.ppf(student.cdf(-abs(value), degrees))
    assert -abs(float(one.z_scores(np.array([value]))[0])) == pytest.approx(expected, rel=0.02, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shift=st.floats(-1e3, 1e3),
    factor=st.floats(0.01, 100),
    variance=st.sampled_from(VARIANCES),
    mode=st.sampled_from(["online", "offline"]),
)
def test_scores_are_the_same_in_any_unit(seed: int, shift: float, factor: float, variance: str, mode: str) -> None:
    world = gaussian_world(30, 12, seed=seed)
    attack = build(LiraAttack, {"mode": mode, "variance": variance}, "attack 'lira'")
    before = world.evidence(PHI) if mode == "online" else world.unseen(PHI)
    after = evidence_of(
        PHI,
        before.target(PHI) * factor + shift,
        before.references(PHI) * factor + shift,
        inside=before.reference_membership,
    )
    np.testing.assert_allclose(attack.score(after), attack.score(before), rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), variance=st.sampled_from(VARIANCES))
def test_online_scores_change_their_sign_when_saw_and_did_not_see_change_places(seed: int, variance: Variance) -> None:
    world = gaussian_world(30, 12, seed=seed)
    found = LiraAttack(variance=variance).score(world.evidence(PHI))
    swapped = LiraAttack(variance=variance).score(
        evidence_of(PHI, world.target, world.references, inside=~world.inside)
    )
    np.testing.assert_allclose(swapped, -found, rtol=1e-12, atol=1e-12)


def test_the_direction_of_the_signal_decides_the_sign() -> None:
    world = gaussian_world(100, 8)
    turned = evidence_of("loss", -world.target, -world.unseen(PHI).references(PHI), lower=True)
    attack = LiraAttack("offline")
    np.testing.assert_allclose(replace(attack, signal="loss").score(turned), attack.score(world.unseen(PHI)))


@pytest.mark.parametrize("variance", VARIANCES)
def test_scores_do_not_depend_on_any_order(variance: Variance) -> None:
    require_no_order(LiraAttack(variance=variance), gaussian_world(3_000, 70, spread=0.3).evidence(PHI))


@pytest.mark.parametrize("attack", [LiraAttack(), LiraAttack(variance="shrink"), LiraAttack(variance="per_record")])
def test_without_a_leak_intervals_hold_one_half(attack: LiraAttack) -> None:
    assert misses_of_half(attack, PHI, 200) <= most_misses(200, 0.07)


def test_without_references_that_saw_a_record_it_runs_offline() -> None:
    assert LiraAttack(centre="mean").fallback == LiraAttack("offline", centre="mean")
    assert LiraAttack("offline").fallback is None


@pytest.mark.parametrize("side", [0, 7])
def test_a_record_with_one_model_on_a_side_is_refused_in_one_line(side: int) -> None:
    inside = np.tile(np.arange(8) < side, (9, 1))
    with pytest.raises(InputError, match=r"some record has \d that (saw|did not see) it, 2 needed") as caught:
        LiraAttack().score(evidence_of(PHI, np.zeros(9), np.zeros((8, 9)), inside=inside))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_signal_that_is_not_finite_is_refused(value: float) -> None:
    world = gaussian_world(9, 8)
    world.references[3, 4] = value
    with pytest.raises(InputError, match="not finite"):
        LiraAttack().score(world.evidence(PHI))


@pytest.mark.parametrize("augment", [(), ("plain", "plain"), ("plain", " ")])
def test_queries_that_are_none_blank_or_repeated_are_refused_in_one_line(augment: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="lira: augment: ") as caught:
        LiraAttack(augment=augment)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["mode", "variance", "centre", "offline_statistic"])
def test_an_option_that_does_not_exist_is_refused_in_one_line(option: str) -> None:
    with pytest.raises(AuditError, match=option) as caught:
        build(LiraAttack, {option: "other"}, "attack 'lira'")
    assert "\n" not in str(caught.value)


def test_it_needs_little_memory_besides_the_evidence() -> None:
    """20 000 records x 128 references are 20 MB, of which one copy would be 20 more."""
    evidence = gaussian_world(20_000, 128).evidence(PHI)
    tracemalloc.start()
    LiraAttack().score(evidence)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6
