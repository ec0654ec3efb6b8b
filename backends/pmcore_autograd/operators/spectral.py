"""Fourier transforms, and the windows that they are taken through."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import axis_of, flag, given, integers, optional, refusal, version, whole
from pmcore_autograd.operators.types import torch_type

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def fourier(node: Node, values: Values) -> torch.Tensor:
    """Return the Fourier transform along an axis; the last dimension holds real and imaginary parts."""
    value, length, place = given(node, values, 0), optional(values, 1), optional(values, 2)
    named = whole(node, "axis", 1) if version(node) < 20 else -2
    axis = axis_of(node, named if place is None else integers(node, place)[0], value.dim())
    inverse, onesided = flag(node, "inverse"), flag(node, "onesided")
    count = 2 * (value.shape[axis] - 1) if inverse and onesided else value.shape[axis]
    count = count if length is None else integers(node, length)[0]
    sized(node, [count])
    signal = value.squeeze(-1) if value.shape[-1] == 1 else torch.view_as_complex(value.contiguous())
    if inverse and onesided:
        real: torch.Tensor = torch.fft.irfft(signal, count, axis)
        return real.unsqueeze(-1)
    if onesided and signal.is_complex():
        raise refusal(node, "a one-sided transform of complex numbers does not exist")
    function = torch.fft.ifft if inverse else torch.fft.rfft if onesided else torch.fft.fft
    return torch.view_as_real(function(signal, count, axis))


def short_time_fourier(node: Node, values: Values) -> torch.Tensor:
    """Return the Fourier transforms of a signal's frames, shape (n, frames, frequencies, 2)."""
    value, window, length = given(node, values, 0), optional(values, 2), optional(values, 3)
    step = integers(node, given(node, values, 1))[0]
    signal = value.squeeze(-1) if value.dim() == 3 and value.shape[-1] == 1 else value
    signal = torch.view_as_complex(value.contiguous()) if signal.dim() == 3 else signal
    count = window.shape[0] if window is not None else signal.shape[1]
    count = count if length is None else integers(node, length)[0]
    if step < 1 or not 1 <= count <= signal.shape[1]:
        raise refusal(node, f"frames of {count} every {step} do not fit a signal of {signal.shape[1]}")
    frames = signal.unfold(1, count, step)
    frames = frames if window is None else frames * window
    onesided = flag(node, "onesided", True) and not frames.is_complex()
    return torch.view_as_real((torch.fft.rfft if onesided else torch.fft.fft)(frames, count, -1))


def cosine_window(coefficients: tuple[float, ...]) -> Operator:
    """Return the operator that makes a window of a few cosines."""

    def operator(node: Node, values: Values) -> torch.Tensor:
        size = given(node, values, 0)
        count = integers(node, size)[0]
        sized(node, [count])
        around = count if flag(node, "periodic", True) else count - 1
        angle = torch.arange(count, dtype=torch.float64, device=size.device) * (2 * pi / max(around, 1))
        window = torch.zeros_like(angle)
        for order, coefficient in enumerate(coefficients):
            window = window + coefficient * torch.cos(order * angle)
        return window.to(torch_type(node, whole(node, "output_datatype", 1)))

    return operator


_WINDOW = "output_datatype periodic"
TABLE = {
    "BlackmanWindow": Known(cosine_window((0.42, -0.5, 0.08)), _WINDOW),
    "DFT": Known(fourier, "axis inverse onesided"),
    "HammingWindow": Known(cosine_window((25 / 46, -21 / 46)), _WINDOW),
    "HannWindow": Known(cosine_window((0.5, -0.5)), _WINDOW),
    "STFT": Known(short_time_fourier, "onesided"),
}
