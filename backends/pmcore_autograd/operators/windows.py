"""How windows slide over the planes of a record: kernel, steps, gaps between taps, and margins before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, refusal, wholes, word

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


@dataclass(frozen=True)
class Windows:
    """Windows over s spatial dimensions.

    Parameters
    ----------
    kernel, strides, dilations : s numbers each
    before, after : margins around the input, s numbers each
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """Return how far a window reaches, gaps included, shape (s,)."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def windows(node: Node, plane: Sequence[int], kernel: Sequence[int] | None = None) -> Windows:
    """Return the windows of a node.

    Parameters
    ----------
    node : a convolution or pooling, with ONNX's attributes
    plane : lengths of the input's s spatial dimensions
    kernel : the kernel's shape where the weights say it
    """
    rank = len(plane)
    shape = wholes(node, "kernel_shape", tuple(kernel or ()))
    strides, dilations = wholes(node, "strides") or (1,) * rank, wholes(node, "dilations") or (1,) * rank
    pads = wholes(node, "pads") or (0,) * (2 * rank)
    if not len(shape) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise refusal(node, f"its kernel, strides, dilations or pads do not fit {rank} spatial dimensions")
    if min((*shape, *strides, *dilations), default=1) < 1:
        raise refusal(node, "its kernel, strides and dilations are not all positive")
    if kernel is not None and shape != tuple(kernel):
        raise refusal(node, f"its kernel_shape is {shape}, its weights are {tuple(kernel)}")
    sized(node, [length + max(b, 0) + max(a, 0) for length, b, a in zip(plane, pads[:rank], pads[rank:], strict=True)])
    slid = Windows(shape, strides, dilations, pads[:rank], pads[rank:])
    mode = word(node, "auto_pad", "NOTSET VALID SAME_UPPER SAME_LOWER")
    if mode == "NOTSET":
        return slid
    if mode == "VALID":
        return Windows(shape, strides, dilations, (0,) * rank, (0,) * rank)
    total = [
        max((-(-length // stride) - 1) * stride + span - length, 0)
        for length, stride, span in zip(plane, strides, slid.spans, strict=True)
    ]
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    before, after = (less, more) if mode == "SAME_UPPER" else (more, less)
    return Windows(shape, strides, dilations, before, after)


def positions(node: Node, slid: Windows, plane: Sequence[int]) -> tuple[int, ...]:
    """Return how many windows there are along each dimension; with ceil_mode a last one may reach over the margin."""
    counts = []
    for length, span, stride, before, after in zip(
        plane, slid.spans, slid.strides, slid.before, slid.after, strict=True
    ):
        room = length + before + after - span
        count = room // stride + 1
        if flag(node, "ceil_mode") and room % stride and count * stride < length + before:
            count += 1  # it starts inside the input or the margin before it
        counts.append(count)
    if min(counts, default=1) < 1:
        raise refusal(node, f"windows of {slid.spans} do not fit into {tuple(plane)}")
    return tuple(counts)


def padded(value: torch.Tensor, before: Sequence[int], after: Sequence[int], filler: float = 0.0) -> torch.Tensor:
    """Return a tensor with margins around its last dimensions; negative margins cut it."""
    if not any(before) and not any(after):
        return value
    margins = [margin for pair in zip(reversed(before), reversed(after), strict=True) for margin in pair]
    return torch.nn.functional.pad(value, margins, value=filler)
