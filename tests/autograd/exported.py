"""Small trained networks as both of torch's exporters write them, and what ONNX Runtime answers for a file."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pmcore.interfaces import Array
from tests.agreement.networks import digits, trained
from tests.whitebox.references import folded

NETWORKS = ("mlp", "cnn", "transformer")
EXPORTERS = ("legacy", "dynamo")


def export(name: str, exporter: str, folder: Path, batch: int | None = None) -> Path:
    """Write a trained network, with a free batch unless one is given."""
    path = folder / f"{name}-{exporter}.onnx"
    write(trained(name), torch.from_numpy(digits(name).x[: batch or 3]), exporter, path, free=batch is None)
    return path


def write(net: nn.Module, example: torch.Tensor, exporter: str, path: Path, free: bool = True) -> None:
    """Write a network that takes "x" and returns "z"."""
    names = {"input_names": ["x"], "output_names": ["z"]}
    axes = {"dynamic_axes": {"x": {0: "n"}, "z": {0: "n"}}} if free else {}
    shapes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if free else {}
    with quietly():
        if exporter == "legacy":
            torch.onnx.export(net, (example,), str(path), dynamo=False, opset_version=17, **names, **axes)  # type: ignore[arg-type]
        else:
            torch.onnx.export(net, (example,), str(path), dynamo=True, verbose=False, **names, **shapes)  # type: ignore[arg-type]


def as_shipped(name: str) -> nn.Module:
    """Return the network with the parameters that its export holds: BatchNorms are folded."""
    net = copy.deepcopy(trained(name))
    return folded(net) if name == "cnn" else net


def records(name: str, n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Return records that did not train a network, and their labels."""
    found = digits(name)
    rows = slice(found.n_members, found.n_members + n)
    return torch.from_numpy(found.x[rows]), torch.from_numpy(found.y[rows])


def runtime(path: Path, x: Array, output: str | None = None, name: str = "x") -> Array:
    """Return what ONNX Runtime answers: the first output, or one of a name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answer: Array = session.run(None if output is None else [output], {name: x})[0]
    return answer


def distance(found: torch.Tensor | Array, expected: torch.Tensor | Array) -> float:
    """Return the largest difference, as a share of the largest expected number."""
    a, b = (np.asarray(v.detach() if isinstance(v, torch.Tensor) else v, dtype=np.float64) for v in (found, expected))
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


@dataclass(frozen=True)
class Match:
    """The parameter of a network that an export holds, and whether it holds it transposed."""

    name: str
    turned: bool

    def oriented(self, value: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the network, such as the parameter's gradient, as the export holds it."""
        return value.detach().t().clone() if self.turned else value.detach().clone()


def matched(module: nn.Module, net: nn.Module) -> dict[str, Match]:
    """Return parameter of a module -> the parameter of a network with the same numbers."""
    found = {}
    for name, value in module.named_parameters():
        ways = [Match(other, turned) for other, _ in net.named_parameters() for turned in (False, True)]
        same = [way for way in ways if _alike(value, net.get_parameter(way.name), way.turned)]
        assert len({way.name for way in same}) == 1, f"{name} is like {same}"
        found[name] = same[0]
    return found


def _alike(value: torch.Tensor, known: torch.Tensor, turned: bool) -> bool:
    if known.numel() != value.numel() or (turned and known.dim() != 2):
        return False
    other = known.t() if turned else known
    return torch.allclose(value.reshape(-1), other.reshape(-1), rtol=1e-6, atol=1e-7)


@contextmanager
def quietly() -> Iterator[None]:
    """Let the exporters say nothing."""
    level = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
