"""Records on their way to the model: bound to its inputs, preprocessed, in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Records
from pmcore.discovery import Discovery
from pmcore.interfaces import Array, Inputs
from pmcore.queries import InputFacts, Query

SAMPLE = 32
"""Records that the model sees before the first query, to settle what only data can tell."""


@dataclass(frozen=True)
class Feed:
    """The records of one role, and what is done to them for the model.

    Parameters
    ----------
    query : how they are transformed on top, or None for the records as they are
    facts : what is known of the inputs, for the query
    """

    records: Records
    discovery: Discovery
    query: Query | None = None
    facts: Mapping[str, InputFacts] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def role(self) -> str:
        """Return the name of the role, for messages and progress."""
        return self.records.role.value

    @property
    def path(self) -> str:
        """Return where the records come from, for messages."""
        return self.records.path

    def batch(self, start: int, stop: int) -> tuple[Inputs, Array]:
        """Return model inputs, each (b, ...), and labels (b, ...) of records start to stop."""
        inputs, labels = self.records.batch(start, stop)
        steps = self.discovery.inputs
        ready = {name: steps[name].apply(inputs[key]) for name, key in self.discovery.binding.items()}
        if self.query is None:
            return ready, labels
        return self.query.apply(ready, self.records.digests[start:stop], self.facts), labels

    def some(self, rows: NDArray[np.int64]) -> Inputs:
        """Return model inputs of chosen records, by their index in this role, each (b, ...)."""
        chosen = Feed(self.records.select(rows), self.discovery)
        inputs, _ = chosen.batch(0, len(rows))
        return inputs

    def sample(self) -> Inputs:
        """Return model inputs of the first few records, for `Model.prepare`."""
        inputs, _ = self.batch(0, min(SAMPLE, len(self)))
        return inputs
