"""The population attack against its formula, a planted leak, a planted absence of one, and its known bugs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pmcore.conformal import pools_by_class
from pmcore.errors import InputError
from pmcore.evidence import Evidence, EvidenceKey, Source
from pmcore.outputs import Array, Floats
from pmcore_population import PopulationAttack


def evidence(
    audited: Floats,
    population: Floats,
    *,
    lower_is_member: bool = True,
    labels: Array | None = None,
    population_labels: Array | None = None,
) -> Evidence:
    return Evidence(
        arrays={
            EvidenceKey(Source.TARGET, "loss"): audited,
            EvidenceKey(Source.POPULATION, "loss"): population,
        },
        labels=labels if labels is not None else np.zeros(len(audited), dtype=np.int64),
        population_labels=population_labels
        if population_labels is not None
        else np.zeros(len(population), dtype=np.int64),
        lower_is_member={"loss": lower_is_member},
        classes=2,
    )


def planted(n: int, shift: float, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Return losses of members (shifted down), non-members and population."""
    rng = np.random.default_rng(seed)
    return rng.normal(-shift, 1.0, n), rng.normal(size=n), rng.normal(size=n // 2)


def test_p_values_are_the_conformal_formula() -> None:
    losses, population = np.array([0.5, 1.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0])
    expected = [(1 + np.sum(population <= loss)) / 4 for loss in losses]
    np.testing.assert_allclose(PopulationAttack().p_values(evidence(losses, population)).values, expected)


def test_scores_refine_one_minus_p_within_its_own_step() -> None:
    members, nonmembers, population = planted(300, 1.0)
    both = evidence(np.concatenate([members, nonmembers]), population)
    attack = PopulationAttack()
    refinement = attack.score(both) - (1 - attack.p_values(both).values)
    assert refinement.min() >= 0
    assert refinement.max() < 1 / (len(population) + 1)


def test_with_one_threshold_the_roc_is_that_of_the_signal() -> None:
    members, nonmembers, population = planted(500, 0.7)
    losses = np.exp(np.concatenate([members, nonmembers]) * 8)
    truth = np.repeat([1, 0], 500)
    scores = PopulationAttack().score(evidence(losses, np.exp(population * 8)))
    assert roc_auc_score(truth, scores) == pytest.approx(roc_auc_score(truth, -losses), abs=1e-12)


def test_a_planted_leak_is_found_with_the_right_sign() -> None:
    """The inverted population attack of two published tools gives an AUC of 1 minus this."""
    members, nonmembers, population = planted(1000, 1.0)
    scores = PopulationAttack().score(evidence(np.concatenate([members, nonmembers]), population))
    assert roc_auc_score(np.repeat([1, 0], 1000), scores) == pytest.approx(0.7602, abs=0.03)


def test_the_direction_of_the_signal_decides_the_sign() -> None:
    members, nonmembers, population = planted(1000, 1.0)
    both = np.concatenate([members, nonmembers])
    as_confidence = evidence(-both, -population, lower_is_member=False)
    np.testing.assert_array_equal(
        PopulationAttack().score(as_confidence), PopulationAttack().score(evidence(both, population))
    )


def test_without_a_leak_the_false_alarms_keep_to_the_nominal_level() -> None:
    """The share of p <= a over many null draws is at most a, for a fair sample of levels."""
    rng = np.random.default_rng(3)
    levels = np.array([0.01, 0.05, 0.1, 0.5])
    alarms = np.zeros(4)
    draws = 400
    for _ in range(draws):
        p = PopulationAttack().p_values(evidence(rng.normal(size=50), rng.normal(size=199))).values
        alarms += (p[:, None] <= levels).mean(axis=0)
    realised = alarms / draws
    assert (np.abs(realised - levels) < 4 * np.sqrt(levels * (1 - levels) / draws / 10)).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans())
def test_scores_are_monotone_in_the_signal(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    losses, population = rng.normal(size=80), rng.normal(size=30)
    if ties:
        losses, population = np.round(losses), np.round(population)
    order = np.argsort(losses)
    assert (np.diff(PopulationAttack().score(evidence(losses, population))[order]) <= 0).all()


def test_equal_losses_get_equal_scores() -> None:
    scores = PopulationAttack().score(evidence(np.array([1.0, 1.0, 0.0, -0.0]), np.array([0.0, 1.0])))
    assert scores[0] == scores[1]
    assert scores[2] == scores[3]


def test_per_class_calibrates_each_class_by_itself() -> None:
    """Class 1 is harder: its losses are ten higher. Globally its members look like non-members."""
    members, nonmembers, population = planted(2000, 1.0)
    half = np.arange(2000) % 2
    harder = 10.0 * half
    audited = np.concatenate([members + harder, nonmembers + harder])
    pool = population + 10.0 * half[:1000]
    known = evidence(audited, pool, labels=np.tile(half, 2), population_labels=half[:1000])
    truth = np.repeat([1, 0], 2000)
    pooled = roc_auc_score(truth, PopulationAttack().score(known))
    per_class = roc_auc_score(truth, PopulationAttack(per_class=True).score(known))
    assert pooled < 0.66
    assert per_class == pytest.approx(0.7602, abs=0.02)


def test_classes_too_small_for_the_level_share_one_pool() -> None:
    rng = np.random.default_rng(1)
    population_labels = np.repeat([0, 1, 2], [200, 5, 5])
    population = rng.normal(size=210)
    known = evidence(
        np.array([-9.0, -9.0, -9.0]),
        population,
        labels=np.array([0, 1, 2]),
        population_labels=population_labels,
    )
    p = PopulationAttack(per_class=True, alpha=0.01).p_values(known).values
    np.testing.assert_allclose(p, [1 / 201, 1 / 11, 1 / 11])


def test_a_class_without_population_gets_no_evidence() -> None:
    known = evidence(np.array([-9.0]), np.zeros(200), labels=np.array([1]))
    assert PopulationAttack(per_class=True).p_values(known).values[0] == 1.0


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_a_level_outside_zero_and_one_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match="alpha"):
        PopulationAttack(alpha=alpha)


def test_a_signal_with_several_numbers_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="loss"):
        PopulationAttack().score(evidence(np.zeros((3, 2)), np.zeros((3, 2))))


def test_a_class_with_just_as_many_population_records_as_the_level_needs_has_a_pool_of_its_own() -> None:
    values, labels = np.arange(4.0), np.array([0, 0, 1, 1])
    population, theirs = np.arange(20.0), np.repeat([0, 1], 10)
    pools = pools_by_class(values, labels, population, theirs, alpha=0.1)
    assert [len(pool.population) for pool in pools] == [10, 10, 0]
