"""Classifiers without image or attention: dense layers, and recurrent ones over 12 steps of 6 features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.whitebox.convolutional import CLASSES

STEPS, FEATURES = 12, 6


class Mlp(nn.Module):
    """Dense layers with ReLU and tanh; the last but one has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(30, 48),
            nn.ReLU(),
            nn.Linear(48, 32),
            nn.Tanh(),
            nn.Linear(32, 24, bias=False),
            nn.ReLU(),
            nn.Linear(24, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


class Lstm(nn.Module):
    """Two layers of LSTM, the first bidirectional; the last step is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(FEATURES, 10, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(20, 12, batch_first=True)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.second(self.first(x)[0])
        logits: Tensor = self.head(steps[:, -1])
        return logits


class Gru(nn.Module):
    """Two stacked layers of GRU; the mean over the steps is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(FEATURES, 14, num_layers=2, batch_first=True)
        self.head = nn.Linear(14, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.recurrent(x)
        logits: Tensor = self.head(torch.mean(steps, dim=1))
        return logits
