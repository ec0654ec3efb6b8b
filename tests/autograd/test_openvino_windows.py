"""OpenVINO's convolutions, pooling and resizing compute what the runtime computes, and so do their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from pmcore_autograd.openvino_reader import read_graph
from pmcore_autograd.unsupported import Unsupported
from tests.autograd.openvino_running import Case, check_backward, check_forward, constant, floats, openvino, ops, run

_LINE = floats(2, 4, 9)
_IMAGE = floats(2, 4, 7, 6)
_BLOCK = floats(1, 2, 4, 5, 4)
_SMALL = floats(2, 3, 5, 4)


def _pools(maker: Any, x: Any, ceil: str, auto: str, stride: int = 2, pads: Sequence[int] = (1, 0)) -> Any:
    ends = ([pads[0]] * 2, [pads[1]] * 2)
    if maker is ops.max_pool:
        return ops.max_pool(x, [stride, stride], [1, 1], *ends, [3, 2], ceil, auto)
    return maker(x, [stride, stride], *ends, [3, 2], True, ceil, auto)


def _counting(x: Any, ceil: str, pads: Sequence[int] = (1, 1)) -> Any:
    return ops.avg_pool(x, [2, 2], [pads[0]] * 2, [pads[1]] * 2, [3, 3], False, ceil, "explicit")


def _resized(x: Any, mode: str, *, scales: Sequence[float] = (), **given: Any) -> Any:
    wanted = constant(scales) if scales else constant([8, 3], np.int64)
    how = "scales" if scales else "sizes"
    return openvino.opset11.interpolate(x, wanted, mode, how, axes=constant([2, 3], np.int64), **given)


CONVOLUTIONS = [
    Case(
        "convolution in one dimension",
        lambda x, w: ops.convolution(x, w, [2], [1], [2], [1]),
        (_LINE, floats(3, 4, 3)),
    ),
    Case(
        "convolution", lambda x, w: ops.convolution(x, w, [1, 2], [1, 1], [1, 1], [2, 1]), (_IMAGE, floats(3, 4, 3, 2))
    ),
    Case(
        "convolution in three dimensions",
        lambda x, w: ops.convolution(x, w, [1, 1, 2], [1, 0, 1], [0, 1, 1], [1, 1, 1]),
        (_BLOCK, floats(2, 2, 2, 2, 2)),
    ),
    *(
        Case(
            f"convolution padded {how}",
            lambda x, w, how=how: ops.convolution(x, w, [2, 1], [5, 5], [5, 5], [1, 2], how),
            (_IMAGE, floats(3, 4, 3, 2)),
        )
        for how in ("same_upper", "same_lower", "valid")
    ),
    Case(
        "group_convolution",
        lambda x, w: ops.group_convolution(x, w, [1, 1], [1, 0], [0, 1], [1, 1]),
        (_IMAGE, floats(2, 3, 2, 3, 2)),
    ),
    Case(
        "depthwise convolution",
        lambda x, w: ops.group_convolution(x, w, [2, 2], [1, 1], [1, 1], [1, 1]),
        (_IMAGE, floats(4, 1, 1, 3, 3)),
    ),
    Case(
        "convolution_backprop_data",
        lambda x, w: ops.convolution_backprop_data(x, w, [2, 3], None, [1, 0], [0, 2], [1, 2], "explicit", [1, 2]),
        (_SMALL, floats(3, 2, 3, 2)),
    ),
    *(
        Case(
            f"convolution_backprop_data to a size, {how}",
            lambda x, w, how=how: ops.convolution_backprop_data(
                x, w, [2, 2], constant([10, 7], np.int64), [1, 0], [0, 0], [1, 1], how
            ),
            (_SMALL, floats(3, 2, 3, 3)),
        )
        for how in ("same_upper", "same_lower", "valid", "explicit")
    ),
    Case(
        "group_convolution_backprop_data",
        lambda x, w: ops.group_convolution_backprop_data(
            x, w, [2, 2], None, [1, 1], [1, 1], [1, 1], "explicit", [1, 0]
        ),
        (_IMAGE, floats(2, 2, 3, 3, 3)),
    ),
    *(
        Case(
            f"matmul {ta} {tb}",
            lambda x, y, ta=ta, tb=tb: ops.matmul(x, y, ta, tb),
            (floats(2, *((4, 3) if ta else (3, 4))), floats(2, *((5, 4) if tb else (4, 5)))),
        )
        for ta in (False, True)
        for tb in (False, True)
    ),
    Case("matmul of a vector", lambda x, y: ops.matmul(x, y, True, False), (floats(4), floats(4, 5))),
    Case("matmul of stacks", lambda x, y: ops.matmul(x, y, False, True), (floats(2, 1, 3, 4), floats(3, 5, 4))),
]
POOLS = [
    *(
        Case(f"{name} {ceil} {auto}", lambda x, m=maker, c=ceil, a=auto: _pools(m, x, c, a), (_IMAGE,))
        for name, maker in (("avg_pool", ops.avg_pool), ("max_pool", ops.max_pool))
        for ceil in ("floor", "ceil", "ceil_torch")
        for auto in ("explicit", "same_upper", "same_lower", "valid")
    ),
    *(
        Case(f"avg_pool that counts padding, {c}", lambda x, c=c: _counting(x, c), (floats(1, 2, 8, 6),))
        for c in ("floor", "ceil", "ceil_torch")
    ),
    Case("avg_pool that counts padding on one side", lambda x: _counting(x, "floor", (0, 1)), (_IMAGE,)),
    Case("max_pool with gaps", lambda x: ops.max_pool(x, [1, 1], [2, 1], [1, 1], [1, 1], [3, 2]), (_IMAGE,)),
    Case("old max_pool", lambda x: openvino.opset1.max_pool(x, [2, 2], [1, 1], [1, 1], [3, 3]), (_IMAGE,)),
    Case("max_pool in one dimension", lambda x: ops.max_pool(x, [2], [1], [0], [0], [3]), (_LINE,)),
    Case(
        "avg_pool in three dimensions", lambda x: ops.avg_pool(x, [1, 2, 1], [0] * 3, [0] * 3, [2] * 3, True), (_BLOCK,)
    ),
    Case("adaptive_avg_pool", lambda x: ops.adaptive_avg_pool(x, constant([3, 4], np.int64)), (_IMAGE,)),
    Case(
        "adaptive_max_pool", lambda x: ops.adaptive_max_pool(x, constant([3, 4], np.int64), "i32").output(0), (_IMAGE,)
    ),
]
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "tf_half_pixel_for_nn")
RESIZED = [
    *(
        Case(
            f"interpolate {mode} {where}",
            lambda x, m=mode, w=where: _resized(x, m, coordinate_transformation_mode=w),
            (_SMALL,),
        )
        for mode in ("nearest", "linear", "linear_onnx", "cubic")
        for where in _COORDINATES
        if mode == "nearest" or where != "tf_half_pixel_for_nn"
    ),
    *(
        Case(f"interpolate nearest by {how}", lambda x, h=how: _resized(x, "nearest", nearest_mode=h), (_SMALL,))
        for how in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")
    ),
    *(
        Case(
            f"interpolate {mode} by scales",
            lambda x, m=mode: _resized(x, m, scales=(1.7, 0.6), coordinate_transformation_mode="asymmetric"),
            (_SMALL,),
        )
        for mode in ("nearest", "linear_onnx", "cubic")
    ),
    *(
        Case(f"interpolate {mode}", lambda x, m=mode: _resized(x, m), (_SMALL,))
        for mode in ("bilinear_pillow", "bicubic_pillow")
    ),
    Case("interpolate cubic of another shape", lambda x: _resized(x, "cubic", cube_coeff=-0.5), (_SMALL,)),
    Case(
        "interpolate with padding",
        lambda x: _resized(x, "nearest", pads_begin=[0, 0, 1, 0], pads_end=[0, 0, 0, 2]),
        (_SMALL,),
    ),
    Case(
        "interpolate of opset 4",
        lambda x: openvino.opset10.interpolate(
            x,
            constant([8, 3], np.int64),
            constant([1.6, 0.75]),
            "linear_onnx",
            "sizes",
            axes=constant([2, 3], np.int64),
        ),
        (_SMALL,),
    ),
]
SAMPLED = [
    Case(
        f"grid_sample {mode} {margin} {corners}",
        lambda x, g, m=mode, p=margin, c=corners: ops.grid_sample(
            x, g, {"mode": m, "padding_mode": p, "align_corners": c}
        ),
        (_SMALL, floats(2, 3, 2, 2, low=-1.2, high=1.2)),
        tolerance=1e-4,
    )
    for mode, margin, corners in (
        ("bilinear", "zeros", False),
        ("bicubic", "border", True),
        ("nearest", "reflection", False),
    )
]


@pytest.mark.parametrize("case", [*CONVOLUTIONS, *POOLS, *RESIZED, *SAMPLED], ids=repr)
def test_an_operator_answers_as_the_runtime_does(case: Case) -> None:
    check_forward(case)


SAMPLED = [
    Case(
        f"grid_sample {mode} {margin} {corners}",
        lambda x, g, m=mode, p=margin, c=corners: ops.grid_sample(
            x, g, {"mode": m, "padding_mode": p, "align_corners": c}
        ),
        (_SMALL, floats(2, 3, 2, 2, low=-1.2, high=1.2)),
        tolerance=1e-4,
    )
    for mode, margin, corners in (
        ("bilinear", "zeros", False),
        ("bicubic", "border", True),
        ("nearest", "reflection", False),
    )
]


@pytest.mark.parametrize("case", [*CONVOLUTIONS, *POOLS, *RESIZED, *SAMPLED], ids=repr)
def test_gradients_are_those_of_differences(case: Case) -> None:
    check_backward(case)


def test_what_the_runtime_itself_does_otherwise_than_defined_is_refused() -> None:
    case = Case("antialias", lambda x: _resized(x, "linear", antialias=True), (_SMALL,))
    with pytest.raises(Unsupported, match="antialias=True is not known here"):
        run(read_graph(case.model), [torch.from_numpy(_SMALL)])
