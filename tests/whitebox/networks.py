"""The architectures under test: how to build each with weights that nothing merges, and records for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn

from pmcore.interfaces import Array
from tests.whitebox.attention import LENGTH, WORDS, Bert, ConvNext, Transformer, Vit
from tests.whitebox.branching import DenseNet, Inception, ShuffleNet
from tests.whitebox.convolutional import CLASSES, Cnn, ResNet18, Vgg
from tests.whitebox.mobile import EfficientNet, MobileNetV2, MobileNetV3
from tests.whitebox.sequential import FEATURES, STEPS, Gru, Lstm, Mlp


@dataclass(frozen=True)
class Records:
    """Records as a network takes them.

    Parameters
    ----------
    inputs : name of each input, in the order of the network's arguments -> (n, ...)
    labels : (n,) int64
    """

    inputs: dict[str, Array]
    labels: Array

    def tensors(self, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
        """Return the inputs as the network's arguments, floating ones in a precision."""
        found = (torch.from_numpy(array) for array in self.inputs.values())
        return tuple(tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in found)

    def take(self, chosen: Array) -> Records:
        """Return some of the records, by index."""
        return Records({name: array[chosen] for name, array in self.inputs.items()}, self.labels[chosen])


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Parameters
    ----------
    title : as the page shows it
    make : builds the network with fresh weights
    inputs : makes the named inputs of n records
    asked : whether the project promises it; the others are beside the twelve
    """

    title: str
    make: Callable[[], nn.Module]
    inputs: Callable[[np.random.Generator, int], dict[str, Array]]
    asked: bool = True


RECORDS = 16
"""How many each architecture is measured with."""
CANDIDATES = 32
"""From how many these are chosen."""


def records(name: str, n: int = CANDIDATES, seed: int = 5) -> Records:
    """Return n records for an architecture, the same ones in every process."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, *name.encode()]))
    return Records(ARCHITECTURES[name].inputs(rng, n), rng.integers(0, CLASSES, n))


@cache
def built(name: str) -> nn.Module:
    """Return the network in eval mode with weights and statistics that are nowhere equal, zero or one.

    Exporters merge constants of equal values and drop additions of zero; a fresh BatchNorm computes nothing.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        net = ARCHITECTURES[name].make()
        normed = any(isinstance(module, nn.BatchNorm2d | nn.LayerNorm) for module in net.modules())
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1.0 if normed else 2.4)  # torch's own initialisation fades where nothing normalises
                spread = parameter.std() if parameter.numel() > 1 and float(parameter.std()) > 0 else 0.3
                parameter.add_(0.3 * spread * torch.randn_like(parameter))
            _settle(net, name)
    return net.eval()


def _settle(net: nn.Module, name: str) -> None:
    """Give each BatchNorm the statistics of some records, disturbed, so that signals neither fade nor explode."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None
    net.train()(*records(name, 64, seed=6).tensors())
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.add_(0.2 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean))
        norm.running_var.mul_(0.6 + torch.rand_like(norm.running_var))
        norm.momentum = 0.1


def _images(rng: np.random.Generator, n: int) -> dict[str, Array]:
    return {"x": rng.normal(size=(n, 3, 32, 32)).astype(np.float32)}


def _table(rng: np.random.Generator, n: int) -> dict[str, Array]:
    return {"x": rng.normal(size=(n, 30)).astype(np.float32)}


def _steps(rng: np.random.Generator, n: int) -> dict[str, Array]:
    return {"x": rng.normal(size=(n, STEPS, FEATURES)).astype(np.float32)}


def _tokens(rng: np.random.Generator, n: int) -> dict[str, Array]:
    return {"ids": rng.integers(0, WORDS, (n, LENGTH))}


def _masked_tokens(rng: np.random.Generator, n: int) -> dict[str, Array]:
    lengths = rng.integers(3, LENGTH + 1, n)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
    return {"ids": rng.integers(0, WORDS, (n, LENGTH)) * mask, "mask": mask}


ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture("MLP", Mlp, _table),
    "cnn": Architecture("CNN with BatchNorm", Cnn, _images),
    "vgg": Architecture("VGG", Vgg, _images),
    "resnet18": Architecture("ResNet-18", ResNet18, _images),
    "mobilenet_v2": Architecture("MobileNet v2", MobileNetV2, _images),
    "mobilenet_v3": Architecture("MobileNet v3", MobileNetV3, _images),
    "efficientnet": Architecture("EfficientNet-B0", EfficientNet, _images),
    "densenet": Architecture("DenseNet", DenseNet, _images),
    "convnext": Architecture("ConvNeXt", ConvNext, _images),
    "vit": Architecture("ViT", Vit, _images),
    "bert": Architecture("BERT", Bert, _masked_tokens),
    "transformer": Architecture("small transformer", Transformer, _tokens),
    "inception": Architecture("Inception", Inception, _images, asked=False),
    "shufflenet": Architecture("ShuffleNet", ShuffleNet, _images, asked=False),
    "lstm": Architecture("LSTM", Lstm, _steps, asked=False),
    "gru": Architecture("GRU", Gru, _steps, asked=False),
}
