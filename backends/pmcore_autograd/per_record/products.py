"""Gradients that are sums of outer products: the weights of linear layers, one product per row of a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.norms import joined, power
from pmcore_autograd.per_record.sketching import TorchSketch
from pmcore_autograd.per_record.uses import chunks, filled, written_power
from pmcore_autograd.per_record.views import ParameterView

if TYPE_CHECKING:
    import torch

_CANCELS = 16.0
"""How far products may cancel before their Gram matrix, which squares what is lost, is not trusted with a record."""
_PER_PAIR, _PER_ENTRY, _PER_NUMBER = 16, 8, 12
"""What it costs to read one inner product, one entry of a gradient and one number of a sketch, in multiplications."""
_SMALL = 1e-25
"""Sums of squares from which single precision has lost digits that count."""


@dataclass(frozen=True)
class Products:
    """The sum over the rows t of a record of left[t]ᵀ right[t], for each group by itself.

    Parameters
    ----------
    view : its size, flattened, is (groups, l, r)
    left : (b, groups, t, l)
    right : (b, groups, t, r)

    References
    ----------
    Goodfellow. Efficient Per-Example Gradient Computations. arXiv:1510.01799 (one row: products of norms).
    Li, Tramèr, Liang, Hashimoto. Large Language Models Can Be Strong Differentially Private Learners. ICLR 2022
    (section 4, several rows: "ghost clipping" by Gram matrices).
    """

    view: ParameterView
    left: torch.Tensor
    right: torch.Tensor

    @property
    def records(self) -> int:
        """Return b."""
        return len(self.left)

    @property
    def times(self) -> int:
        """Return the number of rows of a record."""
        return self.left.shape[2]

    @property
    def device(self) -> torch.device:
        """Return where the gradients are."""
        return self.left.device

    def written(self, records: slice) -> torch.Tensor:
        """Return the gradients of some records, (r, *view.size)."""
        import torch

        found = torch.matmul(self.left[records].transpose(2, 3), self.right[records])
        return found.reshape(len(found), *self.view.size)

    def power(self, order: float, room: int) -> torch.Tensor | None:
        """Return what norms are put together from, (b,) float64: of the factors, or of Gram matrices."""
        if self.times == 1:
            by_group = _by_group(self.left, order) * _by_group(self.right, order)
            return joined(list(by_group.unbind(1)), order)
        if order != 2:
            return None
        groups, times, wide = self.left.shape[1:]
        inner = groups * times**2 * (wide + self.right.shape[3] + _PER_PAIR)
        return self.gram(room) if inner < self._written_cost else None

    def sketch(self, table: TorchSketch, room: int) -> torch.Tensor | None:
        """Return the sketches, (b, size) float64, of the factors."""
        groups, times, wide = self.left.shape[1:]
        long = self.right.shape[3]
        separate = times * (2 * (wide + long) + _PER_NUMBER * table.size)
        fits = groups == 1 and self.view.in_order and (wide, long) == (len(table.row_sign), len(table.column_sign))
        if not fits or separate > self._written_cost:
            return None
        parts = chunks(self.records, 16 * times * (wide + long + 4 * table.size), room)
        return filled(self, parts, lambda part: self.chosen(part).factored(table), table.size)

    def factored(self, table: TorchSketch) -> torch.Tensor:
        """Return the sketches of one group, (b, size) float64, from those of the factors."""
        return table.of_products(self.left[:, 0], self.right[:, 0])

    def chosen(self, records: slice | torch.Tensor) -> Products:
        """Return the use by some records alone."""
        return Products(self.view, self.left[records], self.right[records])

    @property
    def _written_cost(self) -> float:
        """Return what writing the gradient out costs per record, in multiplications."""
        return float(self.view.entries * (self.times + _PER_ENTRY))

    def gram(self, room: int) -> torch.Tensor:
        """Return the sums of squares by the Gram matrices of both factors, (b,) float64.

        Where the products of a record nearly cancel, the sum of their inner products loses twice the digits that
        the gradient itself loses: such a record is written out.
        """
        import torch

        records, groups, times = self.left.shape[:3]
        squares = self.left.new_empty(records, dtype=torch.float64)
        for run in chunks(records, 4 * groups * times**2 * self.left.element_size(), room):
            left, right = self.left[run], self.right[run]
            inner, outer = left @ left.transpose(2, 3), right @ right.transpose(2, 3)
            lengths = torch.minimum(_traces(inner), _traces(outer))
            inner *= outer
            total, alone = inner.flatten(1).sum(1).double(), _traces(inner)
            squares[run] = total.clamp(min=0)
            unsure = ~((alone <= _CANCELS * total) & (lengths > _SMALL) & total.isfinite())
            if left.dtype is not torch.float64 and bool(unsure.any()):
                these = torch.arange(run.start, run.stop, device=unsure.device)[unsure]
                squares[these] = written_power(self.chosen(these), 2, room)
        return squares


def _by_group(factor: torch.Tensor, order: float) -> torch.Tensor:
    """Return powers of a factor with one row, (b, groups, 1, l) -> (b, groups) float64."""
    return power(factor.flatten(0, 1), order).reshape(factor.shape[:2])


def _traces(grams: torch.Tensor) -> torch.Tensor:
    """Return the sum of the squares that a record's Gram matrices were made from, (b, groups, t, t) -> (b,)."""
    return grams.diagonal(dim1=2, dim2=3).flatten(1).sum(1).double()
