"""Three networks, trained in PyTorch on scikit-learn's digits, and the records that they are audited with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from pmcore.interfaces import Array

CLASSES = 10
WIDTH = 8
MEMBERS = 600
COPIES = 12
"""Jittered copies of each held-out digit: the more pairs, the less one of them that changes places moves the AUC."""


@dataclass(frozen=True)
class Digits:
    """Records as the networks take them, and how many of the first trained them."""

    x: Array
    y: Array
    n_members: int


class Mlp(nn.Module):
    """A dense network on 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(x)
        return logits


class Cnn(nn.Module):
    """Two convolutions, each with a BatchNorm, on 1 x 8 x 8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 24, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(24)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.first(x))))
        x = torch.relu(self.norm2(self.second(x)))
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Attention and a dense network, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, size = x.shape
        parts = self.qkv(self.norm(x)).reshape(n, length, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(parts[0] @ parts[1].transpose(-1, -2) / (size // self.heads) ** 0.5, dim=-1)
        mixed = (weights @ parts[2]).transpose(1, 2).reshape(n, length, size)
        x = x + self.out(mixed)
        answer: torch.Tensor = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        return answer


class Transformer(nn.Module):
    """Two blocks of attention over the eight rows of a digit."""

    SIZE = 32
    HEADS = 4

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(WIDTH, self.SIZE)
        self.place = nn.Parameter(0.1 * torch.randn(WIDTH, self.SIZE))
        self.first, self.second = Block(self.SIZE, self.HEADS), Block(self.SIZE, self.HEADS)
        self.norm = nn.LayerNorm(self.SIZE)
        self.head = nn.Linear(self.SIZE, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(self.embed(x) + self.place))
        logits: torch.Tensor = self.head(self.norm(x).mean(dim=1))
        return logits


NETWORKS: dict[str, type[nn.Module]] = {"mlp": Mlp, "cnn": Cnn, "transformer": Transformer}
SHAPES: dict[str, tuple[int, ...]] = {"mlp": (64,), "cnn": (1, WIDTH, WIDTH), "transformer": (WIDTH, WIDTH)}


@cache
def digits(name: str) -> Digits:
    """Return the digits as a network takes them: the members first, then jittered held-out ones."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    pixels, labels = (pixels[order] / 16.0).astype(np.float32), labels[order].astype(np.int64)
    others = np.repeat(pixels[MEMBERS:], COPIES, axis=0)
    others = others + np.random.default_rng(1).normal(0.0, 0.05, others.shape).astype(np.float32)
    x = np.concatenate([pixels[:MEMBERS], others]).astype(np.float32).reshape(-1, *SHAPES[name])
    y = np.concatenate([labels[:MEMBERS], np.repeat(labels[MEMBERS:], COPIES)])
    return Digits(x, y, MEMBERS)


@cache
def trained(name: str) -> nn.Module:
    """Return a network trained on the members until it knows most of them; the same one in every process.

    Smoothed labels keep its logits small: rounding in float32 grows with them.
    """
    records = digits(name)
    x, y = torch.from_numpy(records.x[:MEMBERS]), torch.from_numpy(records.y[:MEMBERS])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = NETWORKS[name]()
        optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.1)
        net.train()
        for _ in range(20):
            for rows in torch.randperm(MEMBERS).reshape(-1, 50):
                optimiser.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(net(x[rows]), y[rows], label_smoothing=0.1))
                optimiser.step()
    return net.eval()


def in_float64(name: str) -> Array:
    """Return the logits of all records computed in double precision: what all others are measured against."""
    import copy

    exact = copy.deepcopy(trained(name)).double()
    with torch.inference_mode():
        answer: Array = exact(torch.from_numpy(digits(name).x).double()).numpy()
    return answer
