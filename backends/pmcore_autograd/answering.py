"""Gradients for a backend whose runtime has none: its file differentiated here, and held against the runtime first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.asking import few
from pmcore.errors import AuditError, ModelError, OutOfMemory
from pmcore.intake import Intake, Runtime
from pmcore.interfaces import Array, GradientRequest, GradientSource, Inputs
from pmcore.layers import LayerTable
from pmcore.reading import Reading
from pmcore_autograd.cotangents import cotangent_of
from pmcore_autograd.exactly import exactly
from pmcore_autograd.gate import Agreement, compare
from pmcore_autograd.per_record import PerRecord

if TYPE_CHECKING:
    import torch

    from pmcore_autograd.module import ExportedModule

EXPORTED = "exported graph"


@dataclass(frozen=True)
class Running:
    """A model as its backend runs it at the moment.

    Parameters
    ----------
    runtime : answers for it
    intake : what it takes
    reading : which tensor holds its predictions, and how they are read
    precision : in which the runtime computes
    sample : a few records, or nothing where none have been seen yet
    """

    runtime: Runtime
    intake: Intake
    reading: Reading
    precision: str
    sample: Inputs


class RuntimeGradients:
    """Per-record gradients of one model file, loaded when they are first asked for.

    Parameters
    ----------
    read : the name of a tensor of the graph -> the graph up to it, as a module
    layers : gives the layers by whose names gradients are asked for
    path : the model's file, for messages
    device : "cpu", "cuda:0", ...: where gradients are computed, if torch finds it; else on the CPU
    threads : of torch, or None for its own choice
    """

    def __init__(
        self,
        read: Callable[[str], ExportedModule],
        layers: Callable[[], LayerTable],
        path: Path,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self._read = read
        self._layers = layers
        self._path = path
        self._device = device
        self._threads = threads
        self._graphs: dict[str, _Graph | AuditError] = {}
        self._asked: _Graph | None = None

    @property
    def source(self) -> GradientSource | None:
        """Return where gradients came from, once some have been asked for."""
        return None if self._asked is None else self._asked.source

    def obstacle(self, running: Running) -> str | None:
        """Return why there are no gradients, in one phrase, or None; held against the runtime if records were seen."""
        try:
            self._graph(running)
        except OutOfMemory:
            raise
        except AuditError as error:
            return str(error).removeprefix(f"{self._path}: ")
        return None

    def answers(
        self, running: Running, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return what `Model.gradients` returns.

        Raises
        ------
        AuditError
            The file cannot be differentiated, or does not answer as the runtime does.
        """
        graph = self._graph(running)
        if graph.agreement is None:
            graph.hold_against(running, few(inputs))
        self._asked = graph
        return graph.answers(running, inputs, labels, requests)

    def _graph(self, running: Running) -> _Graph:
        tensor = running.reading.tensor
        if tensor not in self._graphs:
            try:
                self._graphs = {tensor: self._loaded(tensor, running)}
            except OutOfMemory:
                raise
            except AuditError as error:
                self._graphs = {tensor: error}
        found = self._graphs[tensor]
        if isinstance(found, AuditError):
            raise found
        if found.agreement is None and running.sample:
            try:
                found.hold_against(running, running.sample)
            except OutOfMemory:
                raise
            except AuditError as error:
                self._graphs = {tensor: error}
                raise
        return found

    def _loaded(self, tensor: str, running: Running) -> _Graph:
        module = self._read(tensor)
        if next(module.parameters(), None) is None:
            raise ModelError(
                "no weights were found in the graph that a gradient could be of; audit it without gradients"
            )
        import torch

        device = self._device if torch.cuda.is_available() else "cpu"
        return _Graph(module.to(device), self._layers(), running.intake, self._path, device, self._threads)


class _Graph:
    """One graph with the engine that takes its gradients."""

    def __init__(
        self,
        module: ExportedModule,
        table: LayerTable,
        intake: Intake,
        path: Path,
        device: str,
        threads: int | None,
    ) -> None:
        self._module = module
        self._path = path
        self._device = device
        self._threads = threads
        self._single = intake.single
        fixed = [spec.shape[0] for spec in module.inputs if spec.shape and isinstance(spec.shape[0], int)]
        self._fixed = None if intake.single or not fixed else max(1, fixed[0])
        self._engine = PerRecord(
            module,
            self._predictions,
            _by_layer(module, table),
            batched=self._fixed is None and not self._single,
            title=path,
        )
        self.agreement: Agreement | None = None

    @property
    def source(self) -> GradientSource:
        """Return where gradients came from, so far."""
        kinds = {str(value.dtype).removeprefix("torch.") for value in self._module.parameters()}
        place = "" if self._device == "cpu" else f" on {self._device.upper()}"
        return GradientSource(
            EXPORTED,
            self._engine.method,
            f"{', '.join(sorted(kinds)) or 'float32'}{place}",
            None if self.agreement is None else self.agreement.difference,
            self._module.surrogate,
        )

    def hold_against(self, running: Running, sample: Inputs) -> None:
        """Compare the graph with the runtime on a few records.

        Raises
        ------
        Disagrees
            They answer differently.
        """
        import torch

        (expected,) = running.intake.ask(running.runtime, (running.reading.tensor,), sample)
        tensors = self._tensors(running.intake, sample)
        with self._exactly():
            if self._fixed is None and not self._single:
                found = self._predictions(tensors)
            else:
                rows = range(len(expected))
                found = torch.cat([self._predictions({k: v[i : i + 1] for k, v in tensors.items()}) for i in rows])
        self.agreement = compare(found.double().cpu().numpy(), expected, running.precision, str(self._path))

    def answers(
        self, running: Running, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return what `Model.gradients` returns."""
        cotangent = cotangent_of(running.reading, labels, self._path)
        with self._exactly(gradients=True):
            return self._engine.reduce(self._tensors(running.intake, inputs), cotangent, requests)

    def _exactly(self, gradients: bool = False) -> AbstractContextManager[None]:
        return exactly(self._device.partition(":")[0], self._threads, deployed=False, gradients=gradients)

    def _predictions(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return predictions of records, (b, ...); of one at a time where the file takes no other number."""
        given = [tensors[spec.name] for spec in self._module.inputs]
        if self._single:
            given = [value[0] for value in given]
        elif self._fixed is not None:
            given = [value.expand(self._fixed, *value.shape[1:]) for value in given]
        found: torch.Tensor = self._module(*given)  # one output is read
        return found[None] if self._single else found if self._fixed is None else found[:1]

    def _tensors(self, intake: Intake, inputs: Inputs) -> dict[str, torch.Tensor]:
        import torch

        taken = intake.taken(inputs)
        return {name: torch.tensor(array).to(self._device) for name, array in taken.items()}


def _by_layer(module: ExportedModule, table: LayerTable) -> dict[str, list[torch.Tensor]]:
    """Return layer -> its parameters; what no layer of the table owns stands under the tensor that it makes."""
    names = dict(zip(table.tensors, (layer.name for layer in table.layers), strict=True))
    found: dict[str, list[torch.Tensor]] = {layer.name: [] for layer in table.layers}
    parameters = dict(module.named_parameters())
    for name, tensor in module.owners.items():
        found.setdefault(names.get(tensor, tensor), []).append(parameters[name])
    return found
