"""Convolutional classifiers of 3 x 32 x 32 images whose layers follow each other: plain, VGG, ResNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 10


class ConvNorm(nn.Sequential):
    """A convolution without bias, a BatchNorm and an activation: the brick of nearly all of these."""

    def __init__(
        self,
        channels: int,
        to: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        conv = nn.Conv2d(channels, to, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(to), activation())


class Cnn(nn.Module):
    """Two convolutions, each with a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
        )
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean(dim=(2, 3)))
        return logits


class Vgg(nn.Module):
    """Stacks of biased 3 x 3 convolutions with max pooling, three dense layers with dropout (Simonyan 2015)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, depth in ((8, 1), (16, 1), (24, 2), (32, 2)):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.average = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(channels * 4, 64),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(64, 48),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(48, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.average(self.features(x)), 1))
        return logits


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is projected where the shape changes."""

    def __init__(self, channels: int, to: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, to, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(to)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(to, to, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(to)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != to:
            self.downsample = nn.Sequential(nn.Conv2d(channels, to, 1, stride, bias=False), nn.BatchNorm2d(to))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        answer: Tensor = self.relu(inner + self.downsample(x))
        return answer


class ResNet18(nn.Module):
    """Four stages of two basic blocks behind a 7 x 7 convolution and max pooling (He 2016)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (12, 16, 24, 32)
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages = []
        channels = widths[0]
        for i, width in enumerate(widths):
            stages.append(nn.Sequential(BasicBlock(channels, width, 1 if i == 0 else 2), BasicBlock(width, width, 1)))
            channels = width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits
