"""Powers and sketches of one parameter's gradients: where they must be written out, once for all that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.norms import power
from pmcore_autograd.per_record.sketching import TorchSketch
from pmcore_autograd.per_record.uses import Use, runs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Reduced:
    """What was reduced from the gradients of b records.

    Parameters
    ----------
    powers : (b,) float64, one for each order
    sketches : (b, size) float64, one for each table
    """

    powers: list[torch.Tensor]
    sketches: list[torch.Tensor]


def reduced(use: Use, orders: Sequence[float], tables: Sequence[TorchSketch], room: int) -> Reduced:
    """Return powers of some orders and some sketches of the gradients of a use.

    Parameters
    ----------
    room : bytes that may be taken for the while
    """
    powers = [use.power(order, room) for order in orders]
    sketches = [use.sketch(table, room) for table in tables]
    open_orders = [order for order, found in zip(orders, powers, strict=True) if found is None]
    open_tables = [table for table, found in zip(tables, sketches, strict=True) if found is None]
    if not open_orders and not open_tables:
        return Reduced([p for p in powers if p is not None], [s for s in sketches if s is not None])
    # Results have their place before gradients are written out: small pieces between large ones would pin the memory.
    late_powers = [_empty(use) for _ in open_orders]
    late_sketches = [_empty(use, table.size) for table in open_tables]
    for run in runs(use, room):
        written = use.written(run)
        for order, values in zip(open_orders, late_powers, strict=True):
            values[run] = power(written, order)
        for table, values in zip(open_tables, late_sketches, strict=True):
            values[run] = table.of_written(use.view.placed(written))
        del written
    next_power, next_sketch = iter(late_powers), iter(late_sketches)
    return Reduced(
        [next(next_power) if found is None else found for found in powers],
        [next(next_sketch) if found is None else found for found in sketches],
    )


def _empty(use: Use, *size: int) -> torch.Tensor:
    import torch

    return torch.empty(use.records, *size, dtype=torch.float64, device=use.device)
