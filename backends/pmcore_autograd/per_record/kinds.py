"""What operators do with a parameter: how its gradients follow from their inputs and the gradient at the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pmcore_autograd.per_record.convolutions import Convolution, Geometry
from pmcore_autograd.per_record.layouts import Layout
from pmcore_autograd.per_record.lookups import Lookup
from pmcore_autograd.per_record.norms import wide
from pmcore_autograd.per_record.products import Products
from pmcore_autograd.per_record.uses import Use
from pmcore_autograd.per_record.views import ParameterView

if TYPE_CHECKING:
    import torch

Arguments = Sequence[Any]
"""Of an operator, by position."""


class Kind(Protocol):
    """One way to use a parameter."""

    @property
    def method(self) -> str:
        """Return how its gradients are taken, in words for the report."""
        ...

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axes of an output along which the records may be."""
        ...

    def kept(self, given: Arguments) -> tuple[Any, ...]:
        """Return what of the operator's arguments is needed later; called before it runs."""
        ...

    def use(
        self, kept: tuple[Any, ...], gradient: torch.Tensor, view: ParameterView, layout: Layout, records: int
    ) -> Use:
        """Return the use, from what was kept and the gradient at the output."""
        ...


@dataclass(frozen=True)
class Multiplied:
    """A matrix product with a parameter on either side, also of batches of matrices.

    Parameters
    ----------
    other : position of the factor that is not the parameter
    on_left : whether the parameter is the left factor
    batched : whether all is a batch of matrices
    grouped : whether the parameter has a matrix of its own for each of the batch
    """

    other: int
    on_left: bool = False
    batched: bool = False
    grouped: bool = False
    method = "outer products"

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axis of rows, with the parameter on the left that of columns; and that of the batch."""
        along = len(shape) - 1 if self.on_left and len(shape) > 1 else int(self.batched)
        return (along,) if self.grouped or not self.batched else (0, along)

    def kept(self, given: Arguments) -> tuple[Any, ...]:
        """Return the other factor."""
        return (given[self.other].detach(),)

    def use(
        self, kept: tuple[Any, ...], gradient: torch.Tensor, view: ParameterView, layout: Layout, records: int
    ) -> Use:
        """Return outer products of the rows of the factor and of the gradient."""
        factor = kept[0]
        gradient = gradient if gradient.ndim == factor.ndim else gradient[..., None]
        if self.on_left:
            factor, gradient = factor.transpose(-1, -2), gradient.transpose(-1, -2)
            layout = Layout(layout.axis - 1, layout.inner) if layout.axis else layout
        sides = [wide(side) for side in ((gradient, factor) if self.on_left else (factor, gradient))]
        if self.grouped:
            left, right = (layout.split(side, records) for side in sides)
        else:
            left, right = (layout.rows(side, records)[:, None] for side in sides)
        return Products(view.whole, right, left) if view.transposed else Products(view, left, right)


@dataclass(frozen=True)
class Convolved:
    """The weight of a convolution of any rank, also a transposed one."""

    geometry: Geometry
    method = "convolutions record by record"

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axis of images."""
        return (0,)

    def kept(self, given: Arguments) -> tuple[Any, ...]:
        """Return the images."""
        return (given[0].detach(),)

    def use(
        self, kept: tuple[Any, ...], gradient: torch.Tensor, view: ParameterView, layout: Layout, records: int
    ) -> Use:
        """Return the images and gradients of each record."""
        images, gradients = (layout.split(wide(side), records) for side in (kept[0], gradient))
        return Convolution(view, images, gradients, self.geometry)


@dataclass(frozen=True)
class LookedUp:
    """A table whose rows are read by number.

    Parameters
    ----------
    position, place : of the numbers of the rows among the arguments
    leading : how many axes of the output they have
    without : the row that has no gradient, or -1
    """

    position: int
    place: int | None
    leading: int
    without: int = -1
    method = "rows of tables"

    def axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the axes of the numbers."""
        return tuple(range(self.leading))

    def kept(self, given: Arguments) -> tuple[Any, ...]:
        """Return the numbers of the rows."""
        numbers = given[self.position] if self.place is None else given[self.position][self.place]
        return (numbers.detach(),)

    def use(
        self, kept: tuple[Any, ...], gradient: torch.Tensor, view: ParameterView, layout: Layout, records: int
    ) -> Use:
        """Return the rows of each record, and the gradients at them."""
        import torch

        numbers = kept[0]
        gradients = wide(gradient).reshape(*numbers.shape, -1)
        rows = torch.remainder(layout.rows(numbers[..., None], records)[..., 0], view.size[0])
        if self.without >= 0:
            rows = torch.where(rows == self.without, -1, rows)
        return Lookup(view, rows, layout.rows(gradients, records))
