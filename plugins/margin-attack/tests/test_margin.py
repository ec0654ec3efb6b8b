from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pmcore.errors import InputError
from pmcore.evidence import Evidence, EvidenceKey, Source
from pmcore.interfaces import Attack, Floats, Outputs, Scale, Signal, Task
from pmcore.testing import parametrize_with_checks

from margin_attack import MarginAttack, RelativeMargin


@parametrize_with_checks([MarginAttack(), MarginAttack(signal="loss", min_per_class=5), RelativeMargin()])
def test_conforms(plugin: Attack | Signal, check: Callable[[Attack | Signal], None]) -> None:
    check(plugin)


def outputs(logits: Floats, labels: list[int], scale: Scale = Scale.LOGITS) -> Outputs:
    return Outputs(Task.MULTICLASS, scale, np.array(labels), logits)


def evidence(target: Floats, labels: Floats, population: Floats, population_labels: Floats) -> Evidence:
    return Evidence(
        arrays={
            EvidenceKey(Source.TARGET, "relative_margin"): target,
            EvidenceKey(Source.POPULATION, "relative_margin"): population,
        },
        labels=labels.astype(np.int64),
        population_labels=population_labels.astype(np.int64),
        lower_is_member={"relative_margin": False},
        classes=2,
    )


def test_the_margin_is_the_distance_to_the_average_other_logit() -> None:
    logits = np.array([[4.0, 1.0, 3.0], [0.0, 5.0, -2.0]])
    np.testing.assert_allclose(RelativeMargin().compute(outputs(logits, [0, 2])), [4 - 2, -2 - 2.5])


def test_logits_and_probabilities_give_the_same_margin() -> None:
    logits = np.random.default_rng(1).normal(size=(50, 7))
    labels = [record % 7 for record in range(50)]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        RelativeMargin().compute(outputs(p, labels, Scale.PROBABILITIES)),
        RelativeMargin().compute(outputs(logits, labels)),
    )


def test_with_two_classes_the_margin_is_the_rescaled_logit() -> None:
    asked = outputs(np.array([[2.0, -1.0], [0.5, 3.0]]), [0, 0])
    np.testing.assert_allclose(RelativeMargin().compute(asked), asked.rescaled_logit)


def test_scores_are_standard_deviations_above_the_own_class() -> None:
    rng = np.random.default_rng(2)
    population_labels = np.repeat([0.0, 1.0], 500)
    population = rng.normal(np.where(population_labels == 0, 0.0, 10.0), np.where(population_labels == 0, 1.0, 3.0))
    scores = MarginAttack().score(evidence(population, population_labels, population, population_labels))
    for label in (0, 1):
        own = scores[population_labels == label]
        assert own.mean() == pytest.approx(0.0, abs=1e-12)
        assert own.std(ddof=1) == pytest.approx(1.0)


def test_an_easy_class_does_not_hide_the_members_of_a_hard_one() -> None:
    rng = np.random.default_rng(3)
    labels = np.tile([0.0, 1.0], 500)
    member = np.repeat([1.0, 0.0], 500)
    easy = 20.0 * labels
    target = rng.normal(easy + 2.0 * member)
    scores = MarginAttack().score(evidence(target, labels, rng.normal(easy), labels))
    assert separation(scores, member) > 0.85
    assert separation(target, member) < 0.75


def test_where_nothing_leaks_nothing_is_found() -> None:
    rng = np.random.default_rng(4)
    labels = np.tile([0.0, 1.0], 1000)
    found = evidence(rng.normal(size=2000), labels, rng.normal(size=2000), labels)
    assert separation(MarginAttack().score(found), np.repeat([1.0, 0.0], 1000)) == pytest.approx(0.5, abs=0.04)


def test_a_class_with_too_few_population_records_is_pooled() -> None:
    population, population_labels = np.arange(30.0), np.array([0.0] * 29 + [1.0])
    scores = MarginAttack().score(evidence(np.array([29.0]), np.array([1.0]), population, population_labels))
    assert scores[0] == pytest.approx((29.0 - population.mean()) / population.std(ddof=1))


def test_a_population_that_is_all_alike_still_gives_finite_scores() -> None:
    labels = np.zeros(40)
    scores = MarginAttack().score(evidence(np.arange(40.0), labels, np.ones(40), labels))
    np.testing.assert_allclose(scores, np.arange(40.0) - 1.0)


def test_signs_follow_the_direction_of_the_signal() -> None:
    keys = [EvidenceKey(Source.TARGET, "loss"), EvidenceKey(Source.POPULATION, "loss")]
    labels = np.zeros(30, dtype=np.int64)
    losses = np.arange(30.0)
    found = Evidence(dict.fromkeys(keys, losses), labels, labels, {"loss": True})
    assert MarginAttack(signal="loss").score(found)[0] > 0.0


def test_a_minimum_below_two_is_refused() -> None:
    with pytest.raises(InputError, match="min_per_class: 1"):
        MarginAttack(min_per_class=1)


def separation(scores: Floats, member: Floats) -> float:
    """Return the AUC: how often a member is above a non-member, ties counting half."""
    inside, outside = scores[member == 1], scores[member == 0]
    above = (inside[:, None] > outside).mean() + 0.5 * (inside[:, None] == outside).mean()
    return float(above)
