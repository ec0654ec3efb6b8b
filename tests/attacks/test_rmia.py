"""RMIA against the definition of its score, on leaks of a known size, and where confidences are nearly 0 or 1."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import spearmanr

from pmcore.errors import AuditError, InputError
from pmcore.evidence import Evidence
from pmcore.options import build
from pmcore.outputs import Floats, Outputs, Scale, Task
from pmcore.signals import Loss
from pmcore.testing import check_attack, check_signal
from pmcore.testing.attack_findings import most_misses
from pmcore_reference import LogConfidence, RmiaAttack, TaylorConfidence
from pmcore_reference.ratios import LEAST, mean_confidences
from pmcore_reference.rmia import dominated_shares
from pmcore_reference.tuning import DEFAULT, GRID, _players, fitted, tuned
from tests.attacks.gaussian_worlds import GaussianWorld, evidence_of, gaussian_world, require_no_order

LOG_P = "log_confidence"


def log_p(phi: Floats) -> Floats:
    """Return log confidences of rescaled logits."""
    return -np.logaddexp(0.0, -phi)


def evidence(world: GaussianWorld, *, inside: NDArray[np.bool_] | None = None, signal: str = LOG_P) -> Evidence:
    """Return a world's answers, as rescaled logits, in log confidences."""
    return evidence_of(
        signal,
        log_p(world.target),
        log_p(world.references),
        log_p(world.population),
        log_p(world.population_references),
        inside=world.inside if inside is None else inside,
    )


@pytest.mark.parametrize("attack", [RmiaAttack(), RmiaAttack("offline")])
def test_it_keeps_every_promise(attack: RmiaAttack) -> None:
    check_attack(attack)


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        RmiaAttack("offline", gamma=1.0, a=0.3),
        RmiaAttack(temperature=2.0),
        RmiaAttack(softmax="taylor"),
        RmiaAttack("offline", augment=("plain", "flip", "noise:scale=0.1,draw=3")),
    ],
)
def test_it_keeps_every_promise_with_other_options(attack: RmiaAttack) -> None:
    check_attack(attack)


@pytest.mark.parametrize("signal", [LogConfidence(), LogConfidence(2.0), TaylorConfidence(), TaylorConfidence(6, 0.0)])
def test_its_signals_keep_every_promise(signal: LogConfidence | TaylorConfidence) -> None:
    check_signal(signal)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("ties", [False, True])
def test_shares_are_those_of_the_whole_matrix(gamma: float, ties: bool) -> None:
    rng = np.random.default_rng(1)
    of_x, of_z = rng.normal(0, 2, 300), rng.normal(0, 2, 200)
    if ties:  # powers of two, in which nothing rounds
        of_x, of_z = np.log(2.0 ** np.round(of_x)), np.log(2.0 ** np.round(of_z))
        of_x, of_z = of_x.round(12), of_z.round(12)
    matrix = of_x[:, None] - np.log(gamma) > of_z[None, :]
    np.testing.assert_array_equal(dominated_shares(of_x, of_z, gamma), matrix.mean(axis=1))


def by_definition(world: GaussianWorld, mode: str, gamma: float, a: float) -> Floats:
    """Return shares of dominated population records, by probabilities, record by record."""

    def usual(confidences: Floats, saw: NDArray[np.bool_]) -> float:
        out = confidences[~saw].mean()
        if mode == "online" and saw.any():
            return float(0.5 * (confidences[saw].mean() + out))
        return float(0.5 * ((1 + a) * out + 1 - a))

    none = np.zeros(len(world.references), dtype=np.bool_)
    of_x = [usual(np.exp(log_p(world.references[:, i])), world.inside[i]) for i in range(len(world.target))]
    of_z = [usual(np.exp(log_p(answers)), none) for answers in world.population_references.T]
    ratio_x, ratio_z = np.exp(log_p(world.target)) / of_x, np.exp(log_p(world.population)) / of_z
    shares: Floats = (ratio_x[:, None] > gamma * ratio_z[None, :]).mean(axis=1)
    return shares


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
def test_scores_are_the_definition_and_refine_its_steps(mode: str, gamma: float, a: float) -> None:
    world = gaussian_world(120, 6, m=90, leak=2.0)
    attack = build(RmiaAttack, {"mode": mode, "gamma": gamma, "a": a}, "attack 'rmia'")
    refined = attack.score(evidence(world)) * 91 - by_definition(world, mode, gamma, a) * 90
    assert refined.min() > -1e-9
    assert refined.max() < 1


def test_ties_of_the_share_are_broken_by_the_ratio() -> None:
    """Members that only models which saw them know dominate all of Z: there low error rates are decided."""
    world = gaussian_world(2_000, 8, m=50, leak=9.0, difficulty=1.0)
    hard = replace(
        world,
        target=world.target - 6,
        references=world.references - 6,
        population=world.population - 6,
        population_references=world.population_references - 6,
    )
    scores = RmiaAttack(a=0.3).score(evidence(hard))
    assert (by_definition(hard, "online", 2.0, 0.3) == 1).sum() > 500
    assert len(np.unique(scores)) == 2_000
    confidences = mean_confidences(log_p(hard.references), hard.inside)
    usual = (confidences.inside.value + confidences.outside.value) / 2
    ratios = log_p(hard.target) - np.log(usual)
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(ratios))


def test_online_finds_more_than_offline_and_both_more_than_the_confidence_alone() -> None:
    world = gaussian_world(6_000, 16, m=500, leak=1.5)
    areas = [
        world.area(scores).value or 0.0
        for scores in (
            world.target,
            RmiaAttack("offline").score(evidence(world)),
            RmiaAttack().score(evidence(world)),
        )
    ]
    assert areas[0] + 0.1 < areas[1] < areas[2] + 0.01


def test_all_references_that_did_not_see_a_record_are_averaged() -> None:
    rng = np.random.default_rng(0)
    answers = -rng.exponential(size=(7, 30))
    inside = rng.random((30, 7)) < 0.4
    found = mean_confidences(answers, inside)
    for row in range(30):
        of_out = np.exp(answers[~inside[row], row])
        assert found.outside.value[row] == pytest.approx(of_out.mean() if of_out.size else 0.0)
        assert found.outside.count[row] == of_out.size
        of_in = np.exp(answers[inside[row], row])
        assert found.inside.value[row] == pytest.approx(of_in.mean() if of_in.size else 0.0)


def test_a_mean_confidence_keeps_its_digits_next_to_zero_and_next_to_one() -> None:
    answers = np.array([[-1e-20, -60.0, -1e-9, -0.5], [-3e-20, -60.0, -1e-9, -0.5]])
    logs = mean_confidences(answers, None).outside.log()
    np.testing.assert_allclose(logs, [-2e-20, -60.0, -1e-9, -0.5], rtol=1e-9)
    shrunk = mean_confidences(answers, None).outside.with_members(1.0).log()
    np.testing.assert_allclose(shrunk, logs, rtol=1e-9)


def test_no_confidence_is_less_than_the_floor() -> None:
    world = gaussian_world(40, 8, m=30)
    extreme = replace(world, target=world.target * 1e6, references=world.references * 1e6)
    for mode in ("online", "offline"):
        for a in (0.0, 1.0):
            attack = build(RmiaAttack, {"mode": mode, "a": a}, "attack 'rmia'")
            found = attack.score(evidence(extreme))
            assert np.isfinite(found).all()
    assert np.exp(LEAST) == pytest.approx(1e-30)


def test_references_that_all_agree_rank_by_the_target() -> None:
    target = np.array([-1e6, -3.0, 0.0, 5.0, 800.0])
    inside = np.tile(np.arange(4) < 2, (5, 1))
    ones = np.zeros((4, 5))
    for mode in ("online", "offline"):
        attack = build(RmiaAttack, {"mode": mode}, "attack 'rmia'")
        known = evidence_of(LOG_P, log_p(target), ones, np.zeros(3), np.zeros((4, 3)), inside=inside)
        assert (np.diff(attack.score(known)) > 0).all()


def test_of_several_queries_the_greater_part_decides() -> None:
    worlds = [gaussian_world(60, 6, m=40, leak=2.0, seed=seed) for seed in range(3)]
    inside = worlds[0].inside
    several = [evidence(world, inside=inside) for world in worlds]
    together = replace(
        several[0],
        arrays={
            **several[0].arrays,
            **{replace(key, query=q): v for q, e in zip("bc", several[1:], strict=True) for key, v in e.arrays.items()},
        },
    )
    attack = RmiaAttack(a=0.3, gamma=1.0)
    ratios = [attack._log_ratios(each) for each in several]
    of_x = np.median([each.audited for each in ratios], axis=0)
    of_z = np.median([each.population for each in ratios], axis=0)
    scores = replace(attack, augment=("plain", "b", "c")).score(together)
    np.testing.assert_array_equal(np.floor(scores * 41), dominated_shares(of_x, of_z, 1.0) * 40)
    both = replace(attack, augment=("plain", "b")).score(together)
    of_x = np.min([each.audited for each in ratios[:2]], axis=0)
    of_z = np.min([each.population for each in ratios[:2]], axis=0)
    np.testing.assert_array_equal(np.floor(both * 41), dominated_shares(of_x, of_z, 1.0) * 40)


def test_a_is_tuned_to_the_best_where_references_play_the_target() -> None:
    world = gaussian_world(400, 6, m=2, leak=1.0)
    answers = log_p(world.references)
    means = []
    for a in GRID:
        areas = []
        for player in range(6):
            others = [model for model in range(6) if model != player]
            seen = world.inside[:, others]
            known = ~seen.all(axis=1)
            out = np.ma.masked_array(np.exp(answers[others].T), seen)[known].mean(axis=1).filled(0)
            ratios = np.exp(answers[player, known]) / ((1 + a) * out + 1 - a)
            saw = world.inside[known, player]
            areas.append((ratios[saw][:, None] > ratios[~saw][None, :]).mean())
        means.append(np.mean(areas))
    assert tuned(answers, world.inside) == GRID[int(np.argmax(means))]


def test_a_reference_that_may_be_the_complement_of_the_target_never_plays_it() -> None:
    """References come in pairs of complements: one without its partner is left out, as that of the target would be."""
    world = gaussian_world(300, 9)
    inside = world.inside.copy()
    inside[:, 1:8:2] = ~inside[:, 0:8:2]
    inside[:, 8] = ~world.truth
    answers = log_p(world.references)
    assert sorted(_players(answers, inside)) == list(range(8))
    assert len(_players(answers, world.inside)) == 8
    assert _players(answers, np.column_stack([inside[:, 8], np.zeros((300, 8), dtype=np.bool_)])) == [0]


def test_the_target_has_no_part_in_what_is_tuned() -> None:
    world = gaussian_world(300, 8, m=40)
    a = tuned(log_p(world.references), world.inside)
    assert a is not None
    for target in (world.target, world.target + 50 * world.truth, -world.target):
        known = evidence(replace(world, target=target))
        np.testing.assert_array_equal(RmiaAttack("offline").score(known), RmiaAttack("offline", a=a).score(known))


def test_where_no_reference_saw_a_record_the_default_is_taken() -> None:
    world = gaussian_world(50, 4, m=30, seen=False)
    assert tuned(log_p(world.references), world.inside) is None
    found = RmiaAttack("offline").score(evidence(world))
    np.testing.assert_array_equal(found, RmiaAttack("offline", a=DEFAULT).score(evidence(world)))


def test_where_references_saw_the_population_alone_it_is_tuned_on() -> None:
    world = gaussian_world(200, 6, m=300, seen=False)
    rng = np.random.default_rng(2)
    saw = rng.random((300, 6)) < 0.5
    answers = log_p(world.population_references + 2.0 * saw.T)
    known = evidence_of(
        LOG_P,
        log_p(world.target),
        log_p(world.references),
        log_p(world.population),
        answers,
        inside=world.inside,
        population_inside=saw,
    )
    best = tuned(answers, saw)
    assert best not in (None, DEFAULT)
    np.testing.assert_array_equal(RmiaAttack("offline").score(known), RmiaAttack("offline", a=best or 0.0).score(known))


def test_the_fitted_a_is_found_again() -> None:
    rng = np.random.default_rng(3)
    out = rng.random((1, 500))
    answers = np.log(np.concatenate([out, 0.4 * out + 0.6]))
    inside = np.tile([False, True], (500, 1))
    assert fitted(mean_confidences(answers, inside)) == pytest.approx(0.4)


def test_population_records_that_every_reference_saw_are_left_out() -> None:
    world = gaussian_world(40, 4, m=30)
    saw = np.zeros((30, 4), dtype=np.bool_)
    saw[:10] = True
    arguments = (log_p(world.target), log_p(world.references), log_p(world.population))
    of_population = log_p(world.population_references)
    attack = RmiaAttack("offline", a=0.3)
    with_them = evidence_of(LOG_P, *arguments, of_population, inside=world.inside, population_inside=saw)
    without = evidence_of(LOG_P, *arguments[:2], arguments[2][10:], of_population[:, 10:], inside=world.inside)
    np.testing.assert_array_equal(attack.score(with_them), attack.score(without))
    every = evidence_of(LOG_P, *arguments, of_population, inside=world.inside, population_inside=np.ones_like(saw))
    with pytest.raises(InputError, match="every reference saw all of it"):
        attack.score(every)


def test_p_values_hold_their_level_where_no_reference_saw_a_record() -> None:
    shares = []
    for seed in range(300):
        world = gaussian_world(40, 4, m=59, leak=0.0, seen=False, seed=seed)
        found = RmiaAttack("offline").p_values(evidence(world))
        assert found is not None
        shares.append((found.values[:, None] <= np.array([0.05, 0.1, 0.5])).mean(axis=0))
    errors = 4 * np.std(shares, axis=0) / np.sqrt(300)
    assert (np.abs(np.mean(shares, axis=0) - [0.05, 0.1, 0.5]) < errors).all()


def test_there_are_no_p_values_where_references_saw_some_record() -> None:
    world = gaussian_world(40, 4, m=30)
    assert RmiaAttack().p_values(evidence(world)) is None
    assert RmiaAttack("offline").p_values(evidence(world)) is None


def test_p_values_fall_where_scores_rise() -> None:
    world = gaussian_world(200, 4, m=60, seen=False)
    attack = RmiaAttack("offline", gamma=1.0)
    found = attack.p_values(evidence(world))
    assert found is not None
    assert spearmanr(attack.score(evidence(world)), -found.values).statistic > 0.99


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), gamma=st.floats(0.5, 4.0), mode=st.sampled_from(["online", "offline"]))
def test_scores_rise_with_the_confidence_of_the_target(seed: int, gamma: float, mode: str) -> None:
    world = gaussian_world(30, 6, m=20, seed=seed)
    attack = build(RmiaAttack, {"mode": mode, "gamma": gamma}, "attack 'rmia'")
    surer = replace(world, target=world.target + 0.5)
    assert (attack.score(evidence(surer)) >= attack.score(evidence(world))).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.floats(0.5, 2.0), more=st.floats(1.0, 3.0))
def test_a_larger_gamma_dominates_fewer_records(seed: int, low: float, more: float) -> None:
    world = gaussian_world(30, 6, m=20, seed=seed)
    scores = [RmiaAttack(gamma=gamma).score(evidence(world)) for gamma in (low, low * more)]
    assert (scores[0] >= scores[1]).all()


@pytest.mark.parametrize("attack", [RmiaAttack(), RmiaAttack("offline"), RmiaAttack("offline", a=0.6)])
def test_scores_do_not_depend_on_any_order(attack: RmiaAttack) -> None:
    require_no_order(attack, evidence(gaussian_world(500, 20, m=100)))


@pytest.mark.parametrize("attack", [RmiaAttack(), RmiaAttack("offline")])
def test_without_a_leak_intervals_hold_one_half(attack: RmiaAttack) -> None:
    misses = 0
    for seed in range(200):
        world = gaussian_world(100, 8, m=60, leak=0.0, seed=seed + 1_000)
        found = world.area(attack.score(evidence(world)))
        assert found.low is not None
        assert found.high is not None
        misses += not found.low <= 0.5 <= found.high
    assert misses <= most_misses(200, 0.07)


def test_without_references_that_saw_a_record_it_runs_offline() -> None:
    assert RmiaAttack(gamma=3.0).fallback == RmiaAttack("offline", gamma=3.0)
    assert RmiaAttack("offline").fallback is None


@pytest.mark.parametrize(
    ("options", "signal"),
    [
        ({}, "log_confidence"),
        ({"temperature": 2.0}, "log_confidence:temperature=2"),
        ({"temperature": 0.3}, "log_confidence:temperature=0.3"),
        ({"softmax": "taylor"}, "taylor_confidence"),
        ({"softmax": "taylor", "temperature": 1.5}, "taylor_confidence:temperature=1.5"),
    ],
)
def test_softmax_and_temperature_choose_the_signal(options: dict[str, object], signal: str) -> None:
    needs = build(RmiaAttack, options, "attack 'rmia'").needs
    assert {name for names in needs.signals().values() for name in names} == {signal}


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.0},
        {"gamma": float("nan")},
        {"a": 1.5},
        {"a": "best"},
        {"temperature": -1.0},
        {"temperature": float("inf")},
        {"mode": "both"},
        {"softmax": "hard"},
        {"augment": ["plain", "plain"]},
    ],
)
def test_a_bad_option_is_refused_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(AuditError, match=next(iter(options))) as caught:
        build(RmiaAttack, options, "attack 'rmia'")
    assert "\n" not in str(caught.value)


def outputs(logits: Floats, labels: NDArray[np.int64]) -> Outputs:
    return Outputs(task=Task.MULTICLASS, scale=Scale.LOGITS, labels=labels, predictions=logits)


def test_the_log_confidence_is_the_log_softmax_at_its_temperature() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 4, (50, 6)), rng.integers(0, 6, 50)
    for temperature in (0.5, 1.0, 2.0):
        expected = log_softmax(logits / temperature, axis=1)[np.arange(50), labels]
        np.testing.assert_allclose(
            LogConfidence(temperature).compute(outputs(logits, labels)), expected, rtol=1e-9, atol=1e-14
        )


def test_at_temperature_one_it_is_the_loss_of_any_classifier_with_its_sign_turned() -> None:
    rng = np.random.default_rng(0)
    multilabel = Outputs(Task.MULTILABEL, Scale.LOGITS, rng.integers(0, 2, (20, 3)), rng.normal(0, 9, (20, 3)))
    multiclass = outputs(rng.normal(0, 9, (20, 3)), rng.integers(0, 3, 20))
    for answers in (multilabel, multiclass):
        np.testing.assert_allclose(LogConfidence().compute(answers), -Loss().compute(answers), rtol=1e-12)


@pytest.mark.parametrize(("order", "margin"), [(2, 0.0), (4, 0.6), (8, 1.0)])
@pytest.mark.parametrize("sharpness", [0.3, 3.0, 30.0])
def test_the_taylor_confidence_is_the_share_of_polynomials(order: int, margin: float, sharpness: float) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, sharpness, (50, 6)), rng.integers(0, 6, 50)

    def polynomial(a: Floats) -> Floats:
        total: Floats = sum((a**i / factorial(i) for i in range(order + 1)), np.zeros_like(a))
        return total

    own = polynomial(logits[np.arange(50), labels] / 2 - margin)
    others = polynomial(logits / 2).sum(axis=1) - polynomial(logits / 2)[np.arange(50), labels]
    found = TaylorConfidence(order, margin, 2.0).compute(outputs(logits, labels))
    np.testing.assert_allclose(np.exp(found), own / (own + others), rtol=1e-7)


@pytest.mark.parametrize("logit", [1e4, 1e30, 3e38])
def test_the_taylor_confidence_of_extreme_logits_is_finite(logit: float) -> None:
    logits = np.array([[logit, -logit, 0.0], [0.0, logit, -logit], [0.0, 0.0, 0.0]])
    found = TaylorConfidence().compute(outputs(logits, np.array([0, 0, 0])))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("options", [{"order": 3}, {"order": 0}, {"margin": -1.0}, {"temperature": 0.0}])
def test_a_bad_option_of_a_signal_is_refused_in_one_line(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))) as caught:
        build(TaylorConfidence, options, "signal 'taylor_confidence'")
    assert "\n" not in str(caught.value)


def test_it_needs_little_memory_besides_the_evidence() -> None:
    known = evidence(gaussian_world(20_000, 8, m=20_000))
    for attack in (RmiaAttack(), RmiaAttack("offline", a=0.3)):
        tracemalloc.start()
        attack.score(known)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10e6
