"""The built-in signals against scipy, scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from pmcore.errors import AuditError
from pmcore.interfaces import Direction, Outputs, Scale, Signal, Task
from pmcore.outputs import Array, Floats
from pmcore.signals import (
    Confidence,
    Correctness,
    Entropy,
    Hinge,
    Loss,
    ModifiedEntropy,
    RescaledLogit,
)

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(scale=3.0, size=(50, 7))
LABELS = RNG.integers(0, 7, size=50)
ALL: tuple[Signal, ...] = (
    Loss(),
    Confidence(),
    RescaledLogit(),
    Hinge(),
    Entropy(),
    ModifiedEntropy(),
    Correctness(),
)
ROWS = np.arange(50)
P = softmax(LOGITS, axis=1)
P_TRUE = P[ROWS, LABELS]
OTHERS = np.where(np.arange(7) == LABELS[:, None], -np.inf, LOGITS)

TEXTBOOK: dict[type[Signal], Floats] = {
    Loss: -np.log(P_TRUE),
    Confidence: P_TRUE,
    RescaledLogit: np.log(P_TRUE / (1 - P_TRUE)),
    Hinge: LOGITS[ROWS, LABELS] - OTHERS.max(axis=1),
    Entropy: -(P * np.log(P)).sum(axis=1),
    ModifiedEntropy: -(1 - P_TRUE) * np.log(P_TRUE)
    - np.where(np.arange(7) == LABELS[:, None], 0.0, P * np.log(1 - P)).sum(axis=1),
    Correctness: (LOGITS.argmax(axis=1) == LABELS).astype(np.float64),
}


def multiclass(logits: Array, labels: Array, scale: Scale = Scale.LOGITS) -> Outputs:
    return Outputs(Task.MULTICLASS, scale, labels, logits)


@pytest.mark.parametrize("signal", ALL, ids=lambda signal: type(signal).__name__)
def test_signals_equal_the_textbook_formula_on_moderate_logits(signal: Signal) -> None:
    np.testing.assert_allclose(
        signal.compute(multiclass(LOGITS, LABELS)), TEXTBOOK[type(signal)], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("signal", ALL, ids=lambda signal: type(signal).__name__)
def test_signals_from_probabilities_equal_signals_from_logits(signal: Signal) -> None:
    from_logits = signal.compute(multiclass(LOGITS, LABELS))
    from_probabilities = signal.compute(multiclass(P, LABELS, Scale.PROBABILITIES))
    np.testing.assert_allclose(from_probabilities, from_logits, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("signal", ALL, ids=lambda signal: type(signal).__name__)
def test_a_signal_does_not_depend_on_the_company_of_a_record(signal: Signal) -> None:
    whole = signal.compute(multiclass(LOGITS, LABELS))
    parts = [slice(0, 1), slice(1, 9), slice(9, 50)]
    pieces = [signal.compute(multiclass(LOGITS[part], LABELS[part])) for part in parts]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))


@pytest.mark.parametrize("signal", ALL, ids=lambda signal: type(signal).__name__)
def test_the_declared_direction_tells_a_confident_right_answer_from_a_wrong_one(signal: Signal) -> None:
    labels = np.array([0, 1])
    values = signal.compute(multiclass(np.array([[9.0, 0.0, 0.0], [1.0, 0.9, 0.0]]), labels))
    right_minus_wrong = values[0] - values[1]
    assert right_minus_wrong > 0 if signal.direction is Direction.HIGHER else right_minus_wrong < 0


@pytest.mark.parametrize("signal", ALL, ids=lambda signal: type(signal).__name__)
@given(logits=arrays(np.float32, (4, 5), elements=st.floats(-1e4, 1e4, width=32)))
def test_signals_are_finite_for_any_finite_logits(signal: Signal, logits: Array) -> None:
    assert np.isfinite(signal.compute(multiclass(logits, np.array([0, 1, 2, 4])))).all()


@pytest.mark.parametrize("signal", ALL, ids=lambda signal: type(signal).__name__)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_signals_are_finite_for_saturated_probabilities(signal: Signal, dtype: type) -> None:
    p: Array = np.array([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]], dtype=dtype)
    outputs = multiclass(p, np.array([0, 1, 2]), Scale.PROBABILITIES)
    assert np.isfinite(signal.compute(outputs)).all()


def test_losses_of_very_confident_records_stay_apart() -> None:
    logits = np.array([[40.0, 0.0], [60.0, 0.0], [80.0, 0.0]])
    losses = Loss().compute(multiclass(logits, np.zeros(3, dtype=np.int64)))
    np.testing.assert_allclose(losses, np.exp([-40.0, -60.0, -80.0]), rtol=1e-12)


def test_the_rescaled_logit_does_not_saturate() -> None:
    logits = np.array([[500.0, 0.0, 0.0], [900.0, 0.0, 0.0]])
    phi = RescaledLogit().compute(multiclass(logits, np.zeros(2, dtype=np.int64)))
    np.testing.assert_allclose(phi, np.array([500.0, 900.0]) - np.log(2.0), rtol=1e-14)


def test_a_one_column_binary_model_equals_its_two_column_form() -> None:
    z = RNG.normal(size=(20, 1))
    labels = RNG.integers(0, 2, size=20)
    one = Outputs(Task.BINARY, Scale.LOGITS, labels, z)
    two = Outputs(Task.BINARY, Scale.LOGITS, labels, np.hstack([np.zeros_like(z), z]))
    for signal in ALL:
        np.testing.assert_array_equal(signal.compute(one), signal.compute(two))
    np.testing.assert_allclose(RescaledLogit().compute(one), np.where(labels == 1, z[:, 0], -z[:, 0]))


def test_a_one_column_binary_probability_is_that_of_class_one() -> None:
    p = np.array([[0.9], [0.2]])
    outputs = Outputs(Task.BINARY, Scale.PROBABILITIES, np.array([1, 1]), p)
    np.testing.assert_allclose(Confidence().compute(outputs), [0.9, 0.2], rtol=1e-12)


def test_the_multilabel_loss_is_the_sum_of_binary_cross_entropies() -> None:
    z = RNG.normal(size=(10, 3))
    labels = RNG.integers(0, 2, size=(10, 3))
    p = 1 / (1 + np.exp(-z))
    expected = [
        sum(log_loss([y], [q], labels=[0, 1]) for y, q in zip(row, probs, strict=True))
        for row, probs in zip(labels, p, strict=True)
    ]
    for scale, values in ((Scale.LOGITS, z), (Scale.PROBABILITIES, p)):
        outputs = Outputs(Task.MULTILABEL, scale, labels, values)
        np.testing.assert_allclose(Loss().compute(outputs), expected, rtol=1e-9)
    np.testing.assert_allclose(Confidence().compute(outputs), np.exp(-np.array(expected)), rtol=1e-9)
    np.testing.assert_allclose(
        Entropy().compute(outputs), -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(axis=1), rtol=1e-9
    )
    np.testing.assert_array_equal(
        Correctness().compute(outputs), ((p > 0.5) == (labels == 1)).all(axis=1).astype(float)
    )


def test_the_regression_loss_is_the_squared_error() -> None:
    outputs = Outputs(Task.REGRESSION, Scale.VALUES, np.array([1.0, 2.0]), np.array([[1.5], [0.0]]))
    np.testing.assert_allclose(Loss().compute(outputs), [0.25, 4.0])


def test_class_scores_of_a_regression_are_refused() -> None:
    outputs = Outputs(Task.REGRESSION, Scale.VALUES, np.array([1.0]), np.array([[1.5]]))
    with pytest.raises(AuditError, match="regression"):
        RescaledLogit().compute(outputs)


def test_float32_logits_are_widened_before_any_exponential() -> None:
    logits = RNG.normal(scale=30.0, size=(50, 7)).astype(np.float32)
    wide = multiclass(logits.astype(np.float64), LABELS)
    np.testing.assert_array_equal(Loss().compute(multiclass(logits, LABELS)), Loss().compute(wide))
    np.testing.assert_allclose(
        Loss().compute(wide), -log_softmax(logits.astype(np.float64), axis=1)[ROWS, LABELS], atol=1e-12
    )
