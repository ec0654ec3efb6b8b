"""The gradient attack against its formula, against the population attack, and on leaks of a known size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pmcore.errors import InputError
from pmcore.evidence import Evidence, EvidenceKey, Needs, Source
from pmcore.interfaces import Attack
from pmcore.options import build, parse_spec
from pmcore.outputs import Array, Floats
from pmcore.testing import check_attack
from pmcore.whitebox_signals import GradientNorm
from pmcore_gradient import GradientAttack
from pmcore_population import PopulationAttack

NORM = "gradient_norm"
EVERY = "gradient_norm:layers=[*]"


def evidence(
    signal: str,
    audited: Floats,
    population: Floats,
    references: Mapping[Source, Floats] | None = None,
    labels: Array | None = None,
    population_labels: Array | None = None,
) -> Evidence:
    arrays = {Source.TARGET: audited, Source.POPULATION: population, **(references or {})}
    zeros = [np.zeros(len(values), dtype=np.int64) for values in (audited, population)]
    return Evidence(
        arrays={EvidenceKey(source, signal): values for source, values in arrays.items()},
        labels=zeros[0] if labels is None else labels,
        population_labels=zeros[1] if population_labels is None else population_labels,
        lower_is_member={signal: True},
        classes=2,
    )


def planted(n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Return norms of n members (their logarithms lie 1 lower) and n non-members, and of n population records."""
    rng = np.random.default_rng(seed)
    return np.exp(np.concatenate([rng.normal(-1.0, 1.0, n), rng.normal(size=n)])), np.exp(rng.normal(size=n))


@pytest.mark.parametrize(
    "attack", [GradientAttack(calibrate="references"), GradientAttack(("*",), order=1, calibrate="references")]
)
def test_it_keeps_every_promise_with_reference_models(attack: Attack) -> None:
    check_attack(attack)


def test_p_values_over_all_parameters_are_those_of_the_population_attack() -> None:
    norms, population = planted(200)
    given = evidence(NORM, norms, population)
    found, expected = GradientAttack(), PopulationAttack(signal=NORM)
    np.testing.assert_array_equal(found.p_values(given).values, expected.p_values(given).values)
    np.testing.assert_array_equal(found.p_values(given).smallest, expected.p_values(given).smallest)


def test_the_roc_over_all_parameters_is_that_of_the_norm() -> None:
    norms, population = planted(500)
    truth = np.repeat([1, 0], 500)
    scores = GradientAttack().score(evidence(NORM, norms, population))
    assert roc_auc_score(truth, scores) == pytest.approx(roc_auc_score(truth, -norms), abs=1e-12)
    assert roc_auc_score(truth, scores) == pytest.approx(0.7602, abs=0.03)


def test_layers_are_combined_by_the_geometric_mean() -> None:
    norms, population = np.array([[1.0, 100.0], [4.0, 4.0], [20.0, 20.0]]), np.array([[9.0, 1.0], [64.0, 1.0]])
    p = GradientAttack(("*",)).p_values(evidence(EVERY, norms, population)).values
    np.testing.assert_allclose(p, [3 / 3, 2 / 3, 3 / 3])  # geometric means 10, 4 and 20 among 3 and 8
    assert GradientAttack(("*",)).score(evidence(EVERY, norms, population)).argsort().tolist() == [2, 0, 1]


def test_the_unit_of_a_layer_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    norms, population = np.exp(rng.normal(size=(100, 3))), np.exp(rng.normal(size=(70, 3)))
    units = np.array([1e-9, 1.0, 1e12])
    attack = GradientAttack(("*",))
    before = attack.p_values(evidence(EVERY, norms, population)).values
    np.testing.assert_array_equal(attack.p_values(evidence(EVERY, norms * units, population * units)).values, before)


def test_no_gradient_at_all_is_the_strongest_evidence_and_finite() -> None:
    norms, population = np.array([0.0, 1e-300, 1.0]), np.array([1e-310, 1.0])
    scores = GradientAttack().score(evidence(NORM, norms, population))
    assert np.isfinite(scores).all()
    assert scores.argsort().tolist() == [2, 1, 0]
    layers = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    scores = GradientAttack(("*",)).score(evidence(EVERY, layers, layers))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) < 0).all()


def test_references_take_off_what_every_model_finds_easy() -> None:
    """Records differ much in difficulty, which references see too: calibrated, the AUC is that of the leak alone."""
    rng = np.random.default_rng(2)
    n, r = 2000, 400
    difficulty, leak = rng.normal(scale=5.0, size=2 * n), np.repeat([-1.0, 0.0], n)
    of_population = rng.normal(scale=5.0, size=n)
    noise = rng.normal(size=(3 * n, 1))
    given = evidence(
        NORM,
        np.exp(difficulty + leak + noise[: 2 * n, 0]),
        np.exp(of_population + noise[2 * n :, 0]),
        {
            Source.REFERENCES: np.exp(difficulty + rng.normal(size=(r, 2 * n))),
            Source.POPULATION_REFERENCES: np.exp(of_population + rng.normal(size=(r, n))),
        },
    )
    truth = np.repeat([1, 0], n)
    assert roc_auc_score(truth, GradientAttack().score(given)) < 0.6
    calibrated = GradientAttack(calibrate="references")
    assert roc_auc_score(truth, calibrated.score(given)) == pytest.approx(0.7602, abs=0.02)
    p = calibrated.p_values(given).values[n:]
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_differences_to_references_are_taken_layer_by_layer() -> None:
    rng = np.random.default_rng(3)
    norms, population = np.exp(rng.normal(size=(20, 2))), np.exp(rng.normal(size=(30, 2)))
    references = {
        Source.REFERENCES: np.exp(rng.normal(size=(4, 20, 2))),
        Source.POPULATION_REFERENCES: np.exp(rng.normal(size=(4, 30, 2))),
    }
    given = evidence(EVERY, norms, population, references)
    audited = np.log(norms).mean(axis=1) - np.log(references[Source.REFERENCES]).mean(axis=(0, 2))
    known = np.log(population).mean(axis=1) - np.log(references[Source.POPULATION_REFERENCES]).mean(axis=(0, 2))
    expected = [(1 + np.sum(known <= value)) / 31 for value in audited]
    found = GradientAttack(("*",), calibrate="references").p_values(given).values
    np.testing.assert_allclose(found, expected)


def test_per_class_calibrates_each_class_by_itself() -> None:
    norms, population = planted(2000)
    labels, of_population = np.arange(4000) % 2, np.arange(2000) % 2
    harder = np.exp(10.0 * labels)
    given = evidence(NORM, norms * harder, population * np.exp(10.0 * of_population), None, labels, of_population)
    truth = np.repeat([1, 0], 2000)
    assert roc_auc_score(truth, GradientAttack().score(given)) < 0.66
    assert roc_auc_score(truth, GradientAttack(per_class=True).score(given)) == pytest.approx(0.7602, abs=0.02)


def test_without_a_leak_no_level_is_passed_more_often_than_it_says() -> None:
    rng = np.random.default_rng(4)
    levels = np.array([0.05, 0.1, 0.5])
    shares = np.zeros((300, 3))
    for draw in shares:
        norms, population = np.exp(rng.normal(size=(50, 3))), np.exp(rng.normal(size=(99, 3)))
        p = GradientAttack(("*",)).p_values(evidence(EVERY, norms, population)).values
        draw[:] = (p[:, None] <= levels).mean(axis=0)
    assert (shares.mean(axis=0) <= levels + 4 * shares.std(axis=0) / np.sqrt(300)).all()


@pytest.mark.parametrize(
    ("attack", "signal"),
    [
        (GradientAttack(), GradientNorm()),
        (GradientAttack(("*",)), GradientNorm(("*",))),
        (
            GradientAttack(("3", "-1", "/features/fc.0/Gemm"), order=1),
            GradientNorm(("3", "-1", "/features/fc.0/Gemm"), 1),
        ),
        (GradientAttack(order=float("inf")), GradientNorm(order=float("inf"))),
    ],
)
def test_what_it_declares_makes_the_signal_that_is_meant(attack: GradientAttack, signal: GradientNorm) -> None:
    (text,) = attack.needs.target
    name, options = parse_spec(text)
    assert name == NORM
    assert build(GradientNorm, options, "signal") == signal
    assert attack.needs == Needs(target=(text,), population=(text,))


def test_references_are_declared_on_both_sides() -> None:
    names = (NORM,)
    expected = Needs(target=names, population=names, references=names, population_references=names, min_references=1)
    assert GradientAttack(calibrate="references").needs == expected


def test_the_closed_form_of_the_last_layer_stands_in_where_gradients_cannot_be_had() -> None:
    attack = GradientAttack(per_class=True, alpha=0.05)
    expected = GradientAttack(signal="last_layer_gradient_norm", per_class=True, alpha=0.05)
    assert attack.fallback == expected
    assert expected.needs.target == ("last_layer_gradient_norm",)


@pytest.mark.parametrize(
    "attack",
    [
        GradientAttack(("*",)),
        GradientAttack(order=1),
        GradientAttack(calibrate="references"),
        GradientAttack(signal="last_layer_gradient_norm"),
    ],
)
def test_nothing_stands_in_for_what_the_closed_form_does_not_measure(attack: GradientAttack) -> None:
    assert attack.fallback is None


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"order": 3}, "order"),
        ({"alpha": 0}, "alpha"),
        ({"signal": "loss"}, "signal"),
        ({"signal": "last_layer_gradient_norm", "layers": "fc"}, "layers"),
        ({"signal": "last_layer_gradient_norm", "order": 1}, "order"),
        ({"layers": ["a,b"]}, "layers"),
        ({"layers": [""]}, "layers"),
    ],
)
def test_options_without_a_meaning_are_refused_by_name(options: dict[str, object], names: str) -> None:
    with pytest.raises(InputError, match=names):
        build(GradientAttack, options, "attack 'gradient'")


def test_per_class_without_classes_is_refused() -> None:
    given = evidence(NORM, np.ones(4), np.ones(4), None, np.zeros((4, 3)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="gradient: per_class"):
        GradientAttack(per_class=True).score(given)
