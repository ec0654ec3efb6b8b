"""Networks of one architecture side by side: one as it is, several as one whose parameters have an axis in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

_Call = tuple[torch.Tensor, ...]


class Stack:
    """k networks that are trained together.

    Parameters
    ----------
    networks : each takes tensors in order and returns predictions (b, ...); several differ in nothing but parameters
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self._network = networks[0]
        self._alone = len(networks) == 1
        with torch.no_grad():
            for parameter in self._network.parameters():
                parameter.data = parameter.data.contiguous()
        self._values: dict[str, torch.Tensor] = dict(networks[0].named_parameters())
        if not self._alone:
            self._values = {
                name: torch.stack([network.get_parameter(name).detach() for network in networks]).requires_grad_(
                    value.requires_grad
                )
                for name, value in self._values.items()
            }

    @property
    def alone(self) -> bool:
        """Tell whether it is one network, whose parameters have no axis in front."""
        return self._alone

    @property
    def parameters(self) -> list[torch.Tensor]:
        """Return what is trained, each (k, ...), or (...) of one network alone."""
        return [value for value in self._values.values() if value.requires_grad]

    def train(self, mode: bool) -> None:
        """Switch between training and evaluation."""
        self._network.train(mode)

    def __call__(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return predictions (k * b, ...) for inputs that are (k, b, ...) each."""
        if self._alone:
            found: torch.Tensor = self._network(*(value[0] for value in inputs))
            return found
        many: torch.Tensor = torch.func.vmap(self._one)(self._values, *inputs)
        return many.flatten(0, 1)

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with some of the networks."""
        chosen = list(kept)
        with torch.no_grad():
            self._values = {
                name: value[chosen].requires_grad_(value.requires_grad) for name, value in self._values.items()
            }

    def finish(self, place: int, network: nn.Module) -> None:
        """Give a network the parameters that the one at a place has now."""
        if self._alone:
            return
        with torch.no_grad():
            for name, value in self._values.items():
                network.get_parameter(name).copy_(value[place])

    def _one(self, values: dict[str, torch.Tensor], *inputs: torch.Tensor) -> Any:
        return torch.func.functional_call(self._network, values, inputs)
