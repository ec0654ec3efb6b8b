"""Convolutional classifiers of 3 x 32 x 32 images that join branches: DenseNet, Inception, ShuffleNet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from tests.whitebox.convolutional import CLASSES, ConvNorm


class DenseLayer(nn.Module):
    """Norm, 1 x 1 convolution, norm, 3 x 3 convolution, of all that was made before."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, before: list[Tensor]) -> Tensor:
        x = self.conv1(torch.relu(self.norm1(torch.cat(before, 1))))
        answer: Tensor = self.conv2(torch.relu(self.norm2(x)))
        return answer


class DenseBlock(nn.Module):
    """Layers that each see the outputs of all earlier ones."""

    def __init__(self, channels: int, growth: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(channels + i * growth, growth) for i in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for layer in self.layers:
            made.append(layer(made))
        return torch.cat(made, 1)


class DenseNet(nn.Module):
    """Dense blocks with transitions that halve channels and sides between them (Huang 2017)."""

    def __init__(self) -> None:
        super().__init__()
        growth, channels = 6, 12
        layers: list[nn.Module] = [ConvNorm(3, channels), nn.MaxPool2d(3, 2, 1)]
        depths = (2, 3, 4, 2)
        for i, depth in enumerate(depths):
            layers.append(DenseBlock(channels, growth, depth))
            channels += depth * growth
            layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            if i + 1 < len(depths):
                layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2, 2)]
                channels //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


class InceptionBlock(nn.Module):
    """Four branches side by side: 1 x 1, 3 x 3, factorised 1 x 5 and 5 x 1, and average pooling."""

    def __init__(self, channels: int, width: int, count_include_pad: bool) -> None:
        super().__init__()
        self.single = ConvNorm(channels, width, 1)
        self.square = nn.Sequential(ConvNorm(channels, width, 1), ConvNorm(width, width, 3))
        self.factors = nn.Sequential(
            nn.Conv2d(channels, width, (1, 5), padding=(0, 2)),
            nn.ReLU(),
            nn.Conv2d(width, width, (5, 1), padding=(2, 0)),
            nn.ReLU(),
        )
        self.pooled = nn.Sequential(
            nn.AvgPool2d(3, 1, 1, count_include_pad=count_include_pad), ConvNorm(channels, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.single(x), self.square(x), self.factors(x), self.pooled(x)], 1)


class Inception(nn.Module):
    """Local response normalisation and inception blocks, with pooling that rounds up (Szegedy 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),
            nn.ReLU(),
            nn.LocalResponseNorm(5, alpha=0.2, beta=0.75, k=1.0),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        self.blocks = nn.Sequential(
            InceptionBlock(16, 6, True), nn.MaxPool2d(3, 2, ceil_mode=True), InceptionBlock(24, 8, False)
        )
        self.head = nn.Conv2d(32, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.blocks(self.stem(x)), (1, 1))
        return torch.flatten(self.head(x), 1)


class ShuffleUnit(nn.Module):
    """Grouped 1 x 1 convolutions whose channels are shuffled around a depthwise one."""

    GROUPS = 2

    def __init__(self, channels: int, to: int, stride: int) -> None:
        super().__init__()
        inner = to // 2
        self.stride = stride
        self.first = ConvNorm(channels, inner, 1, groups=self.GROUPS)
        self.depthwise = ConvNorm(inner, inner, 3, stride, groups=inner, activation=nn.Identity)
        self.last = ConvNorm(inner, to - channels if stride > 1 else to, 1, groups=self.GROUPS, activation=nn.Identity)
        self.average = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.last(self.depthwise(self._shuffled(self.first(x))))
        joined = torch.cat([self.average(x), inner], 1) if self.stride > 1 else x + inner
        return torch.relu(joined)

    def _shuffled(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        parts = x.reshape(n, self.GROUPS, channels // self.GROUPS, height, width)
        return parts.transpose(1, 2).reshape(n, channels, height, width)


class ShuffleNet(nn.Module):
    """Units with grouped convolutions and shuffled channels (Zhang 2018)."""

    def __init__(self, widths: Sequence[int] = (12, 24, 48)) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, widths[0], 3, 2), nn.MaxPool2d(3, 2, 1))
        units: list[nn.Module] = []
        for channels, to in pairwise(widths):
            units += [ShuffleUnit(channels, to, 2), ShuffleUnit(to, to, 1)]
        self.units = nn.Sequential(*units)
        self.head = nn.Linear(widths[-1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.units(self.stem(x)).mean([2, 3]))
        return logits
