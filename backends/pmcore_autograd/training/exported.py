"""The architecture of an exported file: its graph with fresh parameters, written back into a copy of the file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pmcore.errors import AuditError
from pmcore.training import TrainingTask
from pmcore_autograd.loading import read_cut, save
from pmcore_autograd.module import ExportedModule
from pmcore_autograd.training.network import Architecture
from pmcore_autograd.training.normalising import find_folded, fold_back, unfold
from pmcore_autograd.training.pool import tensor_of

_SAMPLE = 3
_CLOSE = 1e-3


class ExportedArchitecture(Architecture):
    """The graph of a target up to its predictions.

    Parameters
    ----------
    batch_norm : see `ExportTrainer`

    Raises
    ------
    AuditError
        The file cannot be differentiated.
    """

    def __init__(self, task: TrainingTask, batch_norm: str) -> None:
        self._target = task.target
        self.scale = task.scale
        cut = read_cut(task.target, (task.output,))
        self._plain = ExportedModule(cut, task.target)
        self.names = tuple(spec.name for spec in self._plain.inputs)
        missing = [name for name in self.names if name not in task.inputs]
        if len(self.names) == len(task.inputs) == 1:
            self.names = tuple(task.inputs)
        elif missing:
            raise AuditError(f"{task.target}: input {missing[0]} is not among the records - give all of its inputs")
        self._sizes = self._record_by_record(task)
        self._folded = find_folded(cut, everywhere=batch_norm == "all") if batch_norm != "none" else ()
        if self._sizes is not None:
            self._folded = ()  # a record alone is no batch to normalise by
        self._prototype = ExportedModule(unfold(cut, self._folded), task.target) if self._folded else self._plain

    @property
    def obstacle(self) -> str | None:
        """Return why the graph cannot be trained though it can be differentiated, or None."""
        if next(self._plain.parameters(), None) is None:
            return "no weights were found in the graph that could be trained; train with a command of your own"
        if self._plain.surrogate:
            return "its weights are rounded; train references of the model as it was before it was quantised"
        return None

    def fresh(self, seed: int) -> nn.Module:
        """Return the graph with fresh parameters."""
        module = copy.deepcopy(self._prototype)
        module.reset_parameters(seed)
        module.batch_statistics = self._sizes is None
        return module if self._sizes is None else _RecordByRecord(module, self._sizes)

    def write(self, network: nn.Module, folder: Path) -> Path:
        """Write the weights into a copy of the target's file; what stands behind the predictions stays as it was."""
        module = network.module if isinstance(network, _RecordByRecord) else network
        assert isinstance(module, ExportedModule)
        if self._folded:
            module = fold_back(module, copy.deepcopy(self._plain), self._folded)
        path = folder / self._target.name
        save(module, path)
        return path

    def _record_by_record(self, task: TrainingTask) -> tuple[int, ...] | None:
        """Return how often each input takes a record where the graph takes no batch of any size, else None.

        A graph without a batch axis takes it 0 times. One whose batch is fixed may take others all the same.
        """
        sample = [tensor_of(task.inputs[name][:_SAMPLE]) for name in self.names]
        sizes = []
        for spec, value in zip(self._plain.inputs, sample, strict=True):
            first = spec.shape[0] if spec.shape else None
            sizes.append(0 if spec.shape and value.dim() > len(spec.shape) else first if isinstance(first, int) else -1)
        if all(size < 0 for size in sizes):
            return None
        repeats = tuple(max(size, 0) if size >= 0 else 1 for size in sizes)
        if 0 in repeats:
            return repeats
        with torch.no_grad():
            alone = _RecordByRecord(self._plain, repeats)(*sample)
            try:
                together = self._plain(*sample)
            except AuditError:
                return repeats
        same = isinstance(together, torch.Tensor) and together.shape == alone.shape
        return None if same and torch.allclose(together, alone, rtol=_CLOSE, atol=_CLOSE) else repeats


class _RecordByRecord(nn.Module):
    """A graph of a fixed batch, asked about each record of another batch apart.

    Parameters
    ----------
    sizes : how often each input takes a record, 0 where it has no batch axis
    """

    def __init__(self, module: ExportedModule, sizes: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self._sizes = sizes

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Return predictions for a batch of records."""
        return torch.func.vmap(self._one)(*tensors)

    def _one(self, *record: torch.Tensor) -> Any:
        given = [
            value.expand(size, *value.shape) if size else value for value, size in zip(record, self._sizes, strict=True)
        ]
        found = self.module(*given)
        return found[0] if all(self._sizes) else found
