"""Classifiers with attention, or like those that have it: ConvNeXt, ViT, a BERT-style encoder, a small transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.whitebox.convolutional import CLASSES

WORDS, LENGTH = 60, 12


class ConvNextBlock(nn.Module):
    """Depthwise 7 x 7, LayerNorm and a dense network over channels that stand last, a learnt scale, a shortcut."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(size, size, 7, padding=3, groups=size)
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.scale = nn.Parameter(torch.full((size, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        inner = self.down(nn.functional.gelu(self.up(inner))).permute(0, 3, 1, 2)
        answer: Tensor = x + self.scale * inner
        return answer


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """Four stages with strided convolutions between them (Liu 2022)."""

    def __init__(self) -> None:
        super().__init__()
        widths, depths = (8, 16, 24, 32), (1, 1, 3, 1)
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 2, 2), ChannelNorm(widths[0], eps=1e-6)]
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            layers += [ConvNextBlock(width) for _ in range(depth)]
            if i + 1 < len(widths):
                layers += [ChannelNorm(width, eps=1e-6), nn.Conv2d(width, widths[i + 1], 2, 2)]
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.norm, self.head = ChannelNorm(widths[-1], eps=1e-6), nn.Linear(widths[-1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.flatten(self.norm(self.avgpool(self.features(x))), 1))
        return logits


class VitBlock(nn.Module):
    """Attention and a dense network, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size, eps=1e-6), nn.LayerNorm(size, eps=1e-6)
        self.attention = nn.MultiheadAttention(size, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(size, 2 * size), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * size, size), nn.Dropout(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm1(x)
        x = x + self.attention(inner, inner, inner, need_weights=False)[0]
        answer: Tensor = x + self.mlp(self.norm2(x))
        return answer


class Vit(nn.Module):
    """Patches of 8 x 8 pixels, a class token, learnt positions, three blocks (Dosovitskiy 2021)."""

    def __init__(self) -> None:
        super().__init__()
        size = 32
        self.patches = nn.Conv2d(3, size, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, size))
        self.positions = nn.Parameter(torch.zeros(1, 17, size))
        self.blocks = nn.Sequential(*(VitBlock(size, 4) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(size, eps=1e-6), nn.Linear(size, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        logits: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return logits


class BertLayer(nn.Module):
    """Attention with a mask, and a dense network; a LayerNorm behind each shortcut."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, size // heads
        self.query, self.key, self.value = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)
        self.out, self.norm1 = nn.Linear(size, size), nn.LayerNorm(size, eps=1e-12)
        self.up, self.down = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.norm2 = nn.LayerNorm(size, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (self._split(each(x)) for each in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / self.width**0.5 + mask
        mixed = (torch.softmax(scores, dim=-1) @ value).permute(0, 2, 1, 3).flatten(2)
        x = self.norm1(x + self.out(mixed))
        answer: Tensor = self.norm2(x + self.down(nn.functional.gelu(self.up(x))))
        return answer

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.width).permute(0, 2, 1, 3)


class Bert(nn.Module):
    """Embeddings of words, positions and types, two layers, and a pooled first token (Devlin 2019)."""

    def __init__(self) -> None:
        super().__init__()
        size = 32
        self.words, self.places, self.types = (nn.Embedding(rows, size) for rows in (WORDS, LENGTH, 2))
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer(size, 4) for _ in range(2))
        self.pooler, self.head = nn.Linear(size, size), nn.Linear(size, CLASSES)
        self.place: Tensor
        self.register_buffer("place", torch.arange(LENGTH).expand(1, -1), persistent=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        types = torch.zeros_like(ids)
        x = self.words(ids) + self.types(types) + self.places(self.place[:, : ids.shape[1]])
        x = self.norm(x)
        hidden = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        for layer in self.layers:
            x = layer(x, hidden)
        logits: Tensor = self.head(torch.tanh(self.pooler(x[:, 0])))
        return logits


class Transformer(nn.Module):
    """An embedding, learnt positions and two encoder layers of torch's own, over tokens without a mask."""

    def __init__(self) -> None:
        super().__init__()
        size = 24
        self.words = nn.Embedding(WORDS, size)
        self.positions = nn.Parameter(torch.zeros(LENGTH, size))
        layer = nn.TransformerEncoderLayer(size, 3, 48, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.encoder(self.words(ids) * 24**0.5 + self.positions)
        logits: Tensor = self.head(self.norm(x).mean(dim=1))
        return logits
