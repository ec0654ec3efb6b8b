"""Which entries of a parameter a tensor shows: views are told by the memory that they share, whatever made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ParameterView:
    """A strided window on a parameter.

    Parameters
    ----------
    shape : of the parameter
    size, stride, offset : of the view, counted in entries of the parameter in their logical order; an axis of size 1
        also stands for one along which the view repeats itself
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def entries(self) -> int:
        """Return how many entries of the parameter are shown."""
        return prod(self.size)

    @property
    def in_order(self) -> bool:
        """Return whether the view shows all entries in the order of the parameter, whatever its shape."""
        return self._covers and _axes(self.size, self.stride) == _axes(self.size, _contiguous(self.size))

    @property
    def transposed(self) -> bool:
        """Return whether the view shows the parameter, taken for a matrix, with its rows as columns."""
        rows = self.shape[0] if self.shape else 1
        columns = prod(self.shape[1:])
        return self._covers and _axes(self.size, self.stride) == [(columns, 1), (rows, columns)]

    def apart(self, other: ParameterView) -> bool:
        """Return whether the runs of entries from the first to the last that is shown do not meet."""
        return self._last < other.offset or other._last < self.offset

    @property
    def whole(self) -> ParameterView:
        """Return the view of all of the parameter."""
        return whole_view(self.shape)

    def index(self) -> torch.Tensor:
        """Return the position in the parameter of every entry that is shown, (entries,) int64."""
        import torch

        every = torch.arange(prod(self.shape))
        return every.as_strided(self.size, self.stride, self.offset).reshape(-1)

    def placed(self, values: torch.Tensor) -> torch.Tensor:
        """Return gradients of the view as gradients of the parameter, (n, *size) -> (n, *shape); 0 elsewhere."""
        count = len(values)
        if self.in_order:
            return values.reshape(count, *self.shape)
        if self.transposed:
            rows = self.shape[0]
            return values.reshape(count, -1, rows).transpose(1, 2).reshape(count, *self.shape)
        whole = values.new_zeros(count, prod(self.shape))
        whole[:, self.index().to(values.device)] = values.reshape(count, self.entries)
        return whole.reshape(count, *self.shape)

    @property
    def _last(self) -> int:
        return self.offset + sum((size - 1) * step for size, step in zip(self.size, self.stride, strict=True))

    @property
    def _covers(self) -> bool:
        return self.offset == 0 and self.entries == prod(self.shape)


def whole_view(shape: Sequence[int]) -> ParameterView:
    """Return the view of all of a parameter."""
    size = tuple(shape)
    return ParameterView(size, size, _contiguous(size), 0)


class Parameters:
    """Finds the parameter that a tensor shows."""

    def __init__(self, parameters: Sequence[torch.Tensor]) -> None:
        self._at: dict[int, list[tuple[int, torch.Tensor]]] = {}
        for position, parameter in enumerate(parameters):
            self._at.setdefault(memory_of(parameter), []).append((position, parameter))

    def touched(self, tensor: torch.Tensor) -> list[int]:
        """Return the positions of the parameters with which a tensor may share entries."""
        first, last = _reach(tensor)
        return [
            position
            for position, parameter in self._at.get(memory_of(tensor), ())
            if first <= _reach(parameter)[1] and _reach(parameter)[0] <= last
        ]

    def view(self, tensor: torch.Tensor, position: int) -> ParameterView | None:
        """Return what a tensor shows of the parameter at a position, or None where that is no window on it."""
        parameter = next(p for at, p in self._at.get(memory_of(tensor), ()) if at == position)
        shape = tuple(parameter.shape)
        if tensor.dtype != parameter.dtype or tensor.is_conj() or tensor.is_neg():
            return None
        if tensor.shape == parameter.shape and tensor.stride() == parameter.stride():
            same = tensor.storage_offset() == parameter.storage_offset()
            return whole_view(shape) if same else None
        first, last = _reach(tensor)
        low, high = _reach(parameter)
        if not parameter.is_contiguous() or first < low or last > high:
            return None
        repeats = [step == 0 or size == 1 for size, step in zip(tensor.shape, tensor.stride(), strict=True)]
        size = tuple(1 if flag else size for size, flag in zip(tensor.shape, repeats, strict=True))
        stride = tuple(0 if flag else step for step, flag in zip(tensor.stride(), repeats, strict=True))
        found = ParameterView(shape, size, stride, first - low)
        return found if _injective(size, stride) else None


def memory_of(tensor: torch.Tensor) -> int:
    """Return what tells the memory of a tensor from that of all others that are alive."""
    return int(tensor.untyped_storage()._cdata)


def _reach(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the first and the last entry of its memory that a tensor shows."""
    first = int(tensor.storage_offset())
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return first, first + sum((size - 1) * step for size, step in steps if size)


def _contiguous(size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(size[axis + 1 :]) for axis in range(len(size)))


def _axes(size: tuple[int, ...], stride: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(length, step) for length, step in zip(size, stride, strict=True) if length > 1]


def _injective(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Tell whether no entry is shown twice: every axis steps over all that the narrower ones reach."""
    reach = 0
    for step, length in sorted((step, length) for length, step in _axes(size, stride)):
        if step <= reach:
            return False
        reach += (length - 1) * step
    return True
