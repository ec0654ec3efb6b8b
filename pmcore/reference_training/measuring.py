"""How well a model knows records: accuracy and mean training loss, the same for any batch of the clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pmcore.data import Progress
from pmcore.feed import Feed
from pmcore.gather import Batching, gather
from pmcore.interfaces import Model
from pmcore.signals import Loss

BATCH = 256
"""Records per query: fixed, since the last digits of some runtimes depend on it."""
DIGITS = 6
"""Digits of a loss that are kept: what lies below differs between machines."""


@dataclass(frozen=True)
class Knowledge:
    """How well a model knows some records.

    Parameters
    ----------
    loss : mean training loss
    accuracy : share that it predicts right, None for a regression
    """

    loss: float
    accuracy: float | None


def measure(model: Model, feeds: Iterable[Feed], progress: Progress | None = None) -> Knowledge | None:
    """Ask a model about records, and return how well it knows them; None if there are none.

    Raises
    ------
    ModelError
        It fails, or does not answer with numbers.
    """
    losses, right, records = [], 0, 0
    regression = False
    for feed in feeds:
        if not len(feed):
            continue
        gathered = gather(model, feed, {"loss": Loss()}, Batching(BATCH), progress)
        losses.append(gathered.signals["loss"])
        regression = gathered.correct is None
        right += gathered.correct or 0
        records += len(feed)
    if not records:
        return None
    loss = float(f"{np.concatenate(losses).mean():.{DIGITS}g}")
    return Knowledge(loss, None if regression else right / records)
