"""What lies inside a runtime's model, for the backends that share this: hidden layers, the last layer, gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.asking import activations
from pmcore.errors import ModelError
from pmcore.intake import Runtime
from pmcore.interfaces import Array, GradientRequest, GradientSource, HeadInput, Inputs, Outputs, Want
from pmcore.last_layer import LastLayer, ask_head_input, ask_together
from pmcore.layers import LayerTable
from pmcore_autograd.answering import Running, RuntimeGradients

if TYPE_CHECKING:
    from pmcore_autograd.module import ExportedModule


@dataclass(frozen=True)
class Opening:
    """How a backend opens its model deeper than predictions go.

    Parameters
    ----------
    layers : gives the layers, and the names by which the runtime gives their outputs
    last_layer : the tensor of the predictions -> the linear layer that it leaves, or why there is none
    runtime : names of tensors -> a runtime that gives these beside the predictions
    graph : the tensor of the predictions -> the graph up to it, to be differentiated
    """

    layers: Callable[[], LayerTable]
    last_layer: Callable[[str], LastLayer | str]
    runtime: Callable[[Iterable[str]], Runtime]
    graph: Callable[[str], ExportedModule]


class Inside:
    """Answers about the inside of one model; what was found of it is kept.

    Parameters
    ----------
    path : the model's file, for messages
    device, threads : where and on how many threads gradients are computed
    """

    def __init__(self, opening: Opening, path: Path, device: str = "cpu", threads: int | None = None) -> None:
        self._opening = opening
        self._path = path
        self._last: dict[str, LastLayer | str] = {}
        self._gradients = RuntimeGradients(opening.graph, opening.layers, path, device, threads)

    @property
    def source(self) -> GradientSource | None:
        """Return where gradients came from, once some have been asked for."""
        return self._gradients.source

    def activations(self, running: Running, inputs: Inputs, layers: Sequence[str]) -> Mapping[str, Array]:
        """Return what `Model.activations` returns."""
        tensors = self._tensors(layers)
        return activations(self._opening.runtime(tensors.values()), running.intake, tensors, inputs)

    def head_input(self, running: Running, inputs: Inputs) -> HeadInput:
        """Return what `Model.head_input` returns."""
        last = self._last_layer(running)
        return ask_head_input(self._opening.runtime(last.tensors), running.intake, running.reading, last, inputs)

    def gradients(
        self, running: Running, inputs: Inputs, labels: Array, requests: Sequence[GradientRequest]
    ) -> Mapping[GradientRequest, Array]:
        """Return what `Model.gradients` returns."""
        return self._gradients.answers(running, inputs, labels, requests)

    def obstacle(self, running: Running, want: Want) -> str | None:
        """Return why the last layer or gradients cannot be had, if they are wanted."""
        reason = self._obstacle_to_last_layer(running) if want.head_input else None
        if reason is None and want.gradients:
            reason = self._gradients.obstacle(running)
        return reason

    def ask(self, running: Running, inputs: Inputs, labels: Array, want: Want) -> Outputs:
        """Answer a wish that predictions are part of; all but gradients in one pass."""
        tensors = self._tensors(sorted(want.activations))
        last = self._last_layer(running) if want.head_input else None
        runtime = self._opening.runtime((*tensors.values(), *(last.tensors if last else ())))
        outputs = ask_together(runtime, running.intake, running.reading, tensors, last, inputs, labels)
        if not want.gradients:
            return outputs
        requests = sorted(want.gradients, key=repr)
        gradients = self._gradients.answers(running, inputs, labels, requests, outputs.predictions)
        return replace(outputs, gradients=gradients)

    def _tensors(self, layers: Sequence[str]) -> dict[str, str]:
        return {name: self._opening.layers().tensor(name, self._path) for name in layers}

    def _obstacle_to_last_layer(self, running: Running) -> str | None:
        tensor = running.reading.tensor
        if tensor not in self._last:
            self._last[tensor] = self._opening.last_layer(tensor)
        found = self._last[tensor]
        return found if isinstance(found, str) else found.obstacle(running.reading)

    def _last_layer(self, running: Running) -> LastLayer:
        reason = self._obstacle_to_last_layer(running)
        found = self._last[running.reading.tensor]
        if reason is not None or isinstance(found, str):
            raise ModelError(f"{self._path}: {reason}")
        return found
