"""Gradients that are no larger than what they are computed from, and therefore written out: biases, scales, offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.norms import power
from pmcore_autograd.per_record.sketching import TorchSketch
from pmcore_autograd.per_record.views import ParameterView

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Written:
    """The gradients themselves.

    Parameters
    ----------
    values : (b, *view.size)
    """

    view: ParameterView
    values: torch.Tensor

    @property
    def records(self) -> int:
        """Return b."""
        return len(self.values)

    @property
    def device(self) -> torch.device:
        """Return where the gradients are."""
        return self.values.device

    def written(self, records: slice) -> torch.Tensor:
        """Return the gradients of some records, (r, *view.size)."""
        return self.values[records]

    def power(self, order: float, room: int) -> torch.Tensor:
        """Return what norms are put together from, (b,) float64."""
        return power(self.values, order)

    def sketch(self, table: TorchSketch, room: int) -> torch.Tensor:
        """Return the sketches, (b, size) float64."""
        return table.of_written(self.view.placed(self.values))


@dataclass(frozen=True)
class Absent:
    """The gradient of a parameter that no prediction depends on.

    Parameters
    ----------
    like : the parameter
    """

    view: ParameterView
    records: int
    like: torch.Tensor

    @property
    def device(self) -> torch.device:
        """Return where the gradients are."""
        return self.like.device

    def written(self, records: slice) -> torch.Tensor:
        """Return zeros, (r, *view.size)."""
        return self.like.new_zeros(len(range(*records.indices(self.records))), *self.view.size)

    def power(self, order: float, room: int) -> torch.Tensor:
        """Return zeros, (b,) float64."""
        import torch

        return self.like.new_zeros(self.records, dtype=torch.float64)

    def sketch(self, table: TorchSketch, room: int) -> torch.Tensor:
        """Return zeros, (b, size) float64."""
        import torch

        return self.like.new_zeros(self.records, table.size, dtype=torch.float64)
