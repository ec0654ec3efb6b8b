"""Where the records are in a tensor: along which axis, and whether that axis counts records or something else first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Layout:
    """One axis that holds b records, each m times.

    Parameters
    ----------
    axis : which one
    inner : whether neighbours along it belong to different records, as in rows of shape [T*B]; else to the same one,
        as in [B*T]
    """

    axis: int
    inner: bool = False

    def split(self, tensor: torch.Tensor, records: int) -> torch.Tensor:
        """Return a tensor with its records first, (b, ..., m, ...): m stands where the axis was."""
        times = tensor.shape[self.axis] // records
        sizes = (times, records) if self.inner else (records, times)
        apart = tensor.reshape(*tensor.shape[: self.axis], *sizes, *tensor.shape[self.axis + 1 :])
        return apart.movedim(self.axis + self.inner, 0)

    def rows(self, tensor: torch.Tensor, records: int) -> torch.Tensor:
        """Return rows of features by record, (b, m, features): the last axis holds the features."""
        split = self.split(tensor, records)
        return split.reshape(records, -1, split.shape[-1])

    def holds(self, marked: torch.Tensor, records: int, record: int) -> bool:
        """Return whether all that is marked belongs to one record."""
        by_record = self.split(marked, records).flatten(1).any(1)
        by_record[record] = False
        return not bool(by_record.any())


def candidates(shape: tuple[int, ...], axes: Iterable[int], records: int) -> list[Layout]:
    """Return the layouts that a shape allows, with the records along one of the axes."""
    found = []
    for axis in axes:
        times, rest = divmod(shape[axis], records)
        if times and not rest:
            found.append(Layout(axis))
            if times > 1:
                found.append(Layout(axis, inner=True))
    return found
