"""Directions and lengths of gradients, and gradients of dense layers in two factors, against ones written out."""

from __future__ import annotations

import numpy as np
import pytest

from pmcore.cotangents import Cotangents
from pmcore.dense_gradients import DenseGradient, reduced
from pmcore.interfaces import Floats, GradientRequest, Outputs, Scale, Task
from pmcore.sketches import parameter_sketch

N, SIZE = 6, 5
RNG = np.random.default_rng(0)
ENTERING, ERRORS = RNG.normal(size=(N, 4)), RNG.normal(size=(N, 3))
ONES = Cotangents(np.ones((N, 3)), np.ones(N))


def written_out(layer: DenseGradient) -> list[Floats]:
    """Return the gradients of weight and bias, as the layer keeps them."""
    weight = layer.inputs[:, :, None] * layer.errors[:, None, :]
    return [weight.transpose(0, 2, 1) if layer.transposed else weight, *([layer.errors] if layer.bias else [])]


def sketched(parts: list[Floats]) -> Floats:
    total = np.zeros((N, SIZE))
    for position, part in enumerate(parts):
        matrices = part if part.ndim == 3 else part[:, :, None]
        total += parameter_sketch(part.shape[1:], SIZE, position).of_matrices(matrices)
    return total


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_factors_give_what_gradients_that_are_written_out_give(bias: bool, transposed: bool) -> None:
    layer = DenseGradient(ENTERING, ERRORS, bias, transposed)
    parts = written_out(layer)
    flat = np.hstack([part.reshape(N, -1) for part in parts])
    for order in (1.0, 2.0, np.inf):
        np.testing.assert_allclose(layer.norms(order), np.linalg.norm(flat, order, axis=1), rtol=1e-12)
    np.testing.assert_allclose(layer.sketches(SIZE), sketched(parts), atol=1e-12)


def test_all_layers_together_are_one_layer_with_all_parameters() -> None:
    layers = {"a": DenseGradient(RNG.normal(size=(N, 2)), ENTERING, bias=False), "b": DenseGradient(ENTERING, ERRORS)}
    parts = [part for layer in layers.values() for part in written_out(layer)]
    norm, sketch = GradientRequest(order=1.0), GradientRequest(reduction="sketch", size=SIZE)
    found = reduced(layers, [norm, sketch], ONES)
    expected = np.hstack([part.reshape(N, -1) for part in parts])
    np.testing.assert_allclose(found[norm], np.abs(expected).sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(found[sketch], sketched(parts), atol=1e-12)


def test_layers_come_in_the_order_of_the_request_and_one_without_parameters_is_nothing() -> None:
    layers = {"a": DenseGradient(RNG.normal(size=(N, 2)), ENTERING), "b": DenseGradient(ENTERING, ERRORS)}
    names = ("b", "relu", "a")
    norm, sketch = GradientRequest(names), GradientRequest(names, reduction="sketch", size=SIZE)
    found = reduced(layers, [norm, sketch], ONES)
    expected = [layers["b"].norms(2.0), np.zeros(N), layers["a"].norms(2.0)]
    np.testing.assert_array_equal(found[norm], np.stack(expected, axis=1))
    parts = np.split(found[sketch], 3, axis=1)
    np.testing.assert_array_equal(parts[0], layers["b"].sketches(SIZE))
    np.testing.assert_array_equal(parts[1], 0.0)
    np.testing.assert_array_equal(parts[2], layers["a"].sketches(SIZE))


def test_directions_have_length_one_and_lengths_are_those_of_the_gradient() -> None:
    gradient = RNG.normal(size=(N, 3)) * np.array([1.0, 1e-200, 1e-300, 1e100, 0.0, 1e-5])[:, None]
    found = Cotangents.along(gradient)
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), [1, 1, 1, 1, 0, 1], rtol=1e-12)
    np.testing.assert_allclose(found.restored(found.directions), gradient, rtol=1e-12)


def test_float32_keeps_apart_what_is_too_small_for_it() -> None:
    logits = np.array([[0.0, 300.0], [0.0, 301.0], [0.0, 300.0]])
    cotangents = Cotangents.of(Outputs(Task.MULTICLASS, Scale.LOGITS, np.array([1, 1, 0]), logits))
    norms = np.linalg.norm(cotangents.directions.astype(np.float32), axis=1)[:, None]
    expected = np.sqrt(2) * np.array([np.exp(-300.0), np.exp(-301.0), 1.0])
    np.testing.assert_allclose(cotangents.restored(norms)[:, 0], expected, rtol=1e-6)


def test_what_is_not_finite_stays_with_its_record() -> None:
    found = Cotangents.along(np.array([[np.nan, 1.0], [3.0, 4.0]]))
    np.testing.assert_allclose(found.lengths, [np.nan, 5.0])
    np.testing.assert_allclose(found.directions[1], [0.6, 0.8])
