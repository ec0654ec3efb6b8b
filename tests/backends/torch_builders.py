"""Models for the tests of the PyTorch backend, built in place."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pmcore.interfaces import Array, Floats
from pmcore_torch import TorchModel
from pmcore_torch.options import TorchOptions

FEATURES = 6
CLASSES = 4
RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(FEATURES, CLASSES)).astype(np.float32)
BIAS = RNG.normal(size=CLASSES).astype(np.float32)
RECORDS = RNG.normal(size=(9, FEATURES)).astype(np.float32)


class Trap:
    """Writes a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


class Functional(nn.Module):
    """Ends in a function where others end in a layer."""

    def __init__(self, ending: Any, columns: int = CLASSES) -> None:
        super().__init__()
        self.head = linear(columns)
        self.ending = ending

    def forward(self, x: torch.Tensor) -> Any:
        return self.ending(self.head(x))


class Small(nn.Module):
    """A convolutional network with batch statistics, dropout and a ReLU in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.relu(self.norm(self.conv(x))).mean((2, 3))
        logits: torch.Tensor = self.head(self.drop(pooled))
        return logits


def linear(columns: int = CLASSES) -> nn.Linear:
    """Return the linear layer of these tests."""
    layer = nn.Linear(FEATURES, columns)
    layer.load_state_dict({"weight": torch.tensor(WEIGHT.T[:columns].copy()), "bias": torch.tensor(BIAS[:columns])})
    return layer


def softmax_net() -> nn.Sequential:
    """Return the linear network, ending in a softmax."""
    return nn.Sequential(linear(), nn.Softmax(dim=1)).eval()


def small() -> Small:
    """Return a convolutional network whose batch statistics are not those of a fresh one."""
    torch.manual_seed(3)
    module = Small()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(16, 3, 8, 8) * 2 + 1)
    return module.eval()


def images(records: int = 5) -> Array:
    """Return random images."""
    return np.random.default_rng(1).normal(size=(records, 3, 8, 8)).astype(np.float32)


def expected_logits() -> Floats:
    """Return what the linear network answers about RECORDS, (9, 4) float64."""
    result: Floats = RECORDS.astype(np.float64) @ WEIGHT + BIAS
    return result


def export(module: nn.Module, path: Path, example: torch.Tensor | None = None, *, free: bool = True) -> Path:
    """Write a torch.export archive."""
    given = torch.zeros(2, FEATURES) if example is None else example
    shapes = ({0: torch.export.Dim.DYNAMIC},) if free else None
    torch.export.save(torch.export.export(module, (given,), dynamic_shapes=shapes), path)
    return path


def script(module: nn.Module, path: Path) -> Path:
    """Write a TorchScript archive."""
    torch.jit.script(module).save(str(path))  # type: ignore[no-untyped-call]
    return path


def changed(path: Path, parts: Mapping[str, bytes | None]) -> Path:
    """Replace parts of an archive, add new ones, and leave out those of None; names are without the top folder."""
    with zipfile.ZipFile(path) as archive:
        top = archive.namelist()[0].partition("/")[0]
        found = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**found, **parts}.items():
            if data is not None:
                archive.writestr(f"{top}/{name}", data)
    path.write_bytes(buffer.getvalue())
    return path


def part(path: Path, name: str) -> bytes:
    """Return a part of an archive."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(f"{archive.namelist()[0].partition('/')[0]}/{name}")


def load(path: Path, **options: Any) -> TorchModel:
    """Load a model on the CPU."""
    return TorchModel.load(path, TorchOptions(**{"device": "cpu", **options}))


def ready(path: Path, records: Array = RECORDS, **options: Any) -> TorchModel:
    """Load a model on the CPU and show it some records."""
    model = load(path, **options)
    model.prepare({"x": records})
    return model


def wrapped(module: Any, records: Array = RECORDS, **options: Any) -> TorchModel:
    """Take a module as it is and show it some records."""
    model = TorchModel.wrap(module, TorchOptions(**options))
    model.prepare({"x": records})
    return model
