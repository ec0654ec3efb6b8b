"""The sketches of `pmcore.sketches` in torch: of gradients that are written out, of outer products, and of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TorchSketch:
    """How the gradient of one parameter, taken for a matrix, is projected; see `pmcore.sketches.ParameterSketch`.

    Parameters
    ----------
    row_bucket, row_sign : (rows,) int64; (rows,) in the gradient's type
    column_bucket, column_sign : (columns,), likewise
    """

    size: int
    row_bucket: torch.Tensor
    row_sign: torch.Tensor
    column_bucket: torch.Tensor
    column_sign: torch.Tensor

    def of_written(self, gradients: torch.Tensor) -> torch.Tensor:
        """Return the sketches of gradients, (n, *shape) -> (n, size) float64."""
        records, rows, columns = len(gradients), len(self.row_sign), len(self.column_sign)
        if columns <= 2 * self.size:
            buckets = (self.row_bucket[:, None] + self.column_bucket) % self.size
            signs = self.row_sign[:, None] * self.column_sign
            flat = gradients.reshape(records, rows * columns) * signs.reshape(-1)
            return _added(flat, buckets.reshape(-1), self.size).double()
        by_row = self._columns(gradients.reshape(records * rows, columns))
        return self._turned(by_row.reshape(records, rows, self.size)).double().sum(1)

    def of_products(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return the sketches of sums of outer products, (n, t, rows) and (n, t, columns) -> (n, size) float64."""
        import torch

        records, times = left.shape[:2]
        by_left = _added(left.reshape(records * times, -1) * self.row_sign, self.row_bucket, self.size)
        by_right = self._columns(right.reshape(records * times, -1))
        product = torch.fft.rfft(by_left.double()) * torch.fft.rfft(by_right.double())
        found: torch.Tensor = torch.fft.irfft(product.reshape(records, times, -1).sum(1), n=self.size)
        return found

    def of_rows(self, rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Return the sketches of gradients that are 0 but for one row each, (u,) and (u, columns) -> (u, size)."""
        by_column = self._columns(values) * self.row_sign[rows][:, None]
        return by_column.gather(1, self._places(self.row_bucket[rows])).double()

    def _columns(self, values: torch.Tensor) -> torch.Tensor:
        return _added(values * self.column_sign, self.column_bucket, self.size)

    def _turned(self, by_row: torch.Tensor) -> torch.Tensor:
        """Return sketches of the columns of each row moved on by the bucket of the row, (n, rows, size)."""
        signed = by_row * self.row_sign[:, None]
        return signed.gather(2, self._places(self.row_bucket).expand_as(signed))

    def _places(self, buckets: torch.Tensor) -> torch.Tensor:
        """Return from where each number of a sketch comes when it is moved on, (rows,) -> (rows, size)."""
        import torch

        return (torch.arange(self.size, device=buckets.device) - buckets[:, None]) % self.size


class Tables:
    """Draws the sketch of each parameter once."""

    def __init__(self) -> None:
        self._drawn: dict[tuple[object, ...], TorchSketch] = {}

    def of(self, parameter: torch.Tensor, size: int, position: int) -> TorchSketch:
        """Return the sketch of a parameter at a position in its layer."""
        key = (parameter.shape, parameter.dtype, parameter.device, size, position)
        if key not in self._drawn:
            self._drawn[key] = torch_sketch(parameter.shape, size, position, parameter)
        return self._drawn[key]


def torch_sketch(shape: Sequence[int], size: int, position: int, like: torch.Tensor) -> TorchSketch:
    """Return the sketch of a parameter, on the device and in the type of a tensor, float32 at least."""
    import torch

    from pmcore.sketches import parameter_sketch

    dtype = torch.float64 if like.dtype is torch.float64 else torch.float32
    drawn = parameter_sketch(shape, size, position)
    signs = [torch.from_numpy(sign).to(like.device, dtype) for sign in (drawn.row_sign, drawn.column_sign)]
    buckets = [torch.from_numpy(bucket).to(like.device) for bucket in (drawn.row_bucket, drawn.column_bucket)]
    return TorchSketch(size, buckets[0], signs[0], buckets[1], signs[1])


def _added(values: torch.Tensor, buckets: torch.Tensor, size: int) -> torch.Tensor:
    return values.new_zeros(len(values), size).index_add_(1, buckets, values)
