"""What records hold, as a few columns of numbers: as it is where that suffices, else a seeded random projection."""

from __future__ import annotations

import numpy as np

from pmcore.feed import Feed
from pmcore.interfaces import Floats, Inputs

_BATCH = 1_024
_SEED = 0x5EED
"""Of the projection: the same for every role, model and audit."""


def features_of(feed: Feed, columns: int) -> Floats:
    """Return what the records of a role hold as the model takes them, shape (n, d), d at most `columns`."""
    width = _flat(feed.batch(0, 1)[0]).shape[1]
    directions = None
    if width > columns:
        directions = np.random.default_rng(_SEED).normal(size=(width, columns)) / np.sqrt(width)
    pieces = []
    for start in range(0, len(feed), _BATCH):
        rows = _flat(feed.batch(start, min(start + _BATCH, len(feed)))[0])
        # Record by record: a product of matrices may add in another order for another number of rows.
        pieces.append(rows if directions is None else np.stack([row @ directions for row in rows]))
    return np.concatenate(pieces)


def _flat(inputs: Inputs) -> Floats:
    """Return all inputs side by side, (b, d); whole numbers as they are."""
    return np.hstack([inputs[name].reshape(len(inputs[name]), -1).astype(np.float64) for name in sorted(inputs)])
