"""Seeded random projections of long vectors to short ones: what every backend and every signal shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Array, Floats

_PARAMETER, _ACTIVATION = 1, 2
"""What the seeds of the two kinds of sketches begin with."""


@dataclass(frozen=True)
class ParameterSketch:
    """How the gradient of one parameter is projected to `size` numbers.

    The parameter is taken for a matrix, its first axis the rows, all others together the columns. Entry (i, j)
    is added to number ``(row_bucket[i] + column_bucket[j]) % size`` with the sign ``row_sign[i] * column_sign[j]``.
    The sketch of an outer product is then the circular convolution of the count sketches of its two factors, so
    that the gradient of a large layer is never written out; inner products and norms are kept on average.

    Parameters
    ----------
    row_bucket, row_sign : (rows,) int64 in [0, size); int64 of -1 and 1
    column_bucket, column_sign : (columns,), likewise

    References
    ----------
    Pham, Pagh. Fast and Scalable Polynomial Kernels via Explicit Feature Maps. KDD 2013 (section 3, TensorSketch).
    """

    size: int
    row_bucket: NDArray[np.int64]
    row_sign: NDArray[np.int64]
    column_bucket: NDArray[np.int64]
    column_sign: NDArray[np.int64]

    def of_matrices(self, gradients: Array) -> Floats:
        """Return the sketches of gradients that are written out, (n, rows, columns) -> (n, size)."""
        signs = self.row_sign[:, None] * self.column_sign
        buckets = (self.row_bucket[:, None] + self.column_bucket) % self.size
        return _added(gradients.reshape(len(gradients), -1) * signs.reshape(-1), buckets.reshape(-1), self.size)

    def of_products(self, rows: Array, columns: Array) -> Floats:
        """Return the sketches of outer products, (n, rows) and (n, columns) -> (n, size)."""
        left = np.fft.rfft(_added(rows * self.row_sign, self.row_bucket, self.size))
        right = np.fft.rfft(_added(columns * self.column_sign, self.column_bucket, self.size))
        product: Floats = np.fft.irfft(left * right, n=self.size)
        return product


def parameter_sketch(shape: Sequence[int], size: int, position: int) -> ParameterSketch:
    """Return the sketch of a parameter: the same for its shape, the size and its position in its layer.

    Parameters
    ----------
    shape : of the parameter; () and (rows,) have one column
    size : numbers per sketch
    position : of the parameter among those of its layer, so that weight and bias do not share their signs
    """
    rows, columns = (shape[0] if shape else 1), prod(shape[1:])
    rng = np.random.default_rng(np.random.SeedSequence((_PARAMETER, rows, columns, size, position)))
    return ParameterSketch(size, *_hashes(rng, rows, size), *_hashes(rng, columns, size))


def activation_sketch(values: Array, size: int) -> Floats:
    """Return the count sketches of activations, (n, ...) -> (n, size); as they are where they are no longer.

    Every number is added to one of `size` with a sign, both drawn once for the number of them.

    References
    ----------
    Charikar, Chen, Farach-Colton. Finding Frequent Items in Data Streams. ICALP 2002 (count sketch).
    Weinberger, Dasgupta, Langford, Smola, Attenberg. Feature Hashing for Large Scale Multitask Learning.
    ICML 2009.
    """
    flat = values.reshape(len(values), prod(values.shape[1:])).astype(np.float64)
    length = flat.shape[1]
    if length <= size:
        return np.pad(flat, ((0, 0), (0, size - length)))
    rng = np.random.default_rng(np.random.SeedSequence((_ACTIVATION, length, size)))
    bucket, sign = _hashes(rng, length, size)
    return _added(flat * sign, bucket, size)


def _hashes(rng: np.random.Generator, length: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return rng.integers(0, size, size=length), 2 * rng.integers(0, 2, size=length) - 1


def _added(values: Array, bucket: NDArray[np.int64], size: int) -> Floats:
    """Return (n, size) sums of the columns of (n, d) that share a bucket, each record by itself."""
    result = np.zeros((len(values), size))
    order = np.argsort(bucket, kind="stable")
    filled, starts = np.unique(bucket[order], return_index=True)
    if len(filled):
        result[:, filled] = np.add.reduceat(values[:, order], starts, axis=1)
    return result
