"""Gradients of the weights of convolutions: one grouped convolution for all records, one each, or Gram matrices."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.products import Products
from pmcore_autograd.per_record.sketching import TorchSketch
from pmcore_autograd.per_record.uses import chunks, filled
from pmcore_autograd.per_record.views import ParameterView

if TYPE_CHECKING:
    import torch

_CONVOLVED, _MULTIPLIED = 100.0, 25.0
"""Multiplications in a nanosecond of torch's convolutions and of its products of many small matrices, one thread."""
_MOVED = 0.5
"""Nanoseconds in which they rearrange one number of what they read."""
_CALL = 45_000.0
"""Nanoseconds that one more call of a convolution takes."""
_MANY, _CHEAP, _DEAR = 100_000, 0.5, 5.0
"""Weights from which a grouped convolution writes them slowly, and nanoseconds per weight below and above."""
_ALONE = 0.6
"""The same for a convolution of one record."""


@dataclass(frozen=True)
class Geometry:
    """What `aten.convolution` is told besides its tensors."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class Convolution:
    """The use of a weight by a convolution over b records, of m images each.

    Parameters
    ----------
    view : its size is that of the weight
    images : (b, m, channels, ...)
    gradients : at the output, (b, m, channels, ...)

    References
    ----------
    Rochette, Manoel, Tramel. Efficient Per-Example Gradient Computations in Convolutional Neural Networks.
    arXiv:1912.06015 (gradients of all records by one convolution with a group for each).
    """

    view: ParameterView
    images: torch.Tensor
    gradients: torch.Tensor
    geometry: Geometry

    @property
    def records(self) -> int:
        """Return b."""
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Return where the gradients are."""
        return self.images.device

    def written(self, records: slice) -> torch.Tensor:
        """Return the gradients of some records, (r, *view.size)."""
        import torch

        images, gradients = self.images[records], self.gradients[records]
        if self._grouped_cost <= self._single_cost:
            return self._grouped(images, gradients)
        return torch.stack(
            [
                self._weights(image, gradient, self.view.size, self.geometry.groups)
                for image, gradient in zip(images, gradients, strict=True)
            ]
        )

    def power(self, order: float, room: int) -> torch.Tensor | None:
        """Return what norms are put together from, (b,) float64, by Gram matrices where the image is small."""
        how = self.geometry
        if order != 2 or how.transposed or self._gram_cost > min(self._grouped_cost, self._single_cost):
            return None
        each = 2 * self._positions * self._patch * how.groups * self.images.element_size()
        parts = chunks(self.records, each, room)
        return filled(self, parts, lambda part: self._products(part).gram(room))

    def sketch(self, table: TorchSketch, room: int) -> torch.Tensor | None:
        """Return the sketches, (b, size) float64, of patches and gradients where the image has few positions."""
        how = self.geometry
        separate = self._positions * (1.5 * self._patch + self.gradients.shape[2] + 12 * table.size)
        written = min(self._grouped_cost, self._single_cost) + 2 * self.view.entries
        if how.groups > 1 or how.transposed or not self.view.in_order or separate > written:
            return None
        each = 4 * self._positions * self._patch * self.images.element_size()
        parts = chunks(self.records, each, room)
        return filled(self, parts, lambda part: self._products(part).factored(table), table.size)

    @property
    def _patch(self) -> int:
        """Return how many numbers of a group enter one number of the output."""
        return prod(self.view.size[1:])

    @property
    def _positions(self) -> int:
        """Return how many patches a record has."""
        images = self.images if self.geometry.transposed else self.gradients
        return images.shape[1] * prod(images.shape[3:])

    @property
    def _convolved(self) -> float:
        """Return nanoseconds per record of any convolution that makes the gradient."""
        moved = prod(self.images.shape[1:]) + prod(self.gradients.shape[1:])
        return self.view.entries * self._positions / _CONVOLVED + _MOVED * moved

    @property
    def _grouped_cost(self) -> float:
        """Return nanoseconds per record."""
        weights = self.view.entries * self.images.shape[1]
        return self._convolved + weights * (_CHEAP if self.view.entries < _MANY else _DEAR)

    @property
    def _single_cost(self) -> float:
        return self._convolved + _CALL + _ALONE * self.view.entries

    @property
    def _gram_cost(self) -> float:
        groups = self.geometry.groups
        inner = self._positions**2 * (groups * (self._patch + 16) + self.gradients.shape[2])
        return inner / _MULTIPLIED + self._positions * self._patch * groups

    def _grouped(self, images: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        """Return gradients by one convolution in which every image has groups of its own."""
        records, times = images.shape[:2]
        many = records * times
        size = self.view.size
        found = self._weights(
            images.reshape(1, many * images.shape[2], *images.shape[3:]),
            gradients.reshape(1, many * gradients.shape[2], *gradients.shape[3:]),
            (many * size[0], *size[1:]),
            many * self.geometry.groups,
        )
        by_image = found.reshape(records, times, *size)
        return by_image[:, 0] if times == 1 else by_image.sum(1)

    def _weights(
        self, images: torch.Tensor, gradients: torch.Tensor, size: tuple[int, ...], groups: int
    ) -> torch.Tensor:
        """Return the gradient of a weight of some size, summed over the images."""
        import torch

        how = self.geometry
        found: torch.Tensor = torch.ops.aten.convolution_backward(
            gradients,
            images,
            images.new_empty(1).expand(size),
            None,
            how.stride,
            how.padding,
            how.dilation,
            how.transposed,
            how.output_padding,
            groups,
            [False, True, False],
        )[1]
        return found

    def _products(self, records: slice) -> Products:
        """Return the gradient of some records as products of the output's gradients and patches of the input."""
        groups, times = self.geometry.groups, self.images.shape[1]
        patches = _patches(self.images[records].flatten(0, 1), self.view.size[2:], self.geometry)  # (n, c * k, t)
        gradients = self.gradients[records].flatten(3)
        right = patches.reshape(-1, times, groups, patches.shape[1] // groups, patches.shape[2])
        left = gradients.reshape(-1, times, groups, gradients.shape[2] // groups, gradients.shape[3])
        sides = [side.permute(0, 2, 1, 4, 3).flatten(2, 3) for side in (left, right)]  # (b, groups, m * t, ...)
        return Products(self.view, sides[0], sides[1])


def _patches(images: torch.Tensor, kernel: tuple[int, ...], how: Geometry) -> torch.Tensor:
    """Return the patches that a convolution sees, (n, channels * kernel, positions)."""
    import torch

    pad, unfold = torch.nn.functional.pad, torch.nn.functional.unfold
    if images.ndim == 4:
        return unfold(images, kernel, how.dilation, how.padding, how.stride)
    found = pad(images, [edge for edge in reversed(how.padding) for _ in range(2)])
    for axis, (size, step, gap) in enumerate(zip(kernel, how.stride, how.dilation, strict=True)):
        found = found.unfold(2 + axis, (size - 1) * gap + 1, step)[..., ::gap]  # (n, c, *positions, *kernel)
    axes = len(kernel)
    by_channel = found.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    return by_channel.flatten(1, 1 + axes).flatten(2)
