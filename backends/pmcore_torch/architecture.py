"""The architecture that a factory of the user's makes: modules in training, and their weights as safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pmcore.errors import InputError, ModelError
from pmcore.options import build
from pmcore.outputs import Array
from pmcore.training import TrainingTask
from pmcore_autograd.training.network import Architecture
from pmcore_autograd.training.pool import tensor_of
from pmcore_autograd.training.running import seeded
from pmcore_torch.factories import make_module
from pmcore_torch.model import TorchModel
from pmcore_torch.modules import ModuleNetwork
from pmcore_torch.nesting import leaves
from pmcore_torch.options import TorchOptions
from pmcore_torch.signatures import Taken, module_inputs
from pmcore_torch.watching import watching

_SAMPLE = 8
_TOLD = ("inputs", "output")
"""Options of the target that hold of its references, too."""


class ModuleArchitecture(Architecture):
    """What a factory makes.

    Parameters
    ----------
    factory : "package.module:factory"

    Raises
    ------
    AuditError
        The factory fails, or its modules do not take the records or have no predictions that can be read.
    """

    def __init__(self, task: TrainingTask, factory: str) -> None:
        self._target = task.target
        self._factory = factory
        options = build(TorchOptions, {k: v for k, v in task.options.items() if k in _TOLD}, "options of the target")
        module = self._made(0)
        if next(module.parameters(), None) is None:
            raise InputError(f"factory: {factory} - makes a module without parameters; give one that can be trained")
        self._taken = module_inputs(module, options.inputs, task.target)
        self.names = tuple(spec.name for spec in self._taken.specs)
        if len(self.names) == len(task.inputs) == 1:
            self.names = tuple(task.inputs)
        missing = [name for name in self.names if name not in task.inputs]
        if missing:
            raise InputError(f"factory: {factory} - its input {missing[0]} is not among the records; give them all")
        sample = {
            spec.name: np.asarray(task.inputs[name][:_SAMPLE])
            for spec, name in zip(self._taken.specs, self.names, strict=True)
        }
        reader = TorchModel.wrap(
            module, TorchOptions(device="cpu", output=options.output, task=task.task, inputs=options.inputs)
        )
        reader.prepare(sample)
        described = reader.describe()
        self.scale = described.scale
        self._ending = _find_ending(module, self._taken, sample, described.output)
        if described.classes != task.classes:
            raise InputError(
                f"factory: {factory} - makes modules of {described.classes} classes, and the target has {task.classes}"
            )

    def fresh(self, seed: int) -> nn.Module:
        """Return a module as its factory makes it, with the weights that it draws by a seed."""
        return _Predicting(self._made(seed), self._taken, self._ending)

    def write(self, network: nn.Module, folder: Path) -> Path:
        """Write the weights, buffers included, under the module's own names."""
        from safetensors.torch import save_file

        assert isinstance(network, _Predicting)
        path = folder / f"{self._target.stem}.safetensors"
        state = {name: value.detach().clone().contiguous() for name, value in network.module.state_dict().items()}
        save_file(state, path)
        return path

    def loading(self) -> Mapping[str, str]:
        """Return the factory."""
        return {"model_class": self._factory}

    def _made(self, seed: int) -> nn.Module:
        with seeded(seed):
            return make_module(self._factory)


@dataclass(frozen=True)
class _Ending:
    """Which output of a module leads to its predictions, and whether these are what enters its last activation."""

    output: str
    before: bool


def _find_ending(module: nn.Module, taken: Taken, sample: Mapping[str, Array], predictions: str) -> _Ending:
    """Return where predictions are found that the backend calls by some name."""
    network = ModuleNetwork(module, taken.keywords)
    network.look(_fitted(module, taken, [tensor_of(sample[spec.name]) for spec in taken.specs]))
    outputs = network.outputs() or {}
    found = next((name for name in outputs if network.head(name).before == predictions), None)
    return _Ending(predictions, False) if found is None else _Ending(found, True)


class _Predicting(nn.Module):
    """A module asked for its predictions alone."""

    def __init__(self, module: nn.Module, taken: Taken, ending: _Ending) -> None:
        super().__init__()
        self.module = module
        self._taken = taken
        self._ending = ending

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Return predictions for inputs in order, real numbers in the precision of the weights."""
        given = _fitted(self.module, self._taken, tensors)
        if not self._ending.before:
            found: torch.Tensor = self._outputs(given)[self._ending.output]
            return found
        with watching() as sight:
            ended = sight.ending_of(self._outputs(given)[self._ending.output])
        if ended is None:
            raise ModelError(
                f"output {self._ending.output!r} came from no activation in training, as it does when asked"
            )
        return ended.before

    def _outputs(self, given: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        keywords = self._taken.keywords
        placed = [value for name, value in given.items() if name not in keywords]
        named = {name: value for name, value in given.items() if name in keywords}
        return dict(leaves(self.module(*placed, **named)))


def _fitted(module: nn.Module, taken: Taken, tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return inputs by name, real numbers in the precision of the weights."""
    working = next(module.parameters()).dtype
    return {
        spec.name: value.to(working) if spec.dtype.startswith(("float", "bfloat")) else value
        for spec, value in zip(taken.specs, tensors, strict=True)
    }
