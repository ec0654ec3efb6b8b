"""From arrays to tensors and back: one batch through a network, and its failures in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pmcore.devices import tf32_note
from pmcore.errors import AuditError, ModelError
from pmcore.heads import Head
from pmcore.interfaces import Array
from pmcore.last_layer import LastLayer
from pmcore.layers import LayerTable
from pmcore.runtime_failures import failure, first_line
from pmcore_autograd.exactly import exactly
from pmcore_autograd.quiet import quiet
from pmcore_torch.device import Device

if TYPE_CHECKING:
    import torch

    from pmcore_torch.differentiable import Differentiable


class Network(Protocol):
    """What computes: an exported graph, a TorchScript program, or a module."""

    def outputs(self) -> Mapping[str, tuple[int | str | None, ...]] | None:
        """Return the shape of each output that may hold predictions, () if unknown; None before a first `look`."""
        ...

    def look(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Find the outputs by asking once, where the network does not declare them."""
        ...

    def head(self, output: str) -> Head:
        """Return what is known of an output: the tensor before its last activation, if there is one."""
        ...

    def run(self, inputs: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> list[torch.Tensor]:
        """Return outputs, tensors before them, or the outputs of layers."""
        ...

    def differentiable(self, tensor: str) -> Differentiable:
        """Return the network up to a tensor of predictions, as it is differentiated.

        Raises
        ------
        ModelError
            Its parameters cannot be reached from there.
        """
        ...

    def layers(self) -> LayerTable:
        """Return the layers, and the names by which `run` gives their outputs."""
        ...

    def last_layer(self, tensor: str) -> LastLayer | str | None:
        """Return the linear layer that a tensor of predictions leaves, why there is none, or None before a `look`."""
        ...


@dataclass(frozen=True)
class Settings:
    """How a network is asked.

    Parameters
    ----------
    device : where it runs
    threads : threads on the CPU, or None for PyTorch's choice
    deployed : whether PyTorch may round the inputs of products as the process allows
    channels_last : whether images are handed over with the channels innermost
    """

    device: Device
    threads: int | None = None
    deployed: bool = False
    channels_last: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the report must know of the precision."""
        return (tf32_note(self.device.title),) if self.deployed and self.device.kind == "cuda" else ()


@dataclass(frozen=True)
class TorchRuntime:
    """A network that is asked with arrays."""

    network: Network
    settings: Settings
    path: Path
    narrow: Mapping[str, torch.dtype]

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Return the named outputs for one batch; bfloat16 is widened to float32.

        Raises
        ------
        OutOfMemory
            The batch did not fit.
        ModelError
            The network failed for another reason.
        """
        try:
            with exactly(self.settings.device.kind, self.settings.threads, deployed=self.settings.deployed):
                answers = self.network.run(self.tensors(feeds), outputs)
                return [_array(answer) for answer in answers]
        except AuditError:
            raise
        except Exception as error:  # the network's own code may raise anything
            raise translated(error, self.path) from None

    def look(self, feeds: Mapping[str, Array]) -> None:
        """Find the outputs of the network by asking it about one batch."""
        try:
            with quiet(), exactly(self.settings.device.kind, self.settings.threads, deployed=self.settings.deployed):
                self.network.look(self.tensors(feeds))
        except AuditError:
            raise
        except Exception as error:  # as above
            raise translated(error, self.path) from None

    def tensors(self, feeds: Mapping[str, Array]) -> dict[str, torch.Tensor]:
        """Return copies of the arrays where the network computes: what it does to them in place reaches nobody."""
        import torch

        found: dict[str, torch.Tensor] = {}
        cuda = self.settings.device.kind == "cuda"
        for name, array in feeds.items():
            tensor = torch.tensor(array)
            if cuda:
                tensor = tensor.pin_memory()
            kind = self.narrow.get(name)
            if cuda or kind is not None or self.settings.device.kind != "cpu":
                tensor = tensor.to(self.settings.device.spec, dtype=kind, non_blocking=cuda)
            if self.settings.channels_last and tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            found[name] = tensor
        return found


class Looking:
    """A runtime that finds the outputs of a network while it is asked."""

    def __init__(self, runtime: TorchRuntime) -> None:
        self._runtime = runtime

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Look, and answer nothing."""
        self._runtime.look(feeds)
        return []


def translated(error: Exception, path: Path) -> ModelError:
    """Return what PyTorch or a model's own code raised as one line of ours."""
    if "TorchScript interpreter" in str(error):  # whose last line says what happened
        error = RuntimeError(str(error).strip().rpartition("\n")[2])
    kind = "" if isinstance(error, RuntimeError) else f"{type(error).__name__}: "
    return failure(error, "torch", f"{kind}{first_line(error)}", path)


def _array(tensor: torch.Tensor) -> Array:
    import torch

    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    found: Array = tensor.detach().cpu().contiguous().numpy()
    return found
