"""Per-record gradients of a torch network, reduced chunk by chunk: records times parameters are never held."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmcore.errors import AuditError, InputError, OutOfMemory
from pmcore.interfaces import Array, GradientRequest
from pmcore.runtime_failures import failure, first_line
from pmcore_autograd.per_record.network import Forward, Network, Tensors, count
from pmcore_autograd.per_record.parts import Cotangent, Taking, nothing
from pmcore_autograd.per_record.requests import assembled, wanted
from pmcore_autograd.per_record.strategy import Strategy, by_records, settle
from pmcore_autograd.per_record.tracing import Diverged

if TYPE_CHECKING:
    import torch


_PASS = 1 / 2
"""Share of the budget that a pass forward and back may take: the reductions need some, and more is not faster."""


class PerRecord:
    """Takes gradients of the loss of single records with respect to parameters, and gives reductions of them.

    Parameters
    ----------
    module : owns the parameters; put into evaluation mode by the caller, and left as it is
    forward : asks it: inputs by name, each with the records first, to predictions (b, ...)
    layers : layer name -> its parameters; one that several layers share stands in one of them
    budget : bytes that may be taken above those of the module and of the inputs, about
    batched : whether `forward` takes several records at a time
    title : of the model, for messages

    Notes
    -----
    How a parameter is used is seen from the operators that `forward` runs, on three records of each new shape; its
    gradients follow from what these operators read and from the gradient at what they return. Each parameter is
    held against plain backward passes of single records; one that disagrees, or whose uses are not understood, is
    taken by vmap, or else record after record.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        forward: Forward,
        layers: Mapping[str, Sequence[torch.Tensor]],
        *,
        budget: int = 256 * 2**20,
        batched: bool = True,
        title: Path = Path("model"),
    ) -> None:
        names = {id(value): name for name, value in reversed(list(module.named_parameters(remove_duplicate=False)))}
        numbers: dict[int, int] = {}
        self._layers: dict[str, list[int]] = {}
        for layer, parameters in layers.items():
            used = [parameter for parameter in parameters if parameter.is_floating_point() and parameter.numel()]
            for parameter in used:
                if id(parameter) not in names:
                    raise InputError(f"{title}: layer {layer!r} has a parameter that is not one of its module")
            self._layers[layer] = [numbers.setdefault(id(parameter), len(numbers)) for parameter in used]
        self._network = Network(module, forward, tuple(names[number] for number in numbers), batched)
        self._budget = budget
        self._title = title
        self._strategies: dict[object, Strategy] = {}
        self._taking = Taking(self._network, budget)

    @property
    def method(self) -> str:
        """Return how gradients were taken, in words, with how many parameters were taken each way."""
        counts: dict[str, int] = {}
        for strategy in self._strategies.values():
            for words, number in strategy.methods(self._network).items():
                counts[words] = max(number, counts.get(words, 0))
        listed = ", ".join(
            f"{words} ({number} parameter{'s' if number != 1 else ''})"
            for words, number in sorted(counts.items(), key=lambda item: -item[1])
        )
        joined = "" if self._network.batched else ", of records that the network takes one at a time"
        return f"{listed}{joined}" if listed else "not asked yet"

    @property
    def reasons(self) -> dict[str, str]:
        """Return why parameters are not taken by their uses, by name."""
        names = self._network.names
        found = (strategy.reasons for strategy in self._strategies.values())
        return {names[parameter]: reason for reasons in found for parameter, reason in reasons.items()}

    def reduce(
        self, inputs: Tensors, cotangent: Cotangent, requests: Sequence[GradientRequest]
    ) -> dict[GradientRequest, Array]:
        """Return reductions of the gradients of b records, float64.

        Parameters
        ----------
        inputs : on the module's device, each with the records along its first axis; not changed
        cotangent : gives the gradients of the losses at the predictions of some of the records
        requests : their layers are names of `layers`

        Returns
        -------
        dict
            Request -> (b, l) norms, or (b, l * size) sketches; l is 1 for ().

        Raises
        ------
        InputError
            A request names no layer, or a reduction that is not known.
        ModelError
            A record's prediction depends on the other records, or on chance.
        OutOfMemory
            Not even one record has room.
        """
        items = wanted(requests, self._layers)
        records, start = count(inputs), 0
        if not items or not records:
            return assembled(requests, self._layers, nothing(items), np.zeros(records))
        parts = []
        with self._network.differentiable():
            with self._memory():
                strategy = self._strategy(inputs)
            step = self._step(strategy, records)
            while start < records:
                rows = slice(start, min(start + step, records))
                try:
                    with self._memory():
                        parts.append(self._taking.part(strategy, inputs, rows, cotangent, items))
                except OutOfMemory:
                    if step == 1:
                        raise
                    step //= 2
                    continue
                except Diverged as error:
                    strategy = by_records(self._network, inputs, self._budget, str(error))
                    if rows.stop - rows.start > 1:  # one record alone may be a case of its own
                        self._strategies[_shape(inputs)] = strategy
                    continue
                start = rows.stop
        values = {item: np.concatenate([part.values[item] for part in parts]) for item in items}
        return assembled(requests, self._layers, values, np.concatenate([part.scale for part in parts]))

    def _strategy(self, inputs: Tensors) -> Strategy:
        """Return the strategy for inputs of this shape, settled when the first of them come."""
        key = _shape(inputs)
        if key not in self._strategies:
            self._strategies[key] = settle(self._network, inputs, self._budget)
        return self._strategies[key]

    def _step(self, strategy: Strategy, records: int) -> int:
        """Return how many records are passed at once: as many as have room, in parts of the same size."""
        room = max(1, int(_PASS * self._budget) // max(1, strategy.each))
        return ceil(records / ceil(records / room))

    @contextlib.contextmanager
    def _memory(self) -> Iterator[None]:
        """Raise what torch says where memory does not suffice as `OutOfMemory`; all else passes."""
        try:
            yield
        except AuditError:
            raise
        except Exception as error:  # of torch, or of the network's own code
            told = failure(error, "torch", first_line(error), self._title)
            if isinstance(told, OutOfMemory):
                raise told from None
            raise


def _shape(inputs: Tensors) -> object:
    """Return what records must have in common to be taken in the same way."""
    return tuple((name, value.shape[1:], value.dtype) for name, value in inputs.items())
