"""A file's graph differentiated, and held against the runtime about every record whose gradients are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmcore.asking import predictions
from pmcore.intake import Intake, Runtime
from pmcore.interfaces import Array, Floats, GradientRequest, GradientSource, Inputs
from pmcore.layers import LayerTable
from pmcore.reading import Reading
from pmcore_autograd.cotangents import cotangent_of
from pmcore_autograd.exactly import exactly
from pmcore_autograd.gate import Gate
from pmcore_autograd.layered import by_layer
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


class Differentiated:
    """One graph of a file, with the engine that takes its gradients.

    Parameters
    ----------
    module : the graph, on its device
    table : the layers by whose names gradients are asked for
    intake : what the runtime takes
    path : the model's file, for messages
    device, threads : where and on how many threads torch computes
    """

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
            by_layer(module, table),
            batched=self._fixed is None and not self._single,
            title=path,
        )
        self.gate: Gate | None = None

    @property
    def source(self) -> GradientSource:
        """Return where gradients came from, so far."""
        kinds = {str(value.dtype).removeprefix("torch.") for value in self._module.parameters()}
        place = "" if self._device == "cpu" else f" on {self._device.upper()}"
        return GradientSource(
            EXPORTED,
            self._engine.method,
            f"{', '.join(sorted(kinds)) or 'float32'}{place}",
            None if self.gate is None else self.gate.difference,
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

        expected = predictions(running.runtime, running.intake, running.reading, sample).astype(np.float64)
        tensors = self._tensors(running.intake, sample)
        with self._exactly():
            if self._fixed is None and not self._single:
                found = self._predictions(tensors)
            else:
                rows = range(len(expected))
                found = torch.cat([self._predictions({k: v[i : i + 1] for k, v in tensors.items()}) for i in rows])
        reading = running.reading
        gate = Gate(
            expected,
            running.precision,
            str(self._path),
            task=reading.task,
            scale=reading.scale,
            rounds=self._module.surrogate,
        )
        gate.hold(reading.scores(found.double().cpu().numpy(), len(expected), self._path), expected)
        self.gate = gate

    def answers(
        self,
        running: Running,
        inputs: Inputs,
        labels: Array,
        requests: Sequence[GradientRequest],
        expected: Array | None,
    ) -> Mapping[GradientRequest, Array]:
        """Return what `Model.gradients` returns, if the graph answers about these records as the runtime does."""
        cotangent = cotangent_of(running.reading, labels, self._path)
        seen: list[tuple[slice, Array]] = []

        def watched(predictions: Array, rows: slice) -> Floats:
            seen.append((rows, running.reading.scores(predictions, len(predictions), self._path)))
            return cotangent(predictions, rows)

        with self._exactly(gradients=True):
            found = self._engine.reduce(self._tensors(running.intake, inputs), watched, requests)
        if self.gate is not None and seen:
            if expected is None:
                expected = predictions(running.runtime, running.intake, running.reading, inputs)
            made = np.full((len(labels), seen[0][1].shape[1]), np.nan)
            for rows, scores in seen:  # those that were taken in two ways stand there twice
                made[rows] = scores
            self.gate.hold(made, expected)
        return found

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
