"""A ResNet-18 for small images in the four frameworks: 11 million parameters, .56 GMAC per record of 3 x 32 x 32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

IMAGE = (3, 32, 32)
CLASSES = 10
WIDTHS = (64, 128, 256, 512)


def torch_resnet() -> Any:
    """Return the network in PyTorch, untrained, in eval mode; a batch is (b, 3, 32, 32)."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, above: int, below: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(above, below, 3, stride, 1, bias=False),
                nn.BatchNorm2d(below),
                nn.ReLU(),
                nn.Conv2d(below, below, 3, 1, 1, bias=False),
                nn.BatchNorm2d(below),
            )
            same = above == below and stride == 1
            self.way: nn.Module = nn.Identity() if same else nn.Conv2d(above, below, 1, stride, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.body(x) + self.way(x))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        above = 64
        for width in WIDTHS:
            layers += [Block(above, width, 1 if width == 64 else 2), Block(width, width, 1)]
            above = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(above, CLASSES)).eval()


def keras_resnet() -> Any:
    """Return the network in Keras, untrained; a batch is (b, 32, 32, 3)."""
    import keras

    layers = keras.layers

    def block(x: Any, below: int, stride: int) -> Any:
        way = x
        if x.shape[-1] != below or stride != 1:
            way = layers.Conv2D(below, 1, strides=stride, use_bias=False)(x)
        x = layers.Conv2D(below, 3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.BatchNormalization()(layers.Conv2D(below, 3, padding="same", use_bias=False)(x))
        return layers.ReLU()(layers.Add()([x, way]))

    image = keras.Input((32, 32, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(64, 3, padding="same", use_bias=False)(image)))
    for width in WIDTHS:
        x = block(block(x, width, 1 if width == 64 else 2), width, 1)
    return keras.Model(image, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def write_onnx(path: Path) -> None:
    """Write the PyTorch network as an ONNX file."""
    import torch

    from benchmarks.cases import export

    export(torch_resnet(), torch.zeros(1, *IMAGE), path)
