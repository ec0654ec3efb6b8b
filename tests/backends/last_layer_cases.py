"""Networks with a linear head in every form in use, and the norms that torch's autograd gives for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pmcore.interfaces import Array, Floats, Model, Outputs, Want
from pmcore.whitebox_signals import LastLayerGradientNorm

FEATURES = 6
HIDDEN = 16
CLASSES = 4
RECORDS = np.random.default_rng(5).normal(size=(33, FEATURES)).astype(np.float32)
IMAGES = np.random.default_rng(6).normal(size=(33, 3, 8, 8)).astype(np.float32)
LABELS = np.arange(33) % CLASSES
CLOSE = 2e-6


class Dense(nn.Module):
    """A hidden layer, then a linear head, and what is done to its output."""

    def __init__(self, head: nn.Linear, after: Callable[[torch.Tensor], torch.Tensor] = lambda z: z) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, head.in_features)
        self.head = head
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.head(torch.relu(self.body(x))))


class Token(nn.Module):
    """A head on a sequence of one token, whose axis goes afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, HIDDEN)
        self.head = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.tanh(self.body(x)).unsqueeze(1)).squeeze(1)
        return logits


class Convolutions(nn.Module):
    """A convolutional network whose head is a convolution over what is left of the image."""

    def __init__(self, kernel: int = 1, bias: bool = True, stride: int = 1, flat: bool = True) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, stride=2)
        self.head = nn.Conv2d(8, CLASSES, kernel, stride=stride, bias=bias)
        self.pooled = kernel == 1
        self.flat = flat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.body(x))
        logits: torch.Tensor = self.head(hidden.mean((2, 3), keepdim=True) if self.pooled else hidden)
        return logits.flatten(1) if self.flat else logits.squeeze(3).squeeze(2)


def make(name: str) -> nn.Module:
    """Return a network by its name, always with the same weights."""
    torch.manual_seed(11)
    return NETWORKS[name]().eval()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "with a bias": lambda: Dense(nn.Linear(HIDDEN, CLASSES)),
    "without a bias": lambda: Dense(nn.Linear(HIDDEN, CLASSES, bias=False)),
    "softmax": lambda: Dense(nn.Linear(HIDDEN, CLASSES), nn.Softmax(dim=1)),
    "softmax without a bias": lambda: Dense(nn.Linear(HIDDEN, CLASSES, bias=False), nn.Softmax(dim=1)),
    "reshaped": lambda: Dense(nn.Linear(HIDDEN, CLASSES), lambda z: z.reshape(-1, 1, CLASSES).reshape(-1, CLASSES)),
    "dropout": lambda: nn.Sequential(
        nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES), nn.Dropout(0.4)
    ),
    "one layer": lambda: nn.Linear(FEATURES, CLASSES),
    "one token": Token,
    "convolution": Convolutions,
    "convolution without a bias": lambda: Convolutions(bias=False),
    "convolution in strides": lambda: Convolutions(stride=2),
    "convolution squeezed": lambda: Convolutions(flat=False),
    "convolution over the image": lambda: Convolutions(kernel=3),
}
"""Networks for `CLASSES` classes whose last parameters are those of the head."""


def records_of(network: nn.Module) -> Array:
    """Return the records that a network of this module takes."""
    return IMAGES if isinstance(network, Convolutions | Map | Padded) else RECORDS


def has_bias(network: nn.Module) -> bool:
    """Tell whether the head of a network of this module has a bias."""
    return next(reversed(list(network.parameters()))).ndim == 1


def export(network: nn.Module, path: Path, *, dynamo: bool, records: Array | None = None) -> Path:
    """Write an ONNX export with a free batch."""
    given = records_of(network) if records is None else records
    options: dict[str, Any] = {"dynamo": dynamo, "input_names": ["x"]}
    if dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    else:
        options["dynamic_axes"] = {"x": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.from_numpy(given[:2]),), path, verbose=False, **options)
    return path


def logits(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return what a network answers before the softmax that it may end in."""
    found: torch.Tensor
    if isinstance(network, Dense) and isinstance(network.after, nn.Softmax):
        found = network.head(torch.relu(network.body(x)))
    else:
        found = network(x)
    return found


def autograd_norms(
    network: nn.Module,
    records: Array,
    labels: Array,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = nn.functional.cross_entropy,
) -> Floats:
    """Return the norm of the gradient of each record's loss by the parameters of the head, in float64."""
    wide = deepcopy(network).double()
    parameters = list(wide.parameters())
    own = parameters[-2:] if parameters[-1].ndim == 1 else parameters[-1:]
    norms = []
    for record, label in zip(torch.from_numpy(records).double(), torch.from_numpy(labels), strict=True):
        value = loss(logits(wide, record[None]), label[None])
        gradients = torch.autograd.grad(value, own)
        norms.append(float(sum((gradient**2).sum() for gradient in gradients)) ** 0.5)
    return np.array(norms)


def asked(model: Model, records: Array, labels: Array) -> Outputs:
    """Return what a model answers in one pass, the input of its head among it."""
    name = model.describe().inputs[0].name
    model.prepare({name: records[:16]})
    want = Want(predictions=True, head_input=True)
    assert model.obstacle(want) is None
    return model.ask({name: records}, labels, want)


def closed_norms(model: Model, records: Array, labels: Array) -> Floats:
    """Return the norms in closed form, from what a model answers."""
    return LastLayerGradientNorm().compute(asked(model, records, labels))


def worst(found: Floats, known: Floats) -> float:
    """Return the largest relative difference."""
    return float(np.max(np.abs(found - known) / known))


def refusal(model: Model, inputs: Mapping[str, Array]) -> str:
    """Return why a model does not give the input of its last layer, having seen records."""
    model.prepare(inputs)
    return model.obstacle(Want(predictions=True, head_input=True)) or ""


class Function(nn.Module):
    """A hidden layer and a head, put together by a function of the module and its input."""

    def __init__(self, function: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)
        self.other = nn.Linear(FEATURES, CLASSES)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


class Map(nn.Module):
    """A convolution that gives a map of scores per class, which are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x).mean((2, 3))
        return logits


class Padded(nn.Module):
    """A convolution with padding over an image of one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, CLASSES, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x.mean((2, 3), keepdim=True))
        return logits.flatten(1)


def _tied(net: Any, x: torch.Tensor) -> torch.Tensor:
    hidden = torch.tanh(nn.functional.linear(x, net.body.weight))
    return nn.functional.linear(hidden, net.body.weight)


def _by_attention(net: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.matmul(net.body(x).unsqueeze(1), x.unsqueeze(2).expand(-1, -1, CLASSES)).squeeze(1)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "averaged map": (Map, r"come from (GlobalAveragePool|ReduceMean|mean), not from a linear layer"),
    "padding": (Padded, "come from a convolution with groups, padding or dilation"),
    "scaled": (lambda: Function(lambda net, x: net.head(x) * 0.5), "scaled by a constant that is not 1"),
    "squashed": (lambda: Function(lambda net, x: torch.tanh(net.head(x))), "come from [Tt]anh, not from a linear"),
    "two branches": (lambda: Function(lambda net, x: net.head(x) + net.other(x * x)), "come from [Aa]dd, not from"),
    "tied": (lambda: Function(_tied), "used elsewhere in the model too"),
    "by attention": (lambda: Function(_by_attention), "two tensors that both depend on the records"),
    "two rows": (
        lambda: Function(lambda net, x: torch.stack([net.head(x), net.head(x * x)], dim=1).flatten(1)),
        r"come from (Concat|stack), not from a linear layer|no product of two vectors",
    ),
    "two tokens": (
        lambda: Function(lambda net, x: net.head(torch.stack([x, x * x], dim=1)).flatten(1)),
        f"{2 * CLASSES} columns of a linear layer with {CLASSES}",
    ),
}
"""Networks whose last layer has no gradient in closed form, and why."""
