"""The classifier trained on known members: what it finds, that it finds nothing in noise, and that folds are honest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pmcore.errors import AuditError, InputError
from pmcore.evidence import Evidence, EvidenceKey, Source, told_of
from pmcore.interfaces import Attack
from pmcore.options import build
from pmcore.outputs import Array, Floats
from pmcore.statistics import auc, sort_scores
from pmcore.testing import check_attack
from pmcore_shadow import TrainedAttack

LOSS, RIGHT, TOP, VECTOR = "rescaled_logit", "correctness", "top_predictions", "prediction_vector"
CLASSIFIERS = ["logistic", "mlp", "random_forest", "knn", "hist_gradient_boosting"]
FOLDS = 5


def trained(**options: object) -> TrainedAttack:
    return build(TrainedAttack, options, "attack")


@dataclass(frozen=True)
class Records:
    """Signals by address, labels, and whether each record is a member; folds with their share of both sides."""

    arrays: dict[EvidenceKey, Array]
    labels: NDArray[np.int64]
    truth: NDArray[np.bool_]
    folds: NDArray[np.int64]

    def evidence(self, fold: int) -> Evidence:
        known = np.where(told_of(self.folds, fold, FOLDS), self.truth, -1).astype(np.int8)
        return Evidence(arrays=self.arrays, labels=self.labels, classes=3, known=known)

    def scored(self, attack: Attack) -> Floats:
        """Return the score of every record, each from the call for its own fold."""
        found = np.zeros(len(self.truth))
        for fold in range(FOLDS):
            own = self.folds == fold
            found[own] = attack.score(self.evidence(fold))[own]
        return found


def records(n: int, shift: float, seed: int = 0) -> Records:
    """Return n records, every second one a member, whose rescaled logit alone is higher by `shift`."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2 == 1
    signals = {
        LOSS: rng.normal(size=n) + shift * truth,
        RIGHT: (rng.random(n) < 0.7).astype(np.float64),
        TOP: rng.normal(size=(n, 3)),
        VECTOR: rng.normal(size=(n, 3)),
    }
    arrays = {EvidenceKey(Source.TARGET, name): values for name, values in signals.items()}
    return Records(arrays, rng.integers(0, 3, n), truth, np.arange(n) // 2 % FOLDS)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [trained(), trained(features="vector", per="class", folds=4)], ids=str)
def test_it_keeps_every_promise(attack: Attack) -> None:
    check_attack(attack)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_of_two_normal_distributions_it_finds_nearly_what_can_be_found(classifier: str) -> None:
    given = records(3000, 1.0)
    found = roc_auc_score(given.truth, given.scored(trained(classifier=classifier)))
    assert found == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.035)


def test_intervals_of_the_auc_hold_a_half_where_membership_is_chance() -> None:
    areas, covered = [], 0
    for seed in range(60):
        given = records(200, 0.0, seed)
        scores = given.scored(trained())
        found = auc(sort_scores(scores[given.truth], scores[~given.truth]))
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        areas.append(found.value)
        covered += found.low <= 0.5 <= found.high
    assert np.mean(areas) == pytest.approx(0.5, abs=0.015)
    assert covered >= 51  # fewer than that of 60 happen to .93 once in a hundred


def test_a_leak_that_differs_from_class_to_class_is_found_class_by_class() -> None:
    given = records(3000, 0.0)
    key = EvidenceKey(Source.TARGET, LOSS)
    signs = np.array([1.0, -1.0, 0.0])[given.labels]
    leaking = replace(given, arrays={**given.arrays, key: given.arrays[key] + signs * given.truth})
    own = given.labels < 2
    pooled, apart = (leaking.scored(trained(per=per)) for per in ("pooled", "class"))
    assert roc_auc_score(given.truth[own], pooled[own]) < 0.66
    assert roc_auc_score(given.truth[own], apart[own]) == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.035)


def test_that_classes_differ_in_their_share_of_members_is_no_leak_of_the_model() -> None:
    given = records(2000, 0.0)
    labels = np.where(np.arange(2000) % 3 == 0, given.labels, given.truth.astype(np.int64))
    scores = replace(given, labels=labels).scored(trained())
    assert roc_auc_score(given.truth, scores) == pytest.approx(0.5, abs=0.06)


def test_known_records_get_no_score_and_hidden_ones_have_no_say_in_each_other() -> None:
    given = records(300, 1.0)
    first = trained().score(given.evidence(0))
    told = told_of(given.folds, 0, FOLDS)
    assert (first[told] == 0.0).all()
    hidden = np.flatnonzero(~told)
    changed = {key: values.copy() for key, values in given.arrays.items()}
    for values in changed.values():
        values[hidden[::2]] = 1e3
    second = trained().score(replace(given, arrays=changed).evidence(0))
    np.testing.assert_allclose(second[hidden[1::2]], first[hidden[1::2]], rtol=1e-9)


def test_the_report_will_call_it_an_upper_bound() -> None:
    assert "upper bound" in TrainedAttack.knowledge


def test_known_records_of_one_side_alone_are_refused_in_one_line() -> None:
    given = records(50, 1.0)
    with pytest.raises(InputError, match=r"^trained: no class has known members and known non-members - give"):
        trained().score(replace(given, truth=np.ones(50, dtype=np.bool_)).evidence(0))
    with pytest.raises(InputError, match=r"^trained: no membership is known"):
        trained().score(replace(given.evidence(0), known=None))


@pytest.mark.parametrize(
    "options", [{"folds": 2}, {"folds": -1}, {"classifier": "tree"}, {"per": "fold"}, {"most_rows": 0}]
)
def test_bad_options_are_refused_in_one_line(options: dict[str, object]) -> None:
    with pytest.raises(AuditError, match=next(iter(options))) as refused:
        trained(**options)
    assert "\n" not in str(refused.value)
