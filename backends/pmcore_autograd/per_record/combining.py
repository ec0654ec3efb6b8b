"""One parameter that is used several times: its gradient is the sum over its uses, which is taken before any norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.lookups import Lookup
from pmcore_autograd.per_record.norms import joined
from pmcore_autograd.per_record.products import Products
from pmcore_autograd.per_record.sketching import TorchSketch
from pmcore_autograd.per_record.uses import Use, written_power
from pmcore_autograd.per_record.views import ParameterView
from pmcore_autograd.per_record.written import Written

if TYPE_CHECKING:
    import torch

_CANCELS = 16.0
"""How far two uses may cancel before their inner product is not trusted with a record."""


def united(uses: Sequence[Use]) -> Use:
    """Return several uses of one parameter as one.

    Those of the same view whose sum is of the same form are put together, as in recurrences.
    """
    alike: dict[object, list[Use]] = {}
    for number, use in enumerate(uses):
        kind: object = number
        if isinstance(use, Written):
            kind = Written
        elif isinstance(use, Lookup):
            kind = Lookup
        elif isinstance(use, Products):
            kind = use.left.shape[1]
        alike.setdefault((kind, use.view), []).append(use)
    gathered = [_together(several) if len(several) > 1 else several[0] for several in alike.values()]
    return gathered[0] if len(gathered) == 1 else Summed(tuple(gathered))


@dataclass(frozen=True)
class Summed:
    """The sum of uses of different forms, or of different parts of a parameter."""

    uses: tuple[Use, ...]

    @property
    def view(self) -> ParameterView:
        """Return the view of all of the parameter."""
        return self.uses[0].view.whole

    @property
    def records(self) -> int:
        """Return b."""
        return self.uses[0].records

    @property
    def device(self) -> torch.device:
        """Return where the gradients are."""
        return self.uses[0].device

    def written(self, records: slice) -> torch.Tensor:
        """Return the gradients of some records, (r, *view.size)."""
        total = self.uses[0].view.placed(self.uses[0].written(records)).clone()
        for use in self.uses[1:]:
            total += use.view.placed(use.written(records))
        return total

    def power(self, order: float, room: int) -> torch.Tensor | None:
        """Return what norms are put together from, (b,) float64, where no entry is used twice, or by inner products."""
        if all(one.view.apart(other.view) for one, other in combinations(self.uses, 2)):
            powers = [use.power(order, room) for use in self.uses]
            known = [found for found in powers if found is not None]
            return joined(known, order) if len(known) == len(powers) else None
        tied = _tied(self.uses) if order == 2 else None
        return None if tied is None else tied.squares(room)

    def sketch(self, table: TorchSketch, room: int) -> torch.Tensor | None:
        """Return the sketches, (b, size) float64: they add up."""
        import torch

        sketches = [use.sketch(table, room) for use in self.uses]
        known = [found for found in sketches if found is not None]
        return torch.stack(known).sum(0) if len(known) == len(sketches) else None


def _together(uses: Sequence[Use]) -> Use:
    """Return uses of one form and one view as one."""
    import torch

    view = uses[0].view
    written = [use.values for use in uses if isinstance(use, Written)]
    if written:
        return Written(view, torch.stack(written).sum(0))
    tables = [use for use in uses if isinstance(use, Lookup)]
    if tables:
        rows, gradients = (torch.cat(parts, 1) for parts in zip(*((t.rows, t.gradients) for t in tables), strict=True))
        return Lookup(view, rows, gradients)
    products = [use for use in uses if isinstance(use, Products)]
    return Products(view, torch.cat([use.left for use in products], 2), torch.cat([use.right for use in products], 2))


@dataclass(frozen=True)
class _Tied:
    """A table of words whose rows are also the weights of the output layer."""

    table: Lookup
    output: Products

    def squares(self, room: int) -> torch.Tensor | None:
        """Return the sums of squares of the sum of both, written out only for records in which they nearly cancel."""
        outputs = self.output.power(2, room)
        if outputs is None:
            outputs = written_power(self.output, 2, room)
        apart = self.table.power(2, room) + outputs
        total = apart + 2 * self.table.inner(self.output)
        unsure = total < apart / _CANCELS
        if bool(unsure.any()):
            these = unsure.nonzero()[:, 0]
            total[these] = written_power(Summed((self.table.chosen(these), self.output.chosen(these))), 2, room)
        return total


def _tied(uses: Sequence[Use]) -> _Tied | None:
    table = next((use for use in uses if isinstance(use, Lookup)), None)
    output = next((use for use in uses if isinstance(use, Products)), None)
    if len(uses) != 2 or table is None or output is None or not (table.view.in_order and output.view.in_order):
        return None
    same = output.left.shape[1] == 1 and output.left.shape[3] == table.view.size[0]
    return _Tied(table, output) if same else None
