"""Per-record gradient norms against a loop of backward passes and against vmap, of modules and of their exports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.cases import LOCATION
from benchmarks.processes import print_own_peak
from benchmarks.resnet import torch_resnet
from benchmarks.results import Result, ratios, seconds

if TYPE_CHECKING:
    import torch
    from torch import nn

EXPORTED = 1.3
"""Of the time of an exported file over that of the module, by the same engine."""
VMAP_CHUNK = 256 * 2**20
"""Bytes of gradients that vmap holds at once."""
MEMORY_MB = 60.0
"""Above the memory of a loop of backward passes."""


@dataclass(frozen=True)
class _Network:
    """A network, how many records of which shape it is asked about, and what is expected of the engine.

    Parameters
    ----------
    loop : most of the time of a loop of backward passes
    vmap : most of the time of vmap, or None where it is not compared
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    classes: int
    records: int
    loop: float
    vmap: float | None = None


def measure(work: Path, records: int, repetitions: int) -> list[Result]:
    """Return the ratios for each network, on one thread, interleaved; last the memory of the largest of them."""
    import torch

    work.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results = [row for network in _networks(records) for row in _measured(network, work, repetitions)]
    finally:
        torch.set_num_threads(threads)
    return [*results, _memory(repetitions)]


def _measured(network: _Network, work: Path, repetitions: int) -> list[Result]:
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(network.records, *network.shape, generator=generator)
    y = torch.randint(0, network.classes, (network.records,), generator=generator)
    path = work / f"{network.name.replace(' ', '-')}.onnx"
    options: Mapping[str, Any] = {"dynamo": False, "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    torch.onnx.export(network.module, (x[:2],), str(path), **options)
    from pmcore_autograd import load

    ways: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
        "loop": lambda: _loop(network.module, x, y),
        "engine": _engine(network.module, x, y),
        "exported": _engine(load(path), x, y),
    }
    if network.vmap is not None:
        ways["vmap"] = lambda: _vmap(network.module, x, y)
    took: dict[str, list[float]] = {name: [] for name in ways}
    norms = {}
    for repetition in range(repetitions + 1):
        for name, way in ways.items():
            began = perf_counter()
            norms[name] = way()
            if repetition:  # the first one warms the caches, and lets the engine find its strategy
                took[name].append(perf_counter() - began)
    for name in ("engine", "vmap"):
        if name in norms:
            np.testing.assert_allclose(norms[name], norms["loop"], rtol=1e-3)
    rows = [("engine", "loop", network.loop), ("exported", "engine", EXPORTED)]
    rows += [("engine", "vmap", network.vmap)] if network.vmap is not None else []
    return [
        Result(
            f"{network.name}: {above} / {below}",
            ratios(took[above], took[below]),
            target,
            details=f"{seconds(took[above])} / {seconds(took[below])}, {network.records} records, one thread",
        )
        for above, below, target in rows
    ]


def _engine(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], np.ndarray[Any, Any]]:
    from pmcore.interfaces import GradientRequest, Outputs, Scale, Task
    from pmcore_autograd.per_record import PerRecord

    labels, request = y.numpy(), GradientRequest()

    def cotangent(predictions: Any, rows: slice) -> Any:
        return Outputs(Task.MULTICLASS, Scale.LOGITS, labels[rows], predictions).loss_gradient

    engine = PerRecord(module, lambda inputs: module(inputs["x"]), {"all": list(module.parameters())})
    return lambda: engine.reduce({"x": x}, cotangent, [request])[request][:, 0]


def _loop(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> np.ndarray[Any, Any]:
    import torch

    parameters = list(module.parameters())
    norms = []
    for i in range(len(x)):
        loss = torch.nn.functional.cross_entropy(module(x[i : i + 1]), y[i : i + 1])
        gradients = torch.autograd.grad(loss, parameters)
        norms.append(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
    return torch.stack(norms).numpy()


def _vmap(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> np.ndarray[Any, Any]:
    import torch

    parameters = {name: value.detach() for name, value in module.named_parameters()}
    buffers = dict(module.named_buffers())

    def norm(record: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        def loss(values: dict[str, torch.Tensor]) -> torch.Tensor:
            logits = torch.func.functional_call(module, (values, buffers), (record[None],))
            return torch.nn.functional.cross_entropy(logits, label[None])

        gradients = torch.func.grad(loss)(parameters)
        return torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()

    chunk = max(1, VMAP_CHUNK // (4 * sum(value.numel() for value in parameters.values())))
    found: np.ndarray[Any, Any] = torch.func.vmap(norm, chunk_size=chunk)(x, y).numpy()
    return found


def _networks(records: int) -> list[_Network]:
    import torch

    torch.manual_seed(0)
    few = min(records, 100)
    return [
        _Network("MLP 446-512-256-128-30", mlp(), (LOCATION[0],), LOCATION[-1], records, 1 / 15),
        _Network("CNN 78 k", _cnn(), (3, 16, 16), 10, records, 1 / 1.6, 1.0),
        _Network("transformer", _transformer(), (16, 32), 10, records, 1 / 2),
        _Network("ResNet-18", torch_resnet(), (3, 32, 32), 10, few, 1 / 2),
    ]


def mlp() -> nn.Module:
    """Return the network that is trained on Location-30."""
    from torch import nn

    layers: list[nn.Module] = []
    for above, below in pairwise(LOCATION):
        layers += [nn.Linear(above, below), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def _cnn() -> nn.Module:
    """Return a residual network of 78 000 parameters."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, above: int, below: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(above, below, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(below, below, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(below), nn.BatchNorm2d(below)])
            self.short = nn.Conv2d(above, below, 1, stride, bias=False) if stride > 1 else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inside = torch.relu(self.norms[0](self.first(x)))
            out: torch.Tensor = torch.relu(self.norms[1](self.second(inside)) + self.short(x))
            return out

    body = [nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


def _transformer() -> nn.Module:
    from torch import nn

    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True), 2, enable_nested_tensor=False
    )
    return nn.Sequential(encoder, nn.Flatten(), nn.Linear(16 * 32, 10)).eval()


def _memory(repetitions: int) -> Result:
    """Return by how many megabytes the engine exceeds the loop, each in a process of its own."""
    values = []
    for _ in range(min(repetitions, 3)):
        peaks = [_peak(way) for way in ("engine", "loop")]
        values.append((peaks[0] - peaks[1]) / 2**20)
    return Result("MLP: memory of the engine above the loop", tuple(values), MEMORY_MB, "MB", "1 000 records")


def _peak(way: str) -> int:
    program = f"from benchmarks.whitebox import print_peak; print_peak({way!r})"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


def print_peak(way: str) -> None:
    """Print the bytes that this process held at most, having asked for the norms of 1 000 records in one way.

    Both ways import the same modules: what is compared is what they hold of the records.
    """
    import torch

    import pmcore_autograd.per_record  # noqa: F401

    module = mlp()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1000, LOCATION[0], generator=generator), torch.randint(0, 30, (1000,), generator=generator)
    if way == "engine":
        _engine(module, x, y)()
    else:
        _loop(module, x, y)
    print_own_peak()
