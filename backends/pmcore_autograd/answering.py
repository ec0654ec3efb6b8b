"""Gradients for a backend whose runtime has none: its file differentiated here, and held against the runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.asking import few
from pmcore.errors import AuditError, ModelError, OutOfMemory
from pmcore.interfaces import Array, GradientRequest, GradientSource, Inputs
from pmcore.layers import LayerTable
from pmcore_autograd.differentiated import EXPORTED, Differentiated, Running
from pmcore_autograd.gate import Disagrees
from pmcore_autograd.telling import naming

if TYPE_CHECKING:
    from pmcore_autograd.module import ExportedModule

__all__ = ["EXPORTED", "Running", "RuntimeGradients"]


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
        self._graphs: dict[str, Differentiated | AuditError] = {}
        self._asked: Differentiated | None = None

    @property
    def source(self) -> GradientSource | None:
        """Return where gradients came from, once some have been asked for."""
        return None if self._asked is None else self._asked.source

    def obstacle(self, running: Running) -> str | None:
        """Return why there are no gradients, in one phrase, or None; held against the runtime if records were seen."""
        try:
            self._graph(running)
        except AuditError as error:  # memory that does not suffice for a few records is an obstacle like others
            return str(error).removeprefix(f"{self._path}: ")
        return None

    def answers(
        self,
        running: Running,
        inputs: Inputs,
        labels: Array,
        requests: Sequence[GradientRequest],
        expected: Array | None = None,
    ) -> Mapping[GradientRequest, Array]:
        """Return what `Model.gradients` returns.

        Parameters
        ----------
        expected : what `Model.predict` returns about these records, (b, k); asked of the runtime if it is not given

        Raises
        ------
        AuditError
            The file cannot be differentiated, or does not answer as the runtime does about one of these records.
        """
        with naming(self._path):
            graph = self._graph(running)
            if graph.gate is None:
                graph.hold_against(running, few(inputs))
            self._asked = graph
            try:
                return graph.answers(running, inputs, labels, requests, expected)
            except Disagrees as error:
                self._graphs = {running.reading.tensor: error}
                raise

    def _graph(self, running: Running) -> Differentiated:
        """Return the graph up to the predictions, or raise what stands in its way; either is kept."""
        tensor = running.reading.tensor
        with naming(self._path):
            try:
                if tensor not in self._graphs:
                    self._graphs = {tensor: self._loaded(tensor, running)}
                found = self._graphs[tensor]
                if isinstance(found, AuditError):
                    raise found
                if found.gate is None and running.sample:
                    found.hold_against(running, running.sample)
            except OutOfMemory:  # may be had another time
                raise
            except AuditError as error:
                self._graphs = {tensor: error}
                raise
        return found

    def _loaded(self, tensor: str, running: Running) -> Differentiated:
        try:
            module = self._read(tensor)
        except OutOfMemory as error:  # half a batch would not help
            told = str(error).removesuffix("; use a smaller batch")
            raise ModelError(f"{told} when constants were computed; audit it without gradients") from error
        if next(module.parameters(), None) is None:
            raise ModelError(
                "no weights were found in the graph that a gradient could be of; audit it without gradients"
            )
        import torch

        device = self._device if torch.cuda.is_available() else "cpu"
        return Differentiated(module.to(device), self._layers(), running.intake, self._path, device, self._threads)
