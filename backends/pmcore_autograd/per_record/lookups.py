"""Gradients of tables that are looked up: a few rows per record, which are never put into a table of their own."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.norms import power
from pmcore_autograd.per_record.sketching import TorchSketch
from pmcore_autograd.per_record.views import ParameterView

if TYPE_CHECKING:
    import torch

    from pmcore_autograd.per_record.products import Products


@dataclass(frozen=True)
class Lookup:
    """The rows of a table that b records read, t each, and the gradients at what they got.

    Parameters
    ----------
    view : of the table, (rows, columns) in size
    rows : (b, t) int64; a negative one was read without a gradient
    gradients : (b, t, columns)
    """

    view: ParameterView
    rows: torch.Tensor
    gradients: torch.Tensor

    @property
    def records(self) -> int:
        """Return b."""
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Return where the gradients are."""
        return self.gradients.device

    def written(self, records: slice) -> torch.Tensor:
        """Return the gradients of some records, (r, *view.size)."""
        some = self.chosen(records)
        found = some._found()
        count, wide = self.view.size[0], self.gradients.shape[2]
        tables = self.gradients.new_zeros(len(some.rows) * count, wide)
        tables[found.record * count + found.row] = found.values
        return tables.reshape(len(some.rows), *self.view.size)

    def power(self, order: float, room: int) -> torch.Tensor:
        """Return what norms are put together from, (b,) float64: of the rows that a record reads, each once."""
        import torch

        found = self._found()
        by_row = power(found.values, order)
        by_record = torch.zeros(len(self.rows), dtype=torch.float64, device=by_row.device)
        if order == inf:
            return by_record.scatter_reduce_(0, found.record, by_row, "amax")
        return by_record.index_add_(0, found.record, by_row)

    def sketch(self, table: TorchSketch, room: int) -> torch.Tensor | None:
        """Return the sketches, (b, size) float64."""
        if not self.view.in_order:
            return None
        found = self._found()
        by_row = table.of_rows(found.row, found.values)
        return by_row.new_zeros(len(self.rows), table.size).index_add_(0, found.record, by_row)

    def chosen(self, records: slice | torch.Tensor) -> Lookup:
        """Return the use by some records alone."""
        return Lookup(self.view, self.rows[records], self.gradients[records])

    def inner(self, products: Products) -> torch.Tensor:
        """Return the inner product with another use of the same table, one output per row, (b,) float64.

        The weights of an output layer are often the table that its words were looked up in.

        Parameters
        ----------
        products : left (b, 1, t, rows), right (b, 1, t, columns)
        """
        import torch

        found = self._found()
        total = torch.zeros(len(self.rows), dtype=torch.float64, device=self.gradients.device)
        for time in range(products.times):
            along = (products.right[found.record, 0, time] * found.values).double().sum(1)
            total.index_add_(0, found.record, along * products.left[found.record, 0, time, found.row].double())
        return total

    def _found(self) -> _Rows:
        """Add up what belongs to the same row of the same record."""
        import torch

        count = self.view.size[0]
        records, times = self.rows.shape
        keys = self.rows + count * torch.arange(records, device=self.rows.device)[:, None]
        read = self.rows.reshape(-1) >= 0
        unique, place = torch.unique(keys.reshape(-1)[read], return_inverse=True)
        values = self.gradients.reshape(records * times, -1)[read]
        added = values.new_zeros(len(unique), values.shape[1]).index_add_(0, place, values)
        return _Rows(unique // count, unique % count, added)


@dataclass(frozen=True)
class _Rows:
    """The rows with a gradient: whose they are (u,), which they are (u,), and the gradients (u, columns)."""

    record: torch.Tensor
    row: torch.Tensor
    values: torch.Tensor
