"""What is trained: networks of one architecture, made with fresh parameters and written when they are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.outputs import Scale

if TYPE_CHECKING:
    from torch import nn


class Architecture(ABC):
    """An architecture in torch.

    Parameters
    ----------
    names : inputs, in the order in which its networks take them
    scale : what the numbers of their predictions are
    """

    names: tuple[str, ...]
    scale: Scale

    @abstractmethod
    def fresh(self, seed: int) -> nn.Module:
        """Return a network with fresh parameters, the same for the same seed.

        It takes tensors in the order of `names`, and returns predictions, (b, ...).
        """

    @abstractmethod
    def write(self, network: nn.Module, folder: Path) -> Path:
        """Write a network, and return its file."""

    def loading(self) -> Mapping[str, str]:
        """Return what a backend must be told to load the file, besides what it is told of the target."""
        return {}
