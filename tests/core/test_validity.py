"""Whether an audit is valid: each check at both sides of the line that it draws, and the words that it finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from pmcore.interfaces import Task
from pmcore.outputs import Array
from pmcore.schema import Figure
from pmcore.validity import (
    Fit,
    check_accuracy,
    check_classes,
    check_duplicates,
    check_orientation,
    check_overlap,
    check_resolution,
    guess_level,
)

STEPS = "/255: preprocessor_config.json"


def fit(correct: int, n: int = 1000, guess: float = 0.25, one_class: bool = False) -> Fit:
    return Fit(n=n, correct=correct, guess=guess, one_class=one_class)


def regression(members: float, nonmembers: float) -> Fit:
    return Fit(n=40, correct=None, guess=0.0, r_squared=nonmembers, r_squared_members=members)


def area(value: float, low: float, high: float) -> Figure:
    return Figure(value=value, low=low, high=high, n_members=100, n_nonmembers=100, method="")


@pytest.mark.parametrize("end", ["low", "high"])
def test_the_expected_accuracy_must_lie_in_the_99_percent_interval(end: str) -> None:
    known = binomtest(900, 1000).proportion_ci(0.99, method="exact")
    outward = {"low": (known.low, -1e-6), "high": (known.high, 1e-6)}
    edge, step = outward[end]
    assert check_accuracy(fit(900), edge - step, STEPS).verdict == "ok"
    beyond = check_accuracy(fit(900), edge + step, STEPS)
    assert beyond.verdict == "invalid"
    assert f"accuracy on 1 000 non-members 90.0 % [{100 * known.low:.1f} %, {100 * known.high:.1f} %]" in beyond.text
    assert "preprocessed" in beyond.text
    assert STEPS in beyond.text


def test_an_expected_accuracy_settles_what_guessing_and_one_class_would_not() -> None:
    assert check_accuracy(fit(250), 0.25, STEPS).verdict == "ok"
    assert check_accuracy(fit(900, one_class=True), 0.9, STEPS).verdict == "ok"


def test_an_accuracy_above_guessing_by_chance_only_is_not_told_from_guessing() -> None:
    """30 of 100 is more than a quarter, and so is 300 of 1000; only the latter surely."""
    assert binomtest(30, 100).proportion_ci(0.95, method="exact").low < 0.25
    assert binomtest(300, 1000).proportion_ci(0.95, method="exact").low > 0.25
    unsure = check_accuracy(fit(30, n=100), None, STEPS)
    assert unsure.verdict == "invalid"
    assert "cannot be told from what guessing gives (25.0 %)" in unsure.text
    assert STEPS in unsure.text
    assert "--expected-accuracy" in unsure.text
    sure = check_accuracy(fit(300), None, STEPS)
    assert sure.verdict == "ok"
    assert "not compared" in sure.text


def test_an_accuracy_below_guessing_is_invalid() -> None:
    assert check_accuracy(fit(10), None, STEPS).verdict == "invalid"


def test_an_accuracy_on_one_class_tells_nothing() -> None:
    found = check_accuracy(fit(1000, guess=0.1, one_class=True), None, STEPS)
    assert found.verdict == "invalid"
    assert "all 1 000 non-members are of one class" in found.text
    assert "--expected-accuracy" in found.text


@pytest.mark.parametrize(
    ("members", "nonmembers", "verdict", "words"),
    [
        (0.99, 0.01, "ok", "R squared on members 0.990, on 40 non-members 0.010"),
        (0.99, -0.01, "warning", "same kind as the members"),
        (0.99, 0.0, "warning", "same kind as the members"),
        (-0.2, -0.5, "invalid", f"scaled as in training ({STEPS})"),
        (0.0, 0.0, "invalid", f"scaled as in training ({STEPS})"),
    ],
)
def test_a_regression_is_judged_by_members_and_non_members(
    members: float, nonmembers: float, verdict: str, words: str
) -> None:
    found = check_accuracy(regression(members, nonmembers), None, STEPS)
    assert found.verdict == verdict
    assert words in found.text


def test_guessing_agrees_as_often_as_chance_in_cohens_kappa() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.choice(4, 500, p=[0.6, 0.2, 0.15, 0.05]), rng.choice(4, 500, p=[0.3, 0.3, 0.3, 0.1])
    observed, kappa = float(np.mean(labels == predicted)), cohen_kappa_score(labels, predicted)
    expected = (observed - kappa) / (1 - kappa)
    found = guess_level(Task.MULTICLASS, labels, np.bincount(predicted, minlength=4))
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "predicted_counts", "expected"),
    [
        (np.repeat([0, 1, 2, 3], 25), np.array([70, 10, 10, 10]), 0.25),
        (np.repeat([0, 1], [90, 10]), np.array([100, 0]), 0.9),
        (np.repeat([0, 1], [90, 10]), np.array([0, 100]), 0.1),
        (np.repeat([0, 1], [90, 10]), np.array([90, 10]), 0.82),
        (np.zeros(10, dtype=np.int64), np.array([0, 10, 0]), 0.0),
    ],
)
def test_guessing_has_the_models_own_frequencies(labels: Array, predicted_counts: Array, expected: float) -> None:
    assert guess_level(Task.MULTICLASS, labels, predicted_counts) == pytest.approx(expected, abs=1e-12)


def test_a_model_that_always_names_the_majority_is_told_from_nothing() -> None:
    labels = np.repeat([0, 1], [900, 100])
    guess = guess_level(Task.BINARY, labels, np.array([1000, 0]))
    assert check_accuracy(fit(900, guess=guess), None, STEPS).verdict == "invalid"


def test_guessing_for_several_labels_names_the_commonest_set() -> None:
    labels = np.array([[0, 1], [0, 1], [0, 1], [1, 1], [0, 0]])
    assert guess_level(Task.MULTILABEL, labels, None) == pytest.approx(0.6)


def test_records_in_two_roles_are_counted_by_pair() -> None:
    counts = {"members & nonmembers": 5, "members & population": 0, "nonmembers & population": 2}
    found = check_overlap(counts, {})
    assert found.verdict == "invalid"
    assert "5 in members & nonmembers, 2 in nonmembers & population" in found.text
    assert "members & population: 0" not in found.text
    assert "--drop-overlap" in found.text


def test_dropped_records_are_counted_by_role_and_warned_of() -> None:
    found = check_overlap({"members & nonmembers": 5}, {"nonmembers": 5})
    assert found.verdict == "warning"
    assert found.text == "records in two roles: 5 in members & nonmembers; dropped 5 from nonmembers"


def test_no_shared_record_is_fine() -> None:
    assert check_overlap({"members & nonmembers": 0}, {}).verdict == "ok"


def test_repeated_records_are_warned_of_above_one_in_twenty() -> None:
    records = {"members": 100, "nonmembers": 200}
    assert check_duplicates({"members": 5, "nonmembers": 10}, records).verdict == "ok"
    found = check_duplicates({"members": 6, "nonmembers": 10}, records)
    assert found.verdict == "warning"
    assert "94 distinct among 100 members" in found.text
    assert "nonmembers" not in found.text
    both = check_duplicates({"members": 6, "nonmembers": 150}, records).text
    assert "94 distinct among 100 members, 50 distinct among 200 nonmembers" in both


def test_an_auc_is_called_below_one_half_only_beyond_its_interval() -> None:
    unsure = {"chance": area(0.45, 0.40, 0.52), "good": area(0.7, 0.6, 0.8)}
    assert check_orientation(unsure).verdict == "ok"
    found = check_orientation({**unsure, "swapped": area(0.40, 0.35, 0.49), "inverted": area(0.1, 0.05, 0.2)})
    assert found.verdict == "warning"
    assert found.text.startswith("swapped, inverted: AUC below one half")
    for name in unsure:
        assert name not in found.text


@pytest.mark.parametrize(
    ("n_nonmembers", "text"),
    [
        (5, "10.0 % needs 10 non-members; 1.0 % needs 100 non-members; 0.1 % needs 1 000 non-members"),
        (99, "down to 10.0 % false positives, weakly; 1.0 % needs 100 non-members; 0.1 % needs 1 000 non-members"),
        (100, "down to 1.0 % false positives, weakly; 0.1 % needs 1 000 non-members"),
        (1000, "down to 0.1 % false positives, weakly"),
        (9999, "down to 0.1 % false positives, weakly"),
        (10_000, "down to 0.1 % false positives"),
    ],
)
def test_the_rates_that_so_many_non_members_resolve_are_said(n_nonmembers: int, text: str) -> None:
    found = check_resolution(n_nonmembers, (0.1, 0.01, 0.001))
    assert found.verdict == "ok"
    assert found.text == text


def test_classes_that_differ_between_the_sides_are_warned_of_where_attacks_learn_from_labels() -> None:
    rng = np.random.default_rng(0)
    alike = [check_classes(rng.integers(0, 5, 300), rng.integers(0, 5, 200), ("nasr",)).verdict for _ in range(300)]
    assert alike.count("warning") <= 9  # one in a hundred is expected
    members, others = rng.choice(3, 300, p=[0.5, 0.25, 0.25]), rng.choice(3, 300, p=[0.25, 0.25, 0.5])
    found = check_classes(members, others, ("nasr",))
    assert found.verdict == "warning"
    assert "nasr can tell them by the label" in found.text


def test_classes_with_few_records_are_counted_together() -> None:
    members, others = np.arange(40), np.arange(40, 80)
    assert check_classes(members, others, ("nasr",)).verdict == "ok"
