"""Networks as they are built, against plain backward passes in float64: each parameter by its uses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.autograd.record_gradients import Case, check


class Read(nn.Module):
    """A part whose output is read in some way."""

    def __init__(self, part: nn.Module, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.part = part
        self.read = read

    def forward(self, *given: Tensor) -> Tensor:
        found = self.part(*given)
        return self.read(found[0] if isinstance(found, tuple) else found)


class Transformer(nn.Module):
    """Words and positions, encoder layers, a head on the mean."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16, padding_idx=0)
        self.positions = nn.Embedding(9, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=norm_first, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, numbers: Tensor) -> Tensor:
        words: Tensor = self.words(numbers) + self.positions(torch.arange(numbers.shape[1]))
        logits: Tensor = self.head(self.encoder(words).mean(1))
        return logits


class Vision(nn.Module):
    """Patches with a class token and learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 10, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        words = torch.cat([self.token.expand(len(patches), -1, -1), patches], 1) + self.positions
        logits: Tensor = self.head(self.encoder(words)[:, 0])
        return logits


def mlp() -> Case:
    module = nn.Sequential(nn.Linear(10, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    return Case(module, {"x": torch.randn(7, 10)})


def convolutional() -> Case:
    """Return batch norm, groups, dilation, stride, asymmetric padding, a 1 x 1 and a depthwise convolution."""
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, stride=2, groups=4, dilation=2, padding=(2, 1)),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.ConstantPad2d((0, 1, 2, 0), 0.0),
        nn.Conv2d(8, 12, 2),
        nn.Conv2d(12, 12, (3, 1), padding="same", groups=12),
        nn.Conv2d(12, 6, 1, stride=2),
        nn.PReLU(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )
    for part in module:
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.randn(8)
            part.running_var = torch.rand(8) + 0.5
    return Case(module, {"x": torch.randn(7, 3, 12, 12)})


def small_images() -> Case:
    """Return convolutions with many weights on few positions, whose norms come from Gram matrices."""
    module = nn.Sequential(
        nn.Conv2d(16, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1, dilation=1, groups=2), nn.Flatten()
    )
    return Case(module, {"x": torch.randn(5, 16, 2, 2)})


def one_dimensional() -> Case:
    module = nn.Sequential(
        nn.Conv1d(3, 8, 3, dilation=2, padding=1),
        nn.BatchNorm1d(8),
        nn.ConvTranspose1d(8, 4, 3, stride=2),
        nn.Flatten(),
    )
    return Case(module, {"x": torch.randn(5, 3, 9)})


def three_dimensional() -> Case:
    module = nn.Sequential(nn.Conv3d(2, 4, 3, padding=(1, 0, 2)), nn.ReLU(), nn.Conv3d(4, 3, 2, 2), nn.Flatten())
    return Case(module, {"x": torch.randn(5, 2, 5, 5, 5)})


def recurrent() -> Case:
    part = nn.LSTM(6, 5, batch_first=True, num_layers=2, bidirectional=True)
    return Case(Read(part, lambda found: found[:, -1]), {"x": torch.randn(6, 4, 6)})


def gated() -> Case:
    """Return a recurrence that has the time first."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.GRU(6, 5)
            self.head = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.part(x.transpose(0, 1))[0]).mean(0)
            return logits

    return Case(Gated(), {"x": torch.randn(6, 4, 6)})


def attending() -> Case:
    """Return attention that has the time first, so that rows belong to records in turns."""

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2)
            self.cross = nn.MultiheadAttention(6, 3, kdim=4, vdim=4)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            x, y = x.transpose(0, 1), y.transpose(0, 1)
            x = self.attention(x, x, x)[0]
            logits: Tensor = self.head(self.cross(x[:2], y, y)[0].mean(0))
            return logits

    return Case(Attending(), {"x": torch.randn(7, 4, 6), "y": torch.randn(7, 5, 4)})


def numbers() -> dict[str, Tensor]:
    return {"numbers": torch.randint(0, 20, (6, 7))}


NETWORKS: dict[str, Callable[[], Case]] = {
    "mlp": mlp,
    "convolutional": convolutional,
    "small_images": small_images,
    "one_dimensional": one_dimensional,
    "three_dimensional": three_dimensional,
    "transformer": lambda: Case(Transformer(norm_first=False), numbers()),
    "transformer_norm_first": lambda: Case(Transformer(norm_first=True), numbers()),
    "vision": lambda: Case(Vision(), {"x": torch.randn(5, 3, 12, 12)}),
    "recurrent": recurrent,
    "gated": gated,
    "attending": attending,
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_reduction_is_that_of_plain_backward_passes(name: str) -> None:
    case = NETWORKS[name]()
    case.module.eval()
    assert check(case).reasons == {}


@pytest.mark.parametrize("name", ["mlp", "convolutional", "transformer", "vision"])
def test_a_network_that_takes_one_record_at_a_time_is_taken_by_the_same_uses(name: str) -> None:
    case = NETWORKS[name]()
    case.batched = False
    case.module.eval()
    assert check(case).reasons == {}


def test_an_exported_program_is_taken_by_its_uses() -> None:
    module = convolutional().module.eval()
    exported = torch.export.export(
        module.double(), (torch.randn(4, 3, 12, 12).double(),), dynamic_shapes=({0: torch.export.Dim("b")},)
    )
    assert check(Case(exported.module(), {"x": torch.randn(5, 3, 12, 12)})).reasons == {}


def test_a_torchscript_program_is_taken_by_its_uses() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 3)).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # files of this kind are still about
        trace: Any = torch.jit.trace
        traced = trace(module, torch.randn(4, 3, 4, 4).double())
    assert check(Case(traced, {"x": torch.randn(5, 3, 4, 4)})).reasons == {}
