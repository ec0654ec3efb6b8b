"""Adaptive queries of an attack: the model's labels for records that it moves, counted against its budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import AuditError, OutOfMemory
from pmcore.feed import Feed
from pmcore.interfaces import Array, Inputs, LabelQueries, Model, Outputs

_BATCH = 4_096
"""Records that are asked about at a time, halved whenever memory runs out."""


class CountedQueries(LabelQueries):
    """Queries of one attack about the audited records.

    Parameters
    ----------
    model : open for as long as it is asked
    feeds : the audited roles
    order : (n,) the order in which the attack sees the records of all roles
    budget : queries allowed per record
    title : of the attack, for messages
    """

    def __init__(self, model: Model, feeds: Sequence[Feed], order: NDArray[np.intp], budget: int, title: str) -> None:
        self.budget = budget
        self._model = model
        self._feeds = feeds
        self._order = order
        self._title = title
        self._spent = np.zeros(len(order), dtype=np.int64)
        self._batch = _BATCH
        self._task = model.describe().task
        self._scale = model.describe().scale
        self._labels = np.concatenate([feed.records.labels for feed in feeds])[order]
        self.bounds = _bounds(feeds)

    @property
    def spent(self) -> NDArray[np.int64]:
        """Return how many queries each record has cost, shape (n,)."""
        return self._spent.copy()

    def inputs(self, records: NDArray[np.intp]) -> Inputs:
        """Return audited records as the model takes them; see `LabelQueries.inputs`."""
        asked = np.asarray(records, dtype=np.intp)
        distinct, which = np.unique(self._order[asked], return_inverse=True)
        start = 0
        pieces: list[Inputs] = []
        for feed in self._feeds:
            rows = distinct[(distinct >= start) & (distinct < start + len(feed))] - start
            if len(rows):
                pieces.append(feed.some(rows.astype(np.int64)))
            start += len(feed)
        return {name: np.concatenate([piece[name] for piece in pieces])[which] for name in self.bounds}

    def __call__(self, records: NDArray[np.intp], inputs: Inputs) -> Array:
        """Return labels, (b,) or (b, k); see `LabelQueries.__call__`."""
        asked = np.asarray(records, dtype=np.intp)
        np.add.at(self._spent, asked, 1)
        if self._spent.max(initial=0) > self.budget:
            raise AuditError(
                f"attack {self._title!r}: asks {self._spent.max()} times about a record, and declares {self.budget}; "
                "tell its authors"
            )
        answers: list[Array] = []
        start = 0
        while start < len(asked):
            stop = min(start + self._batch, len(asked))
            batch = {name: np.asarray(array)[start:stop] for name, array in inputs.items()}
            try:
                predictions = self._model.predict(batch)
            except OutOfMemory:
                if self._batch == 1:
                    raise
                self._batch //= 2
                continue
            labels = self._labels[asked[start:stop]]
            answers.append(Outputs(self._task, self._scale, labels, predictions).predicted)
            start = stop
        return np.concatenate(answers) if answers else np.empty(0, dtype=np.int64)


def _bounds(feeds: Sequence[Feed]) -> dict[str, tuple[float, float]]:
    """Return the least and the largest value of each input over all audited records."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for feed in feeds:
        for start in range(0, len(feed), _BATCH):
            inputs, _ = feed.batch(start, min(start + _BATCH, len(feed)))
            for name, array in inputs.items():
                low[name] = min(low.get(name, np.inf), float(array.min()))
                high[name] = max(high.get(name, -np.inf), float(array.max()))
    return {name: (low[name], high[name]) for name in low}
