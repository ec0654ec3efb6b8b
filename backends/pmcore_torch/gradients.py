"""Per-record gradients of a network, by the engine that exported graphs use too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pmcore.errors import AuditError
from pmcore.intake import Intake
from pmcore.interfaces import Array, GradientRequest, GradientSource, Inputs
from pmcore.reading import Reading
from pmcore_autograd.cotangents import cotangent_of
from pmcore_autograd.exactly import exactly
from pmcore_autograd.per_record import PerRecord
from pmcore_torch.differentiable import Differentiable
from pmcore_torch.runtime import TorchRuntime, translated

if TYPE_CHECKING:
    import torch

FRAMEWORK = "framework"


class TorchGradients:
    """The gradients of one network up to one tensor.

    Parameters
    ----------
    tensor : holds the predictions
    intake : what the network takes
    """

    def __init__(self, runtime: TorchRuntime, tensor: str, intake: Intake) -> None:
        self._runtime = runtime
        self._tensor = tensor
        self._single = intake.single
        self._fixed = None if intake.single else intake.batch
        self._network: Differentiable = runtime.network.differentiable(tensor)
        self._engine = PerRecord(
            self._network.module,
            self._predictions,
            self._network.layers,
            batched=self._fixed is None and not self._single,
            title=runtime.path,
        )

    def is_of(self, runtime: TorchRuntime, tensor: str, intake: Intake) -> bool:
        """Tell whether these are the gradients of a network that is asked in this way."""
        how = (None if intake.single else intake.batch, intake.single)
        return (runtime, tensor, how) == (self._runtime, self._tensor, (self._fixed, self._single))

    @property
    def source(self) -> GradientSource:
        """Return where gradients came from, so far."""
        kinds = {str(value.dtype).removeprefix("torch.") for value in self._network.module.parameters()}
        return GradientSource(FRAMEWORK, self._engine.method, ", ".join(sorted(kinds)) or "float32")

    def answers(
        self, intake: Intake, reading: Reading, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return what `Model.gradients` returns.

        Raises
        ------
        OutOfMemory
            Not even one record has room.
        ModelError
            The network failed.
        """
        settings = self._runtime.settings
        cotangent = cotangent_of(reading, labels, self._runtime.path)
        try:
            with exactly(settings.device.kind, settings.threads, deployed=settings.deployed, gradients=True):
                return self._engine.reduce(self._runtime.tensors(intake.taken(inputs)), cotangent, requests)
        except AuditError:
            raise
        except Exception as error:  # the network's own code may raise anything
            raise translated(error, self._runtime.path) from None

    def _predictions(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return predictions of records, (b, ...); of one at a time where the network takes no other number."""
        if self._single:
            return self._network.forward({name: value[0] for name, value in tensors.items()})[None]
        if self._fixed is None:
            return self._network.forward(tensors)
        size = self._fixed
        return self._network.forward({k: v.expand(size, *v.shape[1:]) for k, v in tensors.items()})[:1]
