"""Models and records to measure on: two networks and as many records as are asked for, in .npy files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, int], Array]

LOCATION = (446, 512, 256, 128, 30)
"""Widths of the network that is trained on Location-30."""
IMAGE = (3, 32, 32)
CHUNK = 2_000
MEMBERS_RIGHT, NONMEMBERS_RIGHT = 0.95, 0.65
"""Shares of both sides whose label is what the model predicts: an overfitted model."""


@dataclass(frozen=True)
class Case:
    """A model and a folder of .npy files for each side."""

    model: Path
    members: Path
    nonmembers: Path
    records: int

    @property
    def arguments(self) -> dict[str, str]:
        """Return the arguments of an audit."""
        return {"model": str(self.model), "members": str(self.members), "non_members": str(self.nonmembers)}


def dense_case(folder: Path, records: int) -> Case:
    """Write the network of Location-30, untrained, and records like those: 446 bytes of 0 and 1 each."""
    folder.mkdir(parents=True)
    model = folder / "model.onnx"
    write_dense(model, LOCATION)
    return _with_records(folder, model, records, lambda rng, n: (rng.random((n, LOCATION[0])) < 0.1).astype(np.uint8))


def image_case(folder: Path, records: int) -> Case:
    """Write a small convolutional network, untrained, 15 MFLOP per record, and images of 3 x 32 x 32 bytes."""
    folder.mkdir(parents=True)
    model = folder / "model.onnx"
    write_convolutional(model)
    return _with_records(folder, model, records, lambda rng, n: rng.integers(0, 256, (n, *IMAGE), dtype=np.uint8))


def tiny_case(folder: Path, records: int) -> Case:
    """Write a network that is next to nothing, and records of 16 float32, so that only the audit weighs."""
    folder.mkdir(parents=True)
    model = folder / "model.onnx"
    write_dense(model, (16, 8, 4))
    return _with_records(folder, model, records, lambda rng, n: rng.standard_normal((n, 16), dtype=np.float32))


def write_dense(path: Path, widths: Sequence[int]) -> None:
    """Write a dense network with random weights."""
    from pmcore_onnx import OnnxModel

    rng = np.random.default_rng(0)
    weights = [
        (rng.standard_normal((above, below)) * np.sqrt(2 / above)).astype(np.float32)
        for above, below in pairwise(widths)
    ]
    OnnxModel.write_dense(path, weights, [np.zeros(width, dtype=np.float32) for width in widths[1:]])


def write_convolutional(path: Path) -> None:
    """Write a convolutional network with random weights that takes bytes as float32 and scales them itself."""
    import torch
    from torch import nn

    class Scaled(nn.Module):
        """Bytes to numbers around 0."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 127.5 - 1

    torch.manual_seed(0)
    layers: list[nn.Module] = [Scaled()]
    for above, below, halve in ((3, 16, True), (16, 32, False), (32, 32, True), (32, 64, False), (64, 64, True)):
        layers += [nn.Conv2d(above, below, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if halve else []
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))
    export(network, torch.zeros(1, *IMAGE), path)


def export(network: Any, sample: Any, path: Path) -> None:
    """Export a torch module from input "x" to output "logits" with a free batch."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the older exporter needs no further package
        torch.onnx.export(
            network.eval(),
            (sample,),
            str(path),
            dynamo=False,
            input_names=["x"],
            output_names=["logits"],
            dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}},
        )


def _with_records(folder: Path, model: Path, records: int, draw: Draw) -> Case:
    """Write records whose labels are the model's own predictions, but for a share of each side."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model))
    rng = np.random.default_rng(1)
    for side, count, right in (
        ("members", records // 2, MEMBERS_RIGHT),
        ("nonmembers", records - records // 2, NONMEMBERS_RIGHT),
    ):
        (folder / side).mkdir()
        first = draw(rng, 1)
        x = np.lib.format.open_memmap(
            folder / side / "x.npy", mode="w+", dtype=first.dtype, shape=(count, *first.shape[1:])
        )
        y = np.empty(count, dtype=np.int64)
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            x[start:stop] = draw(rng, stop - start)
            logits = session.run(None, {"x": x[start:stop].astype(np.float32)})[0]
            wrong = rng.random(stop - start) >= right
            other = rng.integers(0, logits.shape[1], stop - start)
            y[start:stop] = np.where(wrong, other, logits.argmax(axis=1))
        x.flush()
        np.save(folder / side / "y.npy", y)
    return Case(model, folder / "members", folder / "nonmembers", records)
