"""Random numbers that belong to a record: made of its digest and a number, not drawn one after another.

What a record gets depends neither on its batch, nor on its place, nor on which other records there are.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Keys = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_LEVELS = 2**16


def keys_of(digests: Keys, number: int) -> Keys:
    """Return one key per record for one draw, (b,).

    Parameters
    ----------
    digests : (b, 2)
    """
    return derived(derived(digests[:, 0], digests[:, 1]), np.array([number], dtype=np.uint64))


def derived(keys: Keys, numbers: Keys) -> Keys:
    """Return keys that depend on both, of the shape that they are broadcast to."""
    return mixed(keys ^ mixed(numbers))


def gaussians(keys: Keys, count: int) -> NDArray[np.float32]:
    """Return standard Gaussian numbers, (..., count): one of 65 536 equally likely levels each, of up to 4.3 sigma."""
    places = _bits(keys, -(-count // 4)).view("<u2")[..., :count]
    return np.take(_quantiles(), places)


def chances(keys: Keys, count: int, share: float) -> NDArray[np.bool_]:
    """Return events of which each happens with the chance `share`, (..., count)."""
    places = _bits(keys, -(-count // 2)).view("<u4")[..., :count]
    events: NDArray[np.bool_] = places < np.float64(share * 2.0**32)
    return events


def uniforms(keys: Keys, count: int) -> NDArray[np.float32]:
    """Return numbers spread evenly over (0, 1), (..., count), in steps of 2**-16."""
    places = _bits(keys, -(-count // 4)).view("<u2")[..., :count]
    return (places.astype(np.float32) + np.float32(0.5)) / np.float32(_LEVELS)


def mixed(keys: Keys) -> Keys:
    """Return splitmix64 of each key: a bijection whose output looks random (Steele, Lea, Flood 2014)."""
    bits = keys + _STEP
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits ^= bits >> np.uint64(shift)
        bits *= np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return bits


def _bits(keys: Keys, words: int) -> Keys:
    """Return the first words of the sequence that splitmix64 starts from each key, (..., words), low byte first."""
    return mixed(keys[..., None] + _STEP * np.arange(words, dtype=np.uint64)).astype("<u8", copy=False)


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float32]:
    """Return the middles of equally likely slices of a Gaussian, scaled to a variance of exactly 1; shape (65536,).

    Looked up, a number costs a tenth of what the quantile function costs, and is the same on every processor.
    """
    levels = ndtri((np.arange(_LEVELS) + 0.5) / _LEVELS)
    table: NDArray[np.float32] = (levels / levels.std()).astype(np.float32)
    table.flags.writeable = False
    return table
