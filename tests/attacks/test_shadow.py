"""The shadow attack and its signals: closed forms, what each option finds, order, extremes and the kit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pmcore.errors import AuditError, InputError
from pmcore.evidence import Evidence, EvidenceKey, Source
from pmcore.interfaces import Attack
from pmcore.options import build
from pmcore.outputs import Floats, Outputs, Scale, Task
from pmcore.testing import check_attack, checks_for, parametrize_with_checks
from pmcore.testing.checking import Check, Verdict, outcome_of
from pmcore_shadow import PredictionVector, ShadowAttack, TopPredictions

LOSS, RIGHT, TOP, VECTOR = "rescaled_logit", "correctness", "top_predictions", "prediction_vector"
CLASSIFIERS = ["logistic", "mlp", "random_forest", "knn", "hist_gradient_boosting"]
OPTIMUM = float(norm.cdf(1 / np.sqrt(2)))
"""Of two normal distributions of deviation 1 that are 1 apart."""


def shadow(**options: object) -> ShadowAttack:
    return build(ShadowAttack, options, "attack")


def world(
    n: int, r: int, shift: Floats | float, *, classes: int = 2, share: float = 0.5, seed: int = 0
) -> tuple[Evidence, NDArray[np.bool_]]:
    """Return evidence whose rescaled logit is normal and `shift` (of each record) higher where a model saw the record.

    The prediction speaks of nothing; the vector has the rescaled logit in its first column.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    truth = rng.permutation(n) < n // 2
    inside = rng.random((r, n)) < share
    arrays = {}
    for source, seen in ((Source.TARGET, truth), (Source.REFERENCES, inside)):
        logit = rng.normal(size=seen.shape) + shift * seen
        arrays[EvidenceKey(source, LOSS)] = logit
        arrays[EvidenceKey(source, RIGHT)] = (rng.random(seen.shape) < 0.7).astype(np.float64)
        arrays[EvidenceKey(source, TOP)] = rng.normal(size=(*seen.shape, 3))
        arrays[EvidenceKey(source, VECTOR)] = np.concatenate(
            [logit[..., None], rng.normal(size=(*seen.shape, classes - 1))], axis=-1
        )
    known = Evidence(arrays=arrays, labels=labels, classes=classes, reference_membership=inside.T)
    return known, truth


def area(attack: Attack, given: tuple[Evidence, NDArray[np.bool_]]) -> float:
    return float(roc_auc_score(given[1], attack.score(given[0])))


@parametrize_with_checks([PredictionVector(), TopPredictions(), TopPredictions(count=2)])
def test_signals_keep_every_promise(plugin: object, check: Check[object]) -> None:
    check(plugin)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [shadow(), shadow(features="vector")], ids=str)
def test_it_keeps_every_promise(attack: Attack) -> None:
    check_attack(attack)


@pytest.mark.parametrize(
    "name",
    [
        "check_finite_scores",
        "check_planted_leak",
        "check_record_order",
        "check_reference_order",
        "check_determinism",
        "check_global_random_state",
        "check_saturated_model",
        "check_constant_signals",
        "check_signals_not_finite",
        "check_single_class",
        "check_tasks",
        "check_warns_of_nothing",
        "check_fewest_references",
    ],
)
@pytest.mark.parametrize("classifier", CLASSIFIERS[1:])
def test_other_classifiers_keep_the_promises_that_they_could_break(classifier: str, name: str) -> None:
    attack = shadow(classifier=classifier)
    found = outcome_of(next(check for check in checks_for(attack) if check.name == name), attack)
    assert found.verdict is Verdict.PASSED, found.detail


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_of_two_normal_distributions_it_finds_nearly_what_can_be_found(classifier: str) -> None:
    assert area(shadow(classifier=classifier), world(2000, 8, 1.0)) == pytest.approx(OPTIMUM, abs=0.03)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_without_a_leak_it_finds_nothing(classifier: str) -> None:
    assert area(shadow(classifier=classifier), world(2000, 4, 0.0)) == pytest.approx(0.5, abs=0.045)


def test_scores_are_the_log_ratio_of_the_densities() -> None:
    """Of normal distributions 1 apart that is x - 1/2, whatever the share of pairs that are IN."""
    given, _ = world(3000, 10, 1.0, share=0.2)
    logit = given.target(LOSS)
    scores = shadow().score(given)
    middle = np.abs(logit - 0.5) < 1.5
    assert np.corrcoef(scores, logit)[0, 1] > 0.98
    assert scores[middle].mean() == pytest.approx((logit[middle] - 0.5).mean(), abs=0.1)


def test_how_many_of_a_class_were_trained_on_says_nothing_of_a_record() -> None:
    """Class 0 stands in most references, class 1 in few; the target saw as many of either, and leaks nothing."""
    given, truth = world(2000, 8, 0.0, seed=1)
    rng = np.random.default_rng(1)
    inside = rng.random((2000, 8)) < np.where(given.labels == 0, 0.8, 0.2)[:, None]
    for per in ("pooled", "class"):
        scores = shadow(per=per).score(replace(given, reference_membership=inside))
        gap = abs(scores[given.labels == 0].mean() - scores[given.labels == 1].mean())
        assert gap < 0.1  # log odds of 4 and of 1/4 are 2.8 apart
        assert roc_auc_score(truth, scores) == pytest.approx(0.5, abs=0.04)


def test_a_leak_that_differs_from_class_to_class_is_found_class_by_class() -> None:
    """Members of one class have the higher logits, those of the other the lower ones: pooled they blur."""
    shift = np.where(np.random.default_rng(0).integers(0, 2, 2000) == 0, 1.0, -1.0)
    given = world(2000, 8, shift)
    assert np.array_equal(shift > 0, given[0].labels == 0)
    assert area(shadow(per="pooled"), given) < 0.66
    assert area(shadow(per="class"), given) == pytest.approx(OPTIMUM, abs=0.03)


def test_vectors_are_read_class_by_class_where_classes_are_large_enough() -> None:
    large, small = world(2000, 4, 1.0), world(200, 4, 1.0)
    for given, same_as in ((large, "class"), (small, "pooled")):
        auto, named = (shadow(features="vector", per=per).score(given[0]) for per in ("auto", same_as))
        np.testing.assert_array_equal(auto, named)


def test_a_class_of_few_pairs_is_scored_by_the_pooled_classifier() -> None:
    given, _ = world(400, 4, 1.0)
    labels = np.where(np.arange(400) < 2, 7, given.labels)
    rare = shadow(per="class").score(replace(given, labels=labels, classes=8))
    pooled = shadow(per="pooled").score(replace(given, labels=labels, classes=8))
    np.testing.assert_allclose(rare[:2], pooled[:2], atol=0.1)  # of another draw
    assert not np.allclose(rare[2:], pooled[2:])


def test_members_in_the_middle_are_found_where_every_threshold_fails() -> None:
    given, truth = world(2000, 8, 0.0)
    arrays = dict(given.arrays)
    for source, seen in ((Source.TARGET, truth), (Source.REFERENCES, given.reference_membership)):
        assert seen is not None
        key = EvidenceKey(source, LOSS)
        arrays[key] = arrays[key] * np.where(seen.T, 0.3, 2.0)
    changed = replace(given, arrays=arrays)
    assert roc_auc_score(truth, arrays[EvidenceKey(Source.TARGET, LOSS)]) == pytest.approx(0.5, abs=0.04)
    assert roc_auc_score(truth, shadow().score(changed)) > 0.8


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("most_rows", [50_000, 300])
def test_no_order_of_records_or_references_changes_a_score(classifier: str, most_rows: int) -> None:
    given, _ = world(200, 4, 1.0)
    attack = shadow(classifier=classifier, most_rows=most_rows)
    rng = np.random.default_rng(2)
    records, models = rng.permutation(200), rng.permutation(4)
    axes = {Source.TARGET: (records,), Source.REFERENCES: np.ix_(models, records)}
    assert given.reference_membership is not None
    other = replace(
        given,
        arrays={key: array[axes[key.source]] for key, array in given.arrays.items()},
        labels=given.labels[records],
        reference_membership=given.reference_membership[np.ix_(records, models)],
    )
    np.testing.assert_allclose(attack.score(other), attack.score(given)[records], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("size", [1e-300, 1e6, 1e300])
def test_answers_of_any_size_give_finite_scores(classifier: str, size: float) -> None:
    given, _ = world(100, 3, 1.0)
    arrays = {key: array * size for key, array in given.arrays.items()}
    assert np.isfinite(shadow(classifier=classifier).score(replace(given, arrays=arrays))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused_in_one_line(value: float) -> None:
    given, _ = world(50, 3, 1.0)
    given.arrays[EvidenceKey(Source.REFERENCES, TOP)][0, 0, 0] = value
    with pytest.raises(InputError, match=r"^shadow: some answers of a model are not finite - check .*$"):
        shadow().score(given)


@pytest.mark.parametrize("inside", [True, False])
def test_references_that_all_saw_all_records_or_none_are_refused(inside: bool) -> None:
    given, _ = world(50, 3, 1.0)
    with pytest.raises(InputError, match=r"^shadow: no class has known members and known non-members - give .*$"):
        shadow().score(replace(given, reference_membership=np.full((50, 3), inside)))


@pytest.mark.parametrize(
    "options",
    [
        {"features": "all"},
        {"classifier": "forest"},
        {"per": "record"},
        {"most_rows": 9},
        {"most_rows": "many"},
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(AuditError, match=next(iter(options))) as refused:
        shadow(**options)
    assert "\n" not in str(refused.value)


def outputs(logits: Floats) -> Outputs:
    return Outputs(Task.MULTICLASS, Scale.LOGITS, np.zeros(len(logits), dtype=np.int64), predictions=logits)


def test_a_prediction_vector_is_the_log_softmax() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(PredictionVector().compute(outputs(logits)), np.log(p), rtol=1e-12)


def test_top_predictions_are_the_log_odds_in_falling_order() -> None:
    logits = np.random.default_rng(1).normal(size=(6, 5))
    p = np.sort(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), axis=1)[:, ::-1]
    expected = np.log(p / (1 - p))
    for count, columns in ((2, 2), (3, 3), (5, 5), (9, 5)):
        found = TopPredictions(count=count).compute(outputs(logits))
        np.testing.assert_allclose(found, expected[:, :columns], rtol=1e-9)


def test_top_predictions_of_certain_models_are_told_apart() -> None:
    logits = np.array([[800.0, 0.0, 0.0], [900.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = TopPredictions(count=2).compute(outputs(logits))
    np.testing.assert_allclose(found[:, 0], [800 - np.log(2), 900 - np.log(2), -np.log(2)], rtol=1e-12)
    np.testing.assert_allclose(found[:2, 1], [-800, -900])


@pytest.mark.parametrize("count", [1, -1, 1001])
def test_a_count_that_makes_no_sense_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=rf"^top_predictions: count: {count} - give a number from 2 to 1000$"):
        TopPredictions(count=count)
