"""A network as it is differentiated: what holds its parameters, how it is asked, and which layer has which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Differentiable:
    """A network as it is differentiated.

    Parameters
    ----------
    module : holds the parameters, and is asked
    forward : inputs by name -> the tensor of predictions, (b, ...)
    layers : layer -> its parameters; one that several layers use stands in the first
    """

    module: torch.nn.Module
    forward: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
    layers: Mapping[str, Sequence[torch.Tensor]]
