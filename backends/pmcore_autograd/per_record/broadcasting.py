"""Parameters that are broadcast over the records: added to them, multiplied with them, or used number by number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmcore_autograd.per_record.folding import folded, repeated_axes
from pmcore_autograd.per_record.kinds import Arguments
from pmcore_autograd.per_record.layouts import Layout
from pmcore_autograd.per_record.norms import wide
from pmcore_autograd.per_record.uses import Use
from pmcore_autograd.per_record.views import ParameterView
from pmcore_autograd.per_record.written import Written

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Added:
    """A parameter that is added to every record, or copied to each: biases, positions, class tokens.

    Parameters
    ----------
    size : of the operand, aligned with the output
    factor : by which it is multiplied first
    part : axis, first and length of the part of the output where it stands, where that is not all of it
    """

    size: tuple[int, ...]
    factor: float = 1.0
    part: tuple[int, int, int] | None = None
    method = "sums by record"

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axes along which the operand is repeated."""
        return tuple(axis for axis in repeated_axes(self.size) if self.part is None or axis != self.part[0])

    def kept(self, given: Arguments) -> tuple[Any, ...]:
        """Return nothing."""
        return ()

    def use(
        self, kept: tuple[Any, ...], gradient: torch.Tensor, view: ParameterView, layout: Layout, records: int
    ) -> Use:
        """Return the gradient, summed."""
        part = gradient if self.part is None else gradient.narrow(*self.part)
        values = folded(wide(part), self.size, layout, records)
        scaled = values if self.factor == 1.0 else values * self.factor
        return Written(view, scaled.reshape(records, *view.size))


@dataclass(frozen=True)
class Scaling:
    """A parameter that every record is multiplied with, after it was normalised or as it is.

    Parameters
    ----------
    size : of the operand, aligned with the output
    taken : positions of the arguments that are needed
    normalised : makes of them what is multiplied
    overwrites : whether the operator writes over its first argument
    """

    size: tuple[int, ...]
    taken: tuple[int, ...]
    normalised: Callable[..., torch.Tensor]
    overwrites: bool = False
    method = "sums by record"

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axes along which the operand is repeated."""
        return repeated_axes(self.size)

    def kept(self, given: Arguments) -> tuple[Any, ...]:
        """Return what is normalised, and by what."""
        taken = [_detached(given[position]) for position in self.taken]
        return (taken[0].clone(), *taken[1:]) if self.overwrites else tuple(taken)

    def use(
        self, kept: tuple[Any, ...], gradient: torch.Tensor, view: ParameterView, layout: Layout, records: int
    ) -> Use:
        """Return the gradient times what was multiplied, summed."""
        full = wide(self.normalised(*kept))
        full = full * wide(gradient) if full.shape != gradient.shape or _is(full, kept) else full.mul_(wide(gradient))
        return Written(view, folded(full, self.size, layout, records).reshape(records, *view.size))


@dataclass(frozen=True)
class Pointwise:
    """A parameter in any other operator that works number by number: it is run again with a copy for each number.

    Parameters
    ----------
    size : of the operand, aligned with the output
    operator : itself
    position : of the operand among its arguments
    """

    size: tuple[int, ...]
    operator: Callable[..., torch.Tensor]
    position: int
    method = "sums by record"

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axes along which the operand is repeated."""
        return repeated_axes(self.size)

    def kept(self, given: Arguments) -> tuple[Any, ...]:
        """Return all arguments."""
        return tuple(_detached(value) for value in given)

    def use(
        self, kept: tuple[Any, ...], gradient: torch.Tensor, view: ParameterView, layout: Layout, records: int
    ) -> Use:
        """Return the gradient of the copies, summed."""
        import torch

        with torch.enable_grad():
            copies = kept[self.position].expand(gradient.shape).clone().requires_grad_()
            output = self.operator(*kept[: self.position], copies, *kept[self.position + 1 :])
            full = torch.autograd.grad(output, copies, gradient)[0]
        return Written(view, folded(wide(full), self.size, layout, records).reshape(records, *view.size))


def _is(tensor: torch.Tensor, kept: tuple[Any, ...]) -> bool:
    """Tell whether a tensor is one of those that were kept, and must not be written to."""
    return any(tensor.data_ptr() == value.data_ptr() for value in kept if hasattr(value, "data_ptr"))


def _detached(value: Any) -> Any:
    import torch

    return value.detach() if isinstance(value, torch.Tensor) else value
