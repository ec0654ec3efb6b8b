"""What is propagated back from predictions: the gradients of the losses of some records, as pmcore defines them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pmcore.heads import Ending
from pmcore.interfaces import Array, Floats, Outputs
from pmcore.reading import Reading
from pmcore_autograd.per_record import Cotangent


def cotangent_of(reading: Reading, labels: Array, path: Path) -> Cotangent:
    """Return what `PerRecord.reduce` asks for the gradients of losses at predictions.

    Parameters
    ----------
    reading : how the tensor that is differentiated is read
    labels : (n, ...) of all records
    path : of the model, for messages
    """

    def gradients(predictions: Array, rows: slice) -> Floats:
        scores = reading.scores(predictions, len(predictions), path)
        found = Outputs(reading.task, reading.scale, labels[rows], scores).loss_gradient
        if reading.ending is not Ending.COMPLEMENT:
            return found
        # One column of two is read, and only that one is differentiated.
        wide: Floats = np.zeros(predictions.shape)
        wide[:, -1:] = found
        return wide

    return gradients
