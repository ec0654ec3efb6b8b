"""The gradient of the loss at the predictions as directions of length one, which no float type rounds to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from pmcore.interfaces import Array, Floats, Outputs


@dataclass(frozen=True)
class Cotangents:
    """What is propagated back from the predictions of n records, and how long it is.

    A very confident record has a gradient of 1e-80 or less: float32 holds its direction, and the length is
    multiplied in float64 in the end.

    Parameters
    ----------
    directions : (n, k) of length one; 0 where there is no gradient at all
    lengths : (n,)
    """

    directions: Floats
    lengths: Floats

    @classmethod
    def of(cls, outputs: Outputs) -> Self:
        """Take the gradient of each record's loss with respect to its predictions."""
        return cls.along(outputs.loss_gradient)

    @classmethod
    def along(cls, gradient: Floats) -> Self:
        """Take gradients (n, k), whose squares may be less than float64 can tell from 0."""
        largest = np.abs(gradient).max(axis=1)
        scaled = gradient / np.where(largest > 0, largest, 1.0)[:, None]
        lengths = np.sqrt(np.square(scaled).sum(axis=1))
        return cls(scaled / np.where(lengths > 0, lengths, 1.0)[:, None], largest * lengths)

    def restored(self, reductions: Array) -> Floats:
        """Return norms or sketches (n, l) of what came of the directions, at their true length."""
        wide: Floats = reductions.astype(np.float64) * self.lengths[:, None]
        return wide
