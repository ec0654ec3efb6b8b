"""A module and how it is asked: differentiated, or with other parameters for the while, and left as it was."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pmcore.errors import ModelError

if TYPE_CHECKING:
    import torch

_SMALL = 2**16
"""Numbers in the largest buffer that is put back: larger ones are constants and no statistics."""

Tensors = Mapping[str, "torch.Tensor"]
Forward = Callable[[Tensors], "torch.Tensor"]


@dataclass(frozen=True)
class Network:
    """What computes predictions of a batch.

    Parameters
    ----------
    module : owns the parameters
    forward : asks it: inputs by name, the records first, to predictions (b, ...)
    names : of the parameters that are differentiated, as the module calls them
    batched : whether `forward` takes several records at a time
    """

    module: torch.nn.Module
    forward: Forward
    names: tuple[str, ...]
    batched: bool = True
    parameters: tuple[torch.Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        owned = dict(self.module.named_parameters(remove_duplicate=False))
        object.__setattr__(self, "parameters", tuple(owned[name] for name in self.names))

    @contextlib.contextmanager
    def differentiable(self) -> Iterator[None]:
        """Let autograd see the parameters for the block, also those that were frozen and where it was off."""
        import torch

        frozen = [parameter for parameter in self.parameters if not parameter.requires_grad]
        with torch.inference_mode(False), torch.enable_grad(), self._buffers_kept():
            for parameter in frozen:
                parameter.requires_grad_(True)
            try:
                yield
            finally:
                for parameter in frozen:
                    parameter.requires_grad_(False)

    @contextlib.contextmanager
    def _buffers_kept(self) -> Iterator[None]:
        """Put back what the block writes into small buffers, such as counters and running statistics."""
        import torch

        small = [(value, value.clone()) for value in self.module.buffers() if _kept(value)]
        versions = [value._version for value, _ in small]
        try:
            yield
        finally:
            with torch.no_grad():
                for (value, before), version in zip(small, versions, strict=True):
                    if value._version != version:
                        value.copy_(before)

    def predict(self, inputs: Tensors) -> torch.Tensor:
        """Return the predictions of a batch: by vmap where the network takes one record at a time.

        Raises
        ------
        ModelError
            They are not one row per record.
        """
        import torch

        if self.batched:
            return self._rows(self.forward(inputs), count(inputs))

        def alone(record: Tensors) -> torch.Tensor:
            return self.predict_one({name: value[None].clone() for name, value in record.items()})[0]

        with mappable():
            found: torch.Tensor = torch.func.vmap(alone)(dict(inputs))
        return found

    def predict_one(self, inputs: Tensors) -> torch.Tensor:
        """Return the predictions of a batch that holds one record, (1, ...)."""
        return self._rows(self.forward(inputs), 1)

    def _rows(self, predictions: torch.Tensor, records: int) -> torch.Tensor:
        if not predictions.ndim or len(predictions) != records:
            raise ModelError(
                f"predictions of {records} records have the shape {tuple(predictions.shape)}; "
                "gradients by record need one row for each"
            )
        return predictions

    def predict_with(self, parameters: Mapping[str, torch.Tensor], inputs: Tensors) -> torch.Tensor:
        """Return the predictions with some parameters exchanged; differentiable by `torch.func`."""
        import torch

        exchanged = {f"module.{name}": value for name, value in parameters.items()}
        found: torch.Tensor = torch.func.functional_call(_asking(self), exchanged, (inputs,))
        return found


@contextlib.contextmanager
def mappable() -> Iterator[None]:
    """Choose operators that vmap has rules for, and let those without be slow in silence, for the block."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore")
        yield


def _asking(network: Network) -> torch.nn.Module:
    """Return a module whose only work is to ask the network, so that its parameters can be exchanged from outside."""
    from torch import nn

    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = network.module

        def forward(self, inputs: Tensors) -> torch.Tensor:
            return network.forward(inputs)

    return Asking()


def _kept(buffer: torch.Tensor) -> bool:
    return buffer.numel() <= _SMALL and not buffer.is_inference()


def count(inputs: Tensors) -> int:
    """Return the number of records."""
    return len(next(iter(inputs.values())))


def some(inputs: Tensors, records: slice) -> dict[str, torch.Tensor]:
    """Return copies of some records: what a network does to them in place reaches nobody."""
    return {name: value[records].detach().clone() for name, value in inputs.items()}
