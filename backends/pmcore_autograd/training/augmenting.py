"""Images mirrored, shifted and covered with noise, differently at each step; each reference draws for itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pmcore_autograd.training.pool import generator
from pmcore_autograd.training.recipe import Recipe

_CHANNELS = 4
"""Most channels of an image by which its channel axis is told."""
_FRAME = 8
"""Part of an image's size that the frame around it is wide."""


class Augmentation:
    """What a recipe does to the records of k references at each step.

    Parameters
    ----------
    seeds : of the references
    """

    def __init__(self, recipe: Recipe, seeds: Sequence[int]) -> None:
        self._recipe = recipe
        self._randoms = [generator(seed, 1) for seed in seeds]

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with some of the references."""
        self._randoms = [self._randoms[place] for place in kept]

    def __call__(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return inputs changed anew, each (k, b, ...) as they are given."""
        if not self._recipe.augment:
            return list(inputs)
        return [
            torch.stack([self._changed(part, random) for part, random in zip(value, self._randoms, strict=True)])
            if value.is_floating_point()
            else value
            for value in inputs
        ]

    def _changed(self, value: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        if value.dim() == 4:
            rows, columns = (2, 3) if value.shape[1] <= _CHANNELS or value.shape[3] > _CHANNELS else (1, 2)
            if "flip" in self._recipe.augment:
                mirrored = torch.rand(len(value), generator=random) < 0.5
                value = torch.where(mirrored.view(-1, 1, 1, 1), value.flip(columns), value)
            if "crop" in self._recipe.augment:
                value = _shifted(_shifted(value, rows, random), columns, random)
        if self._recipe.noise:
            value = value + self._recipe.noise * torch.randn(value.shape, generator=random, dtype=value.dtype)
        return value


def _shifted(value: torch.Tensor, axis: int, random: torch.Generator) -> torch.Tensor:
    """Return images moved along an axis, each by a distance of its own; zeros come in."""
    size = value.shape[axis]
    most = max(1, size // _FRAME)
    steps = torch.randint(-most, most + 1, (len(value),), generator=random)
    source = torch.arange(size) + steps[:, None]
    inside = (source >= 0) & (source < size)
    shape = [len(value) if place == 0 else size if place == axis else 1 for place in range(value.dim())]
    moved = value.gather(axis, source.clamp(0, size - 1).view(shape).expand(value.shape))
    return moved * inside.view(shape)
