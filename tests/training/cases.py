"""Small networks as files, tasks on scikit-learn's digits, and jobs that train references of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from pmcore.interfaces import Array, Scale, Task, Trainer, TrainingJob, TrainingTask
from pmcore.training import Trained
from tests.autograd.exported import quietly, write

RECORDS = 600


class FoldedCnn(nn.Module):
    """Convolutions with BatchNorm behind, which exporters fold away, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(16 * 16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(x).flatten(1))
        return logits


def mlp(outputs: int = 10, width: int = 32) -> nn.Module:
    """Return a dense network of fixed weights."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, outputs)).eval()


def cnn() -> nn.Module:
    """Return a convolutional network whose statistics and weights are not those of a fresh one."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        net = FoldedCnn().eval()
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.add_(0.2 * torch.rand_like(value))
        return net


@cache
def digits() -> tuple[Array, Array]:
    """Return digits, (n, 64) float32 from 0 to 1, and their labels."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 16).astype(np.float32), y[order].astype(np.int64)


def onnx(folder: Path, net: nn.Module, images: bool = False, exporter: str = "legacy", free: bool = True) -> Path:
    """Write a network as ONNX, from "x" to "z"."""
    path = folder / f"{exporter}.onnx"
    example = torch.zeros((3 if free else 1, 1, 8, 8) if images else (3 if free else 1, 64))
    write(net, example + torch.rand(example.shape), exporter, path, free)
    return path


def openvino(folder: Path, net: nn.Module, images: bool = False) -> Path:
    """Write a network as OpenVINO IR, from "x" to a tensor whose name `output_of` tells."""
    from pmcore_autograd.openvino_importing import import_openvino

    ov: Any = import_openvino()
    shape = (1, 8, 8) if images else (64,)
    with quietly(), torch.no_grad():
        traced = torch.jit.trace(net, torch.rand(3, *shape))  # type: ignore[no-untyped-call]
        model = ov.convert_model(traced, input=[ov.PartialShape([-1, *shape])])
    model.inputs[0].get_tensor().set_names({"x"})
    model.inputs[0].get_node().set_friendly_name("x")
    path = folder / "net.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def task_of(target: Path, images: bool = False, epochs: int | None = 10, **changes: Any) -> TrainingTask:
    """Return a task on digits."""
    x, y = digits()
    inputs = {"x": x.reshape(-1, 1, 8, 8) if images else x}
    task = TrainingTask(target, Task.MULTICLASS, 10, "z", Scale.LOGITS, inputs, y, epochs)
    return replace(task, **changes)


def jobs_in(folder: Path, indices: Sequence[int] = (0,), records: int = RECORDS) -> list[TrainingJob]:
    """Return jobs, each with records, a seed and a folder of its own."""
    found = []
    for index in indices:
        rows = np.sort(np.random.default_rng(index).permutation(len(digits()[1]))[:records])
        out = folder / str(index)
        out.mkdir(parents=True)
        found.append(TrainingJob(index, rows.astype(np.int64), index, out))
    return found


def silent(epoch: int, most: int) -> None:
    """Take note of no progress."""


def trained(trainer: Trainer, task: TrainingTask, jobs: Sequence[TrainingJob]) -> list[Trained]:
    """Train without a word."""
    return list(trainer.train(task, jobs, silent))


def right(scores: Array, job: TrainingJob) -> float:
    """Return the share of a job's records that scores (t, k) predict right."""
    return float((scores.argmax(1) == digits()[1][job.rows]).mean())
