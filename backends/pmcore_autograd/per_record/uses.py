"""One use of a parameter in a forward pass: what its gradients, record by record, are reduced from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Protocol

from pmcore_autograd.per_record.norms import power

if TYPE_CHECKING:
    import torch

    from pmcore_autograd.per_record.sketching import TorchSketch
    from pmcore_autograd.per_record.views import ParameterView

_BYTES = 16
"""Bytes per entry of a gradient while it is written out and reduced."""


class Use(Protocol):
    """The gradients of b records with respect to what one use sees of a parameter, not yet written out."""

    @property
    def view(self) -> ParameterView:
        """Return what the use sees of the parameter."""
        ...

    @property
    def records(self) -> int:
        """Return b."""
        ...

    @property
    def device(self) -> torch.device:
        """Return where the gradients are."""
        ...

    def written(self, records: slice) -> torch.Tensor:
        """Return the gradients of some records as they are, (r, *view.size)."""
        ...

    def power(self, order: float, room: int) -> torch.Tensor | None:
        """Return what norms are put together from, (b,) float64, or None if it is cheaper to write gradients out.

        Parameters
        ----------
        order : see `norms.power`
        room : bytes that may be taken for the while
        """
        ...

    def sketch(self, table: TorchSketch, room: int) -> torch.Tensor | None:
        """Return the sketches, (b, size) float64, or None if it is cheaper to write gradients out."""
        ...


def runs(use: Use, room: int) -> list[slice]:
    """Return the records of a use in runs whose gradients have room when they are written out."""
    return chunks(use.records, _BYTES * prod(use.view.shape), room)


def chunks(records: int, each: int, room: int) -> list[slice]:
    """Return the records in runs of those that have room together, `each` bytes apiece; one at least."""
    step = max(1, room // max(1, each))
    return [slice(start, min(start + step, records)) for start in range(0, records, step)]


def written_power(use: Use, order: float, room: int) -> torch.Tensor:
    """Return what norms are put together from, (b,) float64, by writing gradients out."""
    return filled(use, runs(use, room), lambda run: power(use.written(run), order))


def filled(use: Use, parts: Sequence[slice], make: Callable[[slice], torch.Tensor], *size: int) -> torch.Tensor:
    """Return (b, *size) float64 numbers that are made for one part of the records after the other.

    They have their place before the first part: small pieces that stay between large ones would pin the memory.
    """
    import torch

    values = torch.empty(use.records, *size, dtype=torch.float64, device=use.device)
    for part in parts:
        values[part] = make(part)
    return values
