"""Compact torch networks converted by OpenVINO, and their own gradients, element by element."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pmcore.interfaces import Array
from tests.autograd.openvino_running import openvino

RECORDS, CLASSES = 6, 5


@dataclass(frozen=True)
class Network:
    """A network to be converted.

    Parameters
    ----------
    make : builds it
    shape : of one record
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]

    def __repr__(self) -> str:
        return self.name

    def built(self) -> nn.Module:
        """Return the network with weights of which no two are alike, in eval mode."""
        with torch.random.fork_rng():
            torch.manual_seed(3)
            network = self.make().eval()
            for value in (*network.parameters(), *network.buffers()):
                if value.is_floating_point():
                    value.data = value.data + torch.rand(value.shape) * 0.2 + 0.05
            if isinstance(network, Recurrent):
                network.without_second_bias()
        return network

    def records(self) -> Array:
        """Return records, (n, ...)."""
        return np.random.default_rng(9).normal(size=(RECORDS, *self.shape)).astype(np.float32)

    def save(self, path: Path, half: bool = False) -> Path:
        """Write the network as IR."""
        example = torch.from_numpy(self.records())
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(self.built(), example, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, input=[openvino.PartialShape([-1, *self.shape])])
        openvino.save_model(model, path, compress_to_fp16=half)
        return path


class Block(nn.Module):
    """A depthwise block with squeeze-and-excitation, as in MobileNet v3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen = nn.Sequential(nn.Conv2d(width, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1))
        self.narrow = nn.Sequential(nn.Conv2d(8, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, of the shape of its input."""
        deep = self.deep(self.widen(x))
        narrow: torch.Tensor = self.narrow(deep * nn.functional.hardsigmoid(self.squeeze(deep)))
        return x + narrow


class Encoder(nn.Module):
    """A transformer encoder over a sequence with places, behind a token of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.places = nn.Parameter(torch.randn(1, 7, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        logits: torch.Tensor = self.head(self.encoder(tokens + self.places).mean(1))
        return logits


class Recurrent(nn.Module):
    """One recurrent layer, read at its end."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.layer = kind(4, 5, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def without_second_bias(self) -> None:
        """Leave one bias wherever an export holds the sum of both."""
        second = self.layer.get_parameter("bias_hh_l0").data
        second[: 2 * 5 if isinstance(self.layer, nn.GRU) else None] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        shown, _ = self.layer(x)
        logits: torch.Tensor = self.head(shown[:, -1])
        return logits


def _cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1)),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, CLASSES)),
    )


def _mobile() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), Block(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.LayerNorm(9), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, CLASSES))


MLP = Network("mlp", _mlp, (7,))
CNN = Network("cnn", _cnn, (3, 12, 12))
MOBILE = Network("mobile", _mobile, (3, 8, 8))
ENCODER = Network("encoder", Encoder, (6, 8))
LSTM = Network("lstm", partial(Recurrent, nn.LSTM), (6, 4))
GRU = Network("gru", partial(Recurrent, nn.GRU), (6, 4))
NETWORKS = (MLP, CNN, MOBILE, ENCODER, LSTM, GRU)


def labels() -> torch.Tensor:
    """Return the label of each record, (n,)."""
    return torch.arange(RECORDS) % CLASSES


def loss(logits: torch.Tensor) -> torch.Tensor:
    """Return the loss of all records."""
    return nn.functional.cross_entropy(logits, labels()[: len(logits)])


def gradients_in_order(module: nn.Module, records: Array) -> tuple[Array, Array]:
    """Return all weights of a module but for zeros from the least to the greatest, and the gradient of each, (p,) both.

    Two modules hold the same weights in other shapes and orders; their gradients are compared so.
    """
    parameters = list(module.parameters())
    working = parameters[0].dtype
    found = torch.autograd.grad(loss(module(torch.from_numpy(records).to(working))), parameters)
    weights = torch.cat([value.detach().reshape(-1) for value in parameters]).numpy()
    gradients = torch.cat([value.reshape(-1) for value in found]).numpy()
    order = np.argsort(weights)
    order = order[weights[order] != 0]
    return weights[order], gradients[order]


def with_norms_folded(network: nn.Module) -> nn.Module:
    """Return a network with each BatchNorm folded into the convolution before it, as OpenVINO converts it."""
    for child in network.modules():
        if isinstance(child, nn.Sequential):
            parts = list(child)
            for place in range(len(parts) - 1, 0, -1):
                before, norm = parts[place - 1], parts[place]
                if isinstance(before, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    parts[place - 1 : place + 1] = [fuse_conv_bn_eval(before, norm).requires_grad_()]
            child._modules = {str(place): part for place, part in enumerate(parts)}
    return network
