"""Random numbers of records: those of the published generator, spread as they should be, and nobody else's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from pmcore.draws import chances, derived, gaussians, keys_of, uniforms

SEEDED_1234567 = (6457827717110365317, 3203168211198807973, 9817491932198370423)
"""What splitmix64 gives first from the seed 1234567, as its reference implementation prints it."""


def keys(count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    return np.random.default_rng(seed).integers(2**64, size=count, dtype=np.uint64)


def test_the_generator_is_splitmix64() -> None:
    words = [word >> shift & 0xFFFF for word in SEEDED_1234567 for shift in (0, 16, 32, 48)]
    found = uniforms(np.array([1234567], dtype=np.uint64), 12)
    np.testing.assert_array_equal(found[0], (np.array(words, dtype=np.float32) + 0.5) / 65536)


def test_numbers_are_spread_as_they_should_be() -> None:
    started = keys(2_000)
    assert kstest(gaussians(started, 50).ravel(), "norm").pvalue > 1e-3
    assert kstest(uniforms(started, 50).ravel(), "uniform").pvalue > 1e-3
    assert gaussians(started, 50).std() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("share", [0.0005, 0.02, 0.5, 0.99])
def test_events_happen_as_often_as_they_should(share: float) -> None:
    found = chances(keys(2_000), 501, share)
    assert found.shape == (2_000, 501)
    assert found.mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / found.size))


def test_numbers_of_one_record_do_not_tell_those_of_another_or_of_another_draw() -> None:
    digests = np.stack([keys(300, 1), keys(300, 2)], axis=1)
    first, second = (gaussians(keys_of(digests, draw), 400) for draw in (0, 1))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    between = np.corrcoef(first) - np.eye(300)
    assert np.abs(between).max() < 0.3
    assert between.std() == pytest.approx(1 / np.sqrt(400), rel=0.1)


def test_both_halves_of_a_digest_count() -> None:
    digests = np.array([[1, 2], [1, 3], [4, 2], [2, 1]], dtype=np.uint64)
    assert len(set(keys_of(digests, 0).tolist())) == 4


def test_neighbouring_numbers_lead_to_different_keys() -> None:
    grid = derived(np.arange(100, dtype=np.uint64)[:, None], np.arange(100, dtype=np.uint64))
    assert len(np.unique(grid)) == 10_000
