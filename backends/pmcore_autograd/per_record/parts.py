"""One part of the records: its predictions, the gradients of its losses, and what is reduced from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pmcore.interfaces import Array, Floats
from pmcore_autograd.per_record.alone import looped, looped_predictions, vmapped
from pmcore_autograd.per_record.network import Network, Tensors, some
from pmcore_autograd.per_record.passes import Passed, passed
from pmcore_autograd.per_record.reducing import reduced
from pmcore_autograd.per_record.requests import Item, Power, Sketch
from pmcore_autograd.per_record.sketching import Tables
from pmcore_autograd.per_record.strategy import Strategy, run_of_records
from pmcore_autograd.per_record.uses import Use, chunks

if TYPE_CHECKING:
    import torch

Cotangent = Callable[[Array, slice], Floats]
"""Predictions (r, k) of the records of a slice -> the gradients of their losses at these, (r, k)."""


@dataclass(frozen=True)
class Part:
    """What was reduced from some records.

    Parameters
    ----------
    values : (r,) powers and (r, size) sketches, of gradients that were divided by `scale`
    scale : (r,)
    """

    values: Mapping[Item, Floats]
    scale: Floats


def nothing(items: Sequence[Item]) -> dict[Item, Floats]:
    """Return the values of no records."""
    return {item: np.zeros((0, item.size) if isinstance(item, Sketch) else 0) for item in items}


class Taking:
    """Takes the gradients of parts of the records.

    Parameters
    ----------
    budget : bytes that may be taken, about
    """

    def __init__(self, network: Network, budget: int) -> None:
        self._network = network
        self._budget = budget
        self._tables = Tables()

    def part(
        self, strategy: Strategy, inputs: Tensors, rows: slice, cotangent: Cotangent, items: Sequence[Item]
    ) -> Part:
        """Return what is wanted of the records of a slice.

        Raises
        ------
        Diverged
            The network does something else than for the records by which it was planned.
        """
        parameters = list(dict.fromkeys(item.parameter for item in items))
        planned = strategy.planned(parameters)
        mapped = [parameter for parameter in parameters if parameter in strategy.mapped]
        alone = [parameter for parameter in parameters if parameter in strategy.looped]
        asked: Passed | None = None
        if strategy.plan is not None and planned:
            asked = passed(self._network, strategy.plan, some(inputs, rows))
        predictions = asked.predictions if asked is not None else self._predictions(some(inputs, rows), bool(mapped))
        unit = _unit(cotangent(_array(predictions), rows))
        weights = self._tensor(unit.values, predictions)
        records = rows.stop - rows.start
        values = {item: np.empty((records, item.size) if isinstance(item, Sketch) else records) for item in items}
        every = slice(0, records)
        if asked is not None:
            self._reduce(asked.uses(weights, planned), items, values, every)
            asked = None
        del predictions
        for run in self._runs(mapped, rows, strategy.each):
            self._reduce(
                vmapped(self._network, some(inputs, _within(rows, run)), weights[run], mapped), items, values, run
            )
        for run in self._runs(alone, rows, 0):
            self._reduce(
                looped(self._network, some(inputs, _within(rows, run)), weights[run], alone), items, values, run
            )
        return Part(values, unit.scale)

    def _predictions(self, inputs: Tensors, by_vmap: bool) -> torch.Tensor:
        """Return predictions without their history."""
        import torch

        if not by_vmap:
            return looped_predictions(self._network, inputs)
        with torch.no_grad():
            return self._network.predict(inputs)

    def _runs(self, parameters: Sequence[int], rows: slice, each: int) -> list[slice]:
        """Return the records of a slice in runs whose written gradients of some parameters have room."""
        if not parameters:
            return []
        entries = sum(self._network.parameters[parameter].numel() for parameter in parameters)
        step = max(1, run_of_records(each, entries, self._budget))
        return chunks(rows.stop - rows.start, 1, step)

    def _reduce(
        self, uses: Mapping[int, Use], items: Sequence[Item], values: Mapping[Item, Floats], run: slice
    ) -> None:
        """Put what is wanted of some parameters in its place, for a run of the records."""
        for parameter, use in uses.items():
            whole = self._network.parameters[parameter]
            powers = [item for item in items if isinstance(item, Power) and item.parameter == parameter]
            sketches = [item for item in items if isinstance(item, Sketch) and item.parameter == parameter]
            tables = [self._tables.of(whole, item.size, item.position) for item in sketches]
            found = reduced(use, [item.order for item in powers], tables, self._budget // 4)
            for power, value in zip(powers, found.powers, strict=True):
                values[power][run] = value.cpu().numpy()
            for sketch, value in zip(sketches, found.sketches, strict=True):
                values[sketch][run] = value.cpu().numpy()

    def _tensor(self, values: Floats, like: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.from_numpy(values).to(like.device, like.dtype).reshape(like.shape)


@dataclass(frozen=True)
class _Unit:
    """Vectors of length 1, or 0 where they were, and by what they were divided."""

    values: Floats
    scale: Floats


def _unit(cotangents: Floats) -> _Unit:
    """Divide each record's gradient at its predictions by its length, in float64.

    Otherwise the gradients of records of which a model is very sure would end below what its type can hold.
    """
    flat = np.asarray(cotangents, dtype=np.float64).reshape(len(cotangents), -1)
    largest = np.abs(flat).max(axis=1, initial=0.0)
    first = flat / np.where(largest > 0, largest, 1.0)[:, None]
    length = np.sqrt(np.square(first).sum(axis=1))
    return _Unit(first / np.where(length > 0, length, 1.0)[:, None], largest * length)


def _array(predictions: torch.Tensor) -> Array:
    from pmcore_autograd.per_record.norms import wide

    found: Array = wide(predictions).cpu().numpy()
    return found.reshape(len(found), -1)


def _within(rows: slice, run: slice) -> slice:
    return slice(rows.start + run.start, rows.start + run.stop)
