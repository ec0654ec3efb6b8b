"""Convolutions and their transposes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.constants import sized
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import given, optional, refusal, whole, wholes, word
from pmcore_autograd.operators.windows import padded, windows

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def convolution(node: Node, values: Values) -> torch.Tensor:
    """Return a convolution over one to three spatial dimensions."""
    return convolve(node, given(node, values, 0), given(node, values, 1), optional(values, 2))


def convolve(node: Node, value: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return a convolution by the attributes of a node."""
    slid = windows(node, value.shape[2:], weight.shape[2:])
    margins = slid.before
    if slid.before != slid.after:
        value, margins = padded(value, slid.before, slid.after), (0,) * len(margins)
    function = getattr(torch.nn.functional, f"conv{_rank(node, value)}d")
    result: torch.Tensor = function(value, weight, bias, slid.strides, margins, slid.dilations, whole(node, "group", 1))
    return result


def transposed(node: Node, values: Values) -> torch.Tensor:
    """Return a transposed convolution over one to three spatial dimensions."""
    value, weight, bias = given(node, values, 0), given(node, values, 1), optional(values, 2)
    rank = _rank(node, value)
    plane, kernel = value.shape[2:], weight.shape[2:]
    strides, dilations = wholes(node, "strides") or (1,) * rank, wholes(node, "dilations") or (1,) * rank
    more = wholes(node, "output_padding") or (0,) * rank
    if not len(strides) == len(dilations) == len(more) == rank:
        raise refusal(node, f"its strides, dilations or output_padding do not fit {rank} spatial dimensions")
    if min((*strides, *dilations)) < 1:
        raise refusal(node, "its strides and dilations are not all positive")
    lengths = [
        (length - 1) * stride + (k - 1) * dilation + 1 + extra
        for length, stride, k, dilation, extra in zip(plane, strides, kernel, dilations, more, strict=True)
    ]
    sized(node, [value.shape[0], *lengths])
    function = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    full: torch.Tensor = function(
        value, weight, None, strides, (0,) * rank, (0,) * rank, whole(node, "group", 1), dilations
    )
    before, after = _cut(node, lengths, [n * stride for n, stride in zip(plane, strides, strict=True)])
    cut = padded(full, [-b for b in before], [extra - a for extra, a in zip(more, after, strict=True)])
    return cut if bias is None else cut + bias.reshape((-1,) + (1,) * rank)


def _cut(node: Node, lengths: list[int], same: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what is cut off before and after, given the full lengths and those that SAME asks for."""
    rank = len(lengths)
    mode = word(node, "auto_pad", "NOTSET VALID SAME_UPPER SAME_LOWER")
    wanted = wholes(node, "output_shape")[-rank:] or (tuple(same) if mode.startswith("SAME") else ())
    if not wanted:
        pads = wholes(node, "pads") or (0,) * (2 * rank)
        pads = (0,) * (2 * rank) if mode == "VALID" else pads
        if len(pads) != 2 * rank:
            raise refusal(node, f"its pads do not fit {rank} spatial dimensions")
        return pads[:rank], pads[rank:]
    if len(wanted) != rank:
        raise refusal(node, f"its output_shape does not fit {rank} spatial dimensions")
    sized(node, list(wanted))
    total = [length - target for length, target in zip(lengths, wanted, strict=True)]
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def _rank(node: Node, value: torch.Tensor) -> int:
    rank = value.dim() - 2
    if not 1 <= rank <= 3:
        raise refusal(node, f"it runs over {rank} spatial dimensions; 1 to 3 are known here")
    return rank


TABLE = {
    "Conv": Known(convolution, "auto_pad dilations group kernel_shape pads strides"),
    "ConvTranspose": Known(
        transposed, "auto_pad dilations group kernel_shape output_padding output_shape pads strides"
    ),
}
