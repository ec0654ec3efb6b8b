"""OpenVINO's convolutions and pooling, and its product of matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, integers, optional, refusal, wholes, word
from pmcore_autograd.operators.windows import Windows, padded

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch = Lazily("torch")
    functional = Lazily("torch.nn.functional")

_Run: TypeAlias = "Callable[..., torch.Tensor]"
_PADS = "explicit notset same_upper same_lower valid"


def window(node: Node, size: Sequence[int], extent: Sequence[int]) -> Windows:
    """Return the window of a node; where it pads automatically, for a tensor of this spatial extent."""
    rank = len(size)
    strides = _spatial(node, "strides", rank, 1)
    dilations = _spatial(node, "dilations", rank, 1)
    before, after = _spatial(node, "pads_begin", rank, 0), _spatial(node, "pads_end", rank, 0)
    if min(*strides, *dilations) < 1:
        raise refusal(node, "its strides and dilations must be positive")
    mode = word(node, "auto_pad", _PADS)
    if mode == "valid":
        before = after = (0,) * rank
    elif mode.startswith("same"):
        spans = [d * (s - 1) + 1 for s, d in zip(size, dilations, strict=True)]
        totals = [
            max((-(-length // stride) - 1) * stride + span - length, 0)
            for length, stride, span in zip(extent, strides, spans, strict=True)
        ]
        less, more = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
        before, after = (less, more) if mode == "same_upper" else (more, less)
    return Windows(tuple(size), strides, dilations, before, after)


def _convolution(node: Node, values: Values) -> torch.Tensor:
    return _convolve(node, given(node, values, 0), given(node, values, 1), 1)


def _group_convolution(node: Node, values: Values) -> torch.Tensor:
    weight = given(node, values, 1)  # (groups, outputs, inputs, ...)
    return _convolve(node, given(node, values, 0), weight.flatten(0, 1), weight.shape[0])


def _convolve(node: Node, x: torch.Tensor, weight: torch.Tensor, groups: int) -> torch.Tensor:
    over = window(node, weight.shape[2:], x.shape[2:])
    padding = over.before
    if over.before != over.after or min(padding) < 0:
        x, padding = padded(x, over.before, over.after), (0,) * len(padding)
    run = _of_rank(node, x, (functional.conv1d, functional.conv2d, functional.conv3d))
    return run(x, weight, None, over.strides, padding, over.dilations, groups)


def _transposed(node: Node, values: Values) -> torch.Tensor:
    return _deconvolve(node, values, given(node, values, 1), 1)


def _group_transposed(node: Node, values: Values) -> torch.Tensor:
    weight = given(node, values, 1)  # (groups, inputs, outputs, ...)
    return _deconvolve(node, values, weight.flatten(0, 1), weight.shape[0])


def _deconvolve(node: Node, values: Values, weight: torch.Tensor, groups: int) -> torch.Tensor:
    x, wanted = given(node, values, 0), optional(values, 2)
    rank = x.dim() - 2
    strides, dilations = _spatial(node, "strides", rank, 1), _spatial(node, "dilations", rank, 1)
    run = _of_rank(node, x, (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d))
    whole = run(x, weight, None, strides, 0, 0, groups, dilations)
    extra = _spatial(node, "output_padding", rank, 0)
    before, after = _spatial(node, "pads_begin", rank, 0), _spatial(node, "pads_end", rank, 0)
    mode = word(node, "auto_pad", _PADS)
    if wanted is not None:
        sizes = integers(node, wanted)
        totals = [f + e - s for f, e, s in zip(whole.shape[2:], extra, sizes, strict=True)]
        if mode in ("same_upper", "same_lower"):
            less, more = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
            before, after = (more, less) if mode == "same_upper" else (less, more)
        else:
            after = tuple(t - b for t, b in zip(totals, before, strict=True))
    elif mode != "explicit" and mode != "notset":
        before = after = (0,) * rank
    return padded(whole, [-b for b in before], [e - a for e, a in zip(extra, after, strict=True)])


def _average_pool(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    over = window(node, _kernel(node, x), x.shape[2:])
    bare = flag(node, "exclude-pad")
    run = _of_rank(node, x, (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d))
    rounding = _rounding(node)
    if (
        over.before == over.after
        and rounding == "floor"
        and all(2 * b <= s for b, s in zip(over.before, over.kernel, strict=True))
    ):
        return run(x, over.kernel, over.strides, over.before, False, not bare)
    beyond = _beyond(over, x.shape[2:], rounding)
    after = [a + b for a, b in zip(over.after, beyond, strict=True)]
    pooled = run(padded(x, over.before, after), over.kernel, over.strides)
    if not bare:
        return pooled
    share = run(padded(torch.ones_like(x[:1, :1]), over.before, after), over.kernel, over.strides)
    return pooled / torch.where(share > 0, share, torch.ones_like(share))


def _max_pool(node: Node, values: Values) -> torch.Tensor:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise refusal(node, "its second output, the places of the greatest elements, is not known here")
    x = given(node, values, 0)
    over = window(node, _kernel(node, x), x.shape[2:])
    beyond = _beyond(over, x.shape[2:], _rounding(node))
    after = tuple(a + b for a, b in zip(over.after, beyond, strict=True))
    padding = over.before
    if padding != after or any(2 * p > s for p, s in zip(padding, over.kernel, strict=True)):
        x, padding = padded(x, padding, after, -torch.inf), (0,) * len(padding)
    run = _of_rank(node, x, (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d))
    return run(x, over.kernel, over.strides, padding, over.dilations)


def _beyond(over: Windows, extent: Sequence[int], rounding: str) -> tuple[int, ...]:
    """Return how many elements after the padding the last window reaches, per axis, if it need not fit."""
    found = []
    for axis, length in enumerate(extent):
        stride, span, before = over.strides[axis], over.spans[axis], over.before[axis]
        whole = length + before + over.after[axis]
        steps = (whole - span) // stride if rounding == "floor" else -(-(whole - span) // stride)
        if rounding == "ceil_torch" and steps * stride >= length + before:
            steps -= 1
        found.append(max(steps * stride + span - whole, 0))
    return tuple(found)


def _rounding(node: Node) -> str:
    return word(node, "rounding_type", "floor ceil ceil_torch") if word(node, "auto_pad", _PADS) in _FREE else "floor"


_FREE = ("explicit", "notset")


def _adaptive_average(node: Node, values: Values) -> torch.Tensor:
    x = given(node, values, 0)
    names = (functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)
    return _of_rank(node, x, names)(x, integers(node, given(node, values, 1)))


def _adaptive_max(node: Node, values: Values) -> torch.Tensor:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise refusal(node, "its second output, the places of the greatest elements, is not known here")
    x = given(node, values, 0)
    names = (functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d)
    return _of_rank(node, x, names)(x, integers(node, given(node, values, 1)))


def _of_rank(node: Node, x: torch.Tensor, runs: Sequence[_Run]) -> _Run:
    rank = x.dim() - 2
    if not 1 <= rank <= 3:
        raise refusal(node, f"it goes over {rank} spatial axes, where 1 to 3 are known here")
    return runs[rank - 1]


def _kernel(node: Node, x: torch.Tensor) -> tuple[int, ...]:
    size = wholes(node, "kernel")
    if len(size) != x.dim() - 2 or min(size, default=0) < 1:
        raise refusal(node, f"its kernel {size} does not fit a tensor of {x.dim()} dimensions")
    return size


def _spatial(node: Node, name: str, rank: int, default: int) -> tuple[int, ...]:
    found = wholes(node, name) or (default,) * rank
    if len(found) != rank:
        raise refusal(node, f"{name}={found} does not fit {rank} spatial axes")
    return found


def _product(node: Node, values: Values) -> torch.Tensor:
    left, right = given(node, values, 0), given(node, values, 1)
    if flag(node, "transpose_a") and left.dim() > 1:
        left = left.mT
    if flag(node, "transpose_b") and right.dim() > 1:
        right = right.mT
    return torch.matmul(left, right)


_MOVES = "strides dilations pads_begin pads_end auto_pad"
_POOLS = "kernel strides pads_begin pads_end auto_pad rounding_type"
TABLE: Mapping[str, Known] = {
    "AdaptiveAvgPool": Known(_adaptive_average),
    "AdaptiveMaxPool": Known(_adaptive_max, "index_element_type"),
    "AvgPool": Known(_average_pool, f"{_POOLS} exclude-pad dilations"),
    "Convolution": Known(_convolution, _MOVES),
    "ConvolutionBackpropData": Known(_transposed, f"{_MOVES} output_padding"),
    "GroupConvolution": Known(_group_convolution, _MOVES),
    "GroupConvolutionBackpropData": Known(_group_transposed, f"{_MOVES} output_padding"),
    "MatMul": Known(_product, "transpose_a transpose_b"),
    "MaxPool": Known(_max_pool, f"{_POOLS} dilations index_element_type axis"),
}
