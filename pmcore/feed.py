"""Records on their way to the model: bound to its inputs, preprocessed, in batches."""

from __future__ import annotations

from dataclasses import dataclass

from pmcore.data import Records
from pmcore.discovery import Discovery
from pmcore.interfaces import Array, Inputs

SAMPLE = 32
"""Records that the model sees before the first query, to settle what only data can tell."""


@dataclass(frozen=True)
class Feed:
    """The records of one role, and what is done to them for the model."""

    records: Records
    discovery: Discovery

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
        return {name: steps[name].apply(inputs[key]) for name, key in self.discovery.binding.items()}, labels

    def sample(self) -> Inputs:
        """Return model inputs of the first few records, for `Model.prepare`."""
        inputs, _ = self.batch(0, min(SAMPLE, len(self)))
        return inputs
