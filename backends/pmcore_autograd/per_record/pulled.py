"""Gradients of parameters that something is computed of before a record meets it: positions, normalised weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.norms import wide
from pmcore_autograd.per_record.sketching import TorchSketch
from pmcore_autograd.per_record.uses import Use
from pmcore_autograd.per_record.views import ParameterView, whole_view

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Pulled:
    """The use of something that was computed of a parameter alone, pulled back through that computation.

    Parameters
    ----------
    inner : the use of what was computed; its view is all of that
    computed : the tensor, with its history
    parameter : the parameter
    """

    inner: Use
    computed: torch.Tensor
    parameter: torch.Tensor

    @property
    def view(self) -> ParameterView:
        """Return the view of all of the parameter."""
        return whole_view(self.parameter.shape)

    @property
    def records(self) -> int:
        """Return b."""
        return self.inner.records

    @property
    def device(self) -> torch.device:
        """Return where the gradients are."""
        return self.parameter.device

    def written(self, records: slice) -> torch.Tensor:
        """Return the gradients of some records, (r, *view.size)."""
        import torch

        gradients = self.inner.written(records).to(self.computed.dtype)
        pulled = torch.autograd.grad(
            self.computed,
            self.parameter,
            gradients.reshape(len(gradients), *self.computed.shape),
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=True,
        )[0]
        return wide(gradients.new_zeros(len(gradients), *self.parameter.shape) if pulled is None else pulled)

    def power(self, order: float, room: int) -> None:
        """Return None: the gradients must be written out."""

    def sketch(self, table: TorchSketch, room: int) -> None:
        """Return None: the gradients must be written out."""


def narrowed(operand: torch.Tensor) -> torch.Tensor:
    """Return an operand without the axes along which it only repeats itself."""
    for axis, (size, step) in enumerate(zip(operand.shape, operand.stride(), strict=True)):
        if size > 1 and step == 0:
            operand = operand.narrow(axis, 0, 1)
    return operand
