"""Sketches: linear, short, the same however the gradient is held, and true on average."""

from __future__ import annotations

import numpy as np
import pytest

from pmcore.sketches import activation_sketch, parameter_sketch


def test_the_sketch_of_an_outer_product_is_that_of_the_matrix_written_out() -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.normal(size=(6, 9)), rng.normal(size=(6, 11))
    sketch = parameter_sketch((9, 11), 16, 0)
    written_out = rows[:, :, None] * columns[:, None, :]
    np.testing.assert_allclose(sketch.of_products(rows, columns), sketch.of_matrices(written_out), atol=1e-12)


def test_every_entry_goes_to_its_bucket_with_its_sign() -> None:
    sketch = parameter_sketch((3, 2, 2), 8, 1)
    for i in range(3):
        for j in range(4):
            gradient = np.zeros((1, 3, 4))
            gradient[0, i, j] = 2.5
            expected = np.zeros(8)
            place = (sketch.row_bucket[i] + sketch.column_bucket[j]) % 8
            expected[place] = 2.5 * sketch.row_sign[i] * sketch.column_sign[j]
            np.testing.assert_array_equal(sketch.of_matrices(gradient)[0], expected)


def test_squared_norms_are_kept_on_average() -> None:
    gradient = np.random.default_rng(1).normal(size=(1, 20, 30))
    squares = [float((parameter_sketch((20, 30), 32, k).of_matrices(gradient) ** 2).sum()) for k in range(400)]
    exact = float((gradient**2).sum())
    error = np.std(squares) / np.sqrt(len(squares))
    assert abs(np.mean(squares) - exact) < 4 * error


@pytest.mark.parametrize("shape", [(), (5,), (5, 3), (4, 3, 2, 2)])
def test_any_shape_has_a_sketch_and_it_is_the_same_each_time(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).normal(size=(3, *(shape or (1,))))
    flat = values.reshape(3, shape[0] if shape else 1, -1)
    first, second = (parameter_sketch(shape, 6, 0).of_matrices(flat) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (3, 6)


def test_weight_and_bias_of_a_layer_have_signs_of_their_own() -> None:
    assert not np.array_equal(parameter_sketch((40,), 8, 0).row_sign, parameter_sketch((40,), 8, 1).row_sign)


def test_short_activations_stay_as_they_are_and_long_ones_are_projected() -> None:
    rng = np.random.default_rng(3)
    short, long = rng.normal(size=(4, 3)), rng.normal(size=(4, 5, 40))
    np.testing.assert_array_equal(activation_sketch(short, 6), np.hstack([short, np.zeros((4, 3))]))
    projected = activation_sketch(long, 16)
    assert projected.shape == (4, 16)
    np.testing.assert_allclose(activation_sketch(2 * long[:2], 16), 2 * projected[:2], rtol=1e-12)


def test_a_record_has_the_same_sketch_alone_and_in_a_batch() -> None:
    long = np.random.default_rng(4).normal(size=(7, 300)).astype(np.float32)
    together = activation_sketch(long, 16)
    for i in range(7):
        np.testing.assert_array_equal(activation_sketch(long[i : i + 1], 16)[0], together[i])
