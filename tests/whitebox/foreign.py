"""Networks that Keras and scikit-learn export to ONNX, and their twins in torch, in double precision."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn

from pmcore.interfaces import Array
from tests.whitebox.networks import CANDIDATES, Records
from tests.whitebox.references import Reference, with_affine_norms

CLASSES = 10
SIDE = 8
NORM_EPSILON = 1e-3
"""Keras' own default."""
_KERAS = """
import sys

import keras
import numpy as np

keras.utils.set_random_seed(3)
layers, network = keras.layers, sys.argv[1]
if network == "mlp":
    stack = [keras.Input((30,)), layers.Dense(24, activation="relu"), layers.Dense(16, activation="tanh")]
else:
    stack = [
        keras.Input((8, 8, 3)),
        layers.Conv2D(8, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Conv2D(12, 3, strides=2, padding="same", activation="relu"),
        layers.Flatten(),
    ]
net = keras.Sequential([*stack, layers.Dense(10)])
rng = np.random.default_rng(3)
for layer in net.layers:
    noise = [rng.random(value.shape).astype(np.float32) for value in layer.get_weights()]
    layer.set_weights([value + 0.1 * more for value, more in zip(layer.get_weights(), noise)])
np.savez("weights.npz", *net.get_weights())
net.predict(np.zeros((2, *net.input_shape[1:]), np.float32), verbose=0)
net.export("net.onnx", format="onnx", verbose=False)
"""


class KerasMlp(nn.Module):
    """Two hidden layers and a head."""

    def __init__(self, weights: Sequence[Array]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(30, 24), nn.Linear(24, 16), nn.Linear(16, CLASSES)
        for layer, kernel, bias in zip(self.children(), weights[::2], weights[1::2], strict=True):
            _fill(layer, kernel.T, bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.second(torch.relu(self.first(x)))))
        return logits


class KerasCnn(nn.Module):
    """Two convolutions of images whose channels stand last; strides pad at the end, as TensorFlow has it."""

    def __init__(self, weights: Sequence[Array]) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, eps=NORM_EPSILON)
        self.second, self.head = nn.Conv2d(8, 12, 3, stride=2), nn.Linear(48, CLASSES)
        kernel, bias, *norm, kernel2, bias2, dense, bias3 = weights
        _fill(self.first, kernel.transpose(3, 2, 0, 1), bias)
        _fill(self.norm, *norm)
        _fill(self.second, kernel2.transpose(3, 2, 0, 1), bias2)
        _fill(self.head, dense.T, bias3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x.permute(0, 3, 1, 2))))
        x = nn.functional.pad(nn.functional.max_pool2d(x, 2), (0, 1, 0, 1))
        x = torch.relu(self.second(x)).permute(0, 2, 3, 1).flatten(1)
        logits: Tensor = self.head(x)
        return logits


class Chain(nn.Module):
    """What scikit-learn's MLPClassifier computes before its softmax."""

    def __init__(self, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*weight.shape) for weight in weights)
        for layer, weight, bias in zip(self.layers, weights, biases, strict=True):
            _fill(layer, weight.T, bias)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, head = self.layers
        for layer in hidden:
            x = torch.tanh(layer(x))
        logits: Tensor = head(x)
        return logits


def _fill(layer: nn.Module, *values: Array) -> None:
    names = ("weight", "bias", "running_mean", "running_var")
    for name, value in zip(names, values, strict=False):
        getattr(layer, name).data = torch.from_numpy(np.array(value))


@dataclass(frozen=True)
class Foreign:
    """A network of another framework.

    Parameters
    ----------
    title : as the page shows it
    write : folder -> the exported file
    reference : folder that was written to -> the twin in double precision
    records : what it is asked
    output : the tensor with the logits, if it is not the file's only output
    """

    title: str
    write: Callable[[Path], Path]
    reference: Callable[[Path], Reference]
    records: Callable[[], Records]
    output: str | None = None


def _keras(network: str, folder: Path) -> Path:
    """Let Keras write net.onnx, and its weights to weights.npz.

    A process has one Keras backend for life, and only the one on torch exports without tf2onnx.
    """
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", _KERAS, network], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "net.onnx"


def _keras_twin(network: str, folder: Path) -> Reference:
    with np.load(folder / "weights.npz", allow_pickle=False) as archive:
        weights = [archive[f"arr_{i}"] for i in range(len(archive.files))]
    if network == "mlp":
        return Reference("as trained", KerasMlp(weights).double().eval())
    return with_affine_norms(KerasCnn(weights).double().eval(), centred=True)


def _keras_records(shape: tuple[int, ...]) -> Records:
    rng = np.random.default_rng(8)
    return Records(
        {"keras_tensor": rng.normal(size=(CANDIDATES, *shape)).astype(np.float32)}, rng.integers(0, CLASSES, CANDIDATES)
    )


@cache
def _classifier() -> MLPClassifier:
    digits, labels = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fifteen passes need not converge
        net = MLPClassifier((32, 16), activation="tanh", max_iter=15, random_state=0)
        return net.fit((digits[:500] / 16.0).astype(np.float32), labels[:500])


def _sklearn(folder: Path) -> Path:
    from skl2onnx import to_onnx

    net, path = _classifier(), folder / "classifier.onnx"
    example = np.zeros((1, 64), np.float32)
    path.write_bytes(to_onnx(net, example, options={id(net): {"zipmap": False}}).SerializeToString())
    return path


def _sklearn_twin(folder: Path) -> Reference:
    net = _classifier()
    return Reference("as trained", Chain(net.coefs_, net.intercepts_).double().eval())


def _sklearn_records() -> Records:
    digits, labels = load_digits(return_X_y=True)
    return Records(
        {"X": (digits[500 : 500 + CANDIDATES] / 16.0).astype(np.float32)},
        labels[500 : 500 + CANDIDATES].astype(np.int64),
    )


FOREIGN = (
    Foreign("Keras MLP", partial(_keras, "mlp"), partial(_keras_twin, "mlp"), partial(_keras_records, (30,))),
    Foreign("Keras CNN", partial(_keras, "cnn"), partial(_keras_twin, "cnn"), partial(_keras_records, (8, 8, 3))),
    Foreign("scikit-learn MLPClassifier", _sklearn, _sklearn_twin, _sklearn_records, "add_result2"),
)
