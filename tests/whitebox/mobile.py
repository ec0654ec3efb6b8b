"""Classifiers of 3 x 32 x 32 images made of inverted residuals: MobileNet v2 and v3, EfficientNet-B0."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.whitebox.convolutional import CLASSES, ConvNorm


class Squeeze(nn.Module):
    """Channels weighted by what a small network makes of their means (squeeze and excitation)."""

    def __init__(self, channels: int, inner: int, activation: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.average = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.activation, self.gate = activation, gate

    def forward(self, x: Tensor) -> Tensor:
        weights = self.gate(self.fc2(self.activation(self.fc1(self.average(x)))))
        answer: Tensor = weights * x
        return answer


class Inverted(nn.Module):
    """Expand by 1 x 1, convolve depthwise, weigh channels if wished, project by 1 x 1, and add where shapes allow."""

    def __init__(
        self,
        channels: int,
        expanded: int,
        to: int,
        kernel: int,
        stride: int,
        activation: type[nn.Module],
        squeeze: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.adds = stride == 1 and channels == to
        layers: list[nn.Module] = []
        if expanded != channels:
            layers.append(ConvNorm(channels, expanded, 1, activation=activation))
        layers.append(ConvNorm(expanded, expanded, kernel, stride, groups=expanded, activation=activation))
        if squeeze is not None:
            layers.append(squeeze)
        layers += [nn.Conv2d(expanded, to, 1, bias=False), nn.BatchNorm2d(to)]
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = x + self.block(x) if self.adds else self.block(x)
        return answer


class MobileNetV2(nn.Module):
    """Seventeen inverted residuals with ReLU6 (Sandler 2018), at a quarter of their widths."""

    #        expansion, channels, repeats, stride of the first
    STAGES = ((1, 4, 1, 1), (6, 6, 2, 2), (6, 8, 3, 2), (6, 16, 4, 2), (6, 24, 3, 1), (6, 40, 3, 2), (6, 80, 1, 1))

    def __init__(self) -> None:
        super().__init__()
        channels = 8
        layers: list[nn.Module] = [ConvNorm(3, channels, 3, 1, activation=nn.ReLU6)]
        for expansion, width, repeats, stride in self.STAGES:
            for i in range(repeats):
                step = stride if i == 0 else 1
                layers.append(Inverted(channels, channels * expansion, width, 3, step, nn.ReLU6))
                channels = width
        layers.append(ConvNorm(channels, 128, 1, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


class MobileNetV3(nn.Module):
    """The small one: hard swish, squeeze and excitation with a hard sigmoid (Howard 2019), at half its widths."""

    #        kernel, expanded, channels, squeezes, hard swish, stride
    BLOCKS = (
        (3, 8, 8, True, False, 1),
        (3, 36, 12, False, False, 2),
        (3, 44, 12, False, False, 1),
        (5, 48, 20, True, True, 2),
        (5, 120, 20, True, True, 1),
        (5, 120, 20, True, True, 1),
        (5, 60, 24, True, True, 1),
        (5, 72, 24, True, True, 1),
        (5, 144, 48, True, True, 2),
        (5, 288, 48, True, True, 1),
    )

    def __init__(self) -> None:
        super().__init__()
        channels = 8
        layers: list[nn.Module] = [ConvNorm(3, channels, 3, 2, activation=nn.Hardswish)]
        for kernel, expanded, width, squeezes, swish, stride in self.BLOCKS:
            squeeze = Squeeze(expanded, max(8, expanded // 4), nn.ReLU(), nn.Hardsigmoid()) if squeezes else None
            activation = nn.Hardswish if swish else nn.ReLU
            layers.append(Inverted(channels, expanded, width, kernel, stride, activation, squeeze))
            channels = width
        layers.append(ConvNorm(channels, 96, 1, activation=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(96, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.average(self.features(x)), 1))
        return logits


class EfficientNet(nn.Module):
    """B0: sixteen inverted residuals with SiLU, squeeze and excitation (Tan 2019), at a quarter of their widths."""

    #        expansion, kernel, stride, channels, repeats
    STAGES = (
        (1, 3, 1, 4, 1),
        (6, 3, 2, 6, 2),
        (6, 5, 2, 10, 2),
        (6, 3, 2, 20, 3),
        (6, 5, 1, 28, 3),
        (6, 5, 2, 48, 4),
        (6, 3, 1, 80, 1),
    )

    def __init__(self) -> None:
        super().__init__()
        channels = 8
        layers: list[nn.Module] = [ConvNorm(3, channels, 3, 1, activation=nn.SiLU)]
        for expansion, kernel, stride, width, repeats in self.STAGES:
            for i in range(repeats):
                expanded = channels * expansion
                squeeze = Squeeze(expanded, max(2, channels // 4), nn.SiLU(), nn.Sigmoid())
                step = stride if i == 0 else 1
                layers.append(Inverted(channels, expanded, width, kernel, step, nn.SiLU, squeeze))
                channels = width
        layers.append(ConvNorm(channels, 128, 1, activation=nn.SiLU))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits
