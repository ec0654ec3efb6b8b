"""Examples of operators that reduce, arrange, pick and resize."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.autograd.example_inputs import f, i, s, x
from tests.autograd.examples import Example

E = Example


def reductions() -> Iterator[Example]:
    """Yield examples of reductions, in the forms of before and after opset 18."""
    for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"):
        value = x(2, 3, 4, low=0.2, high=2.0)
        old = 11 if kind == "Sum" else 13
        yield E(f"Reduce{kind}", (value,), {"axes": (1, -1), "keepdims": 0}, version=old)
        yield E(f"Reduce{kind}", (value, i(1)), {"keepdims": 1}, version=18)
        yield E(f"Reduce{kind}", (value,), {"keepdims": 0}, version=18)
    yield E("ReduceSum", (x(2, 3), i()), {"noop_with_empty_axes": 1})
    for attributes in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        yield E("CumSum", (x(2, 3, 4), s(1, np.int64)), attributes)
    for kind in ("ArgMax", "ArgMin"):
        yield E(kind, (x(2, 3, 4),), {"axis": 1, "keepdims": 0}, smooth=False)
        yield E(kind, (np.round(x(2, 3, 9)),), {"axis": -1, "select_last_index": 1}, smooth=False)


def shapes() -> Iterator[Example]:
    """Yield examples of operators that arrange elements."""
    yield E("Reshape", (x(2, 3, 4), i(0, -1)))
    yield E("Reshape", (x(2, 3, 4), i(2, 2, -1)))
    yield E("Flatten", (x(2, 3, 4),))
    yield E("Flatten", (x(2, 3, 4),), {"axis": -1})
    yield E("Flatten", (x(2, 3, 4),), {"axis": 0})
    yield E("Transpose", (x(2, 3, 4),))
    yield E("Transpose", (x(2, 3, 4),), {"perm": (0, 2, 1)})
    yield E("Squeeze", (x(2, 1, 3, 1),), {"axes": (1, -1)}, version=11)
    yield E("Squeeze", (x(2, 1, 3, 1), i(-1)))
    yield E("Squeeze", (x(2, 1, 3, 1),))
    yield E("Unsqueeze", (x(2, 3),), {"axes": (0, -1)}, version=11)
    yield E("Unsqueeze", (x(2, 3), i(0, 2)))
    yield E("Expand", (x(2, 1, 3), i(4, 1, 5, 1)))
    yield E("Identity", (x(2, 3),))
    yield E("DepthToSpace", (x(1, 8, 2, 3),), {"blocksize": 2})
    yield E("DepthToSpace", (x(1, 8, 2, 3),), {"blocksize": 2, "mode": "CRD"})
    yield E("SpaceToDepth", (x(1, 2, 4, 6),), {"blocksize": 2})
    yield E("Concat", (x(2, 3), x(2, 2), x(2, 1)), {"axis": -1})
    yield E("Split", (x(2, 6),), {"axis": 1}, outputs=3)
    yield E("Split", (x(2, 6),), {"axis": 1, "split": (1, 5)}, version=11, outputs=2)
    yield E("Split", (x(2, 6), i(2, 4)), {"axis": 1}, outputs=2)
    yield E("Split", (x(2, 7),), {"axis": 1, "num_outputs": 3}, version=18, outputs=3)
    yield E("Slice", (x(4, 5, 6), i(1, -3), i(9, -1), i(0, 2)))
    yield E("Slice", (x(4, 5, 6), i(-1), i(-100), i(1), i(-2)))
    yield E("Slice", (x(4, 5, 6), i(0, 1), i(4, 5), i(0, 1), i(2, 3)))
    yield E("Slice", (x(4, 5),), {"starts": (1, 0), "ends": (3, -1), "axes": (0, 1)}, version=9)
    yield E("Slice", (x(4, 5),), {"starts": (1,), "ends": (2147483647,)}, version=9)
    yield E("Tile", (x(2, 3), i(2, 3)))
    for mode in ("constant", "reflect", "edge"):
        yield E("Pad", (x(1, 2, 4, 5), i(0, 0, 1, 2, 0, 0, 2, 1)), {"mode": mode})
        yield E("Pad", (x(1, 2, 4, 5),), {"mode": mode, "pads": (0, 0, 1, 2, 0, 0, 2, 1)}, version=10)
    yield E("Pad", (x(1, 2, 4, 5), i(0, 0, 1, -1, 0, 0, -1, 2), s(0.5)), {"mode": "constant"}, fixed=(2,))
    yield E("Pad", (x(1, 4, 5), i(2, 1), s(-1.5), i(-1)), {"mode": "constant"}, version=18, fixed=(2,))
    yield E("Pad", (x(1, 2, 4, 5), i(1, 3, 3, 2), None, i(2, 3)), {"mode": "wrap"}, version=19)
    yield E("Trilu", (x(2, 4, 4),))
    yield E("Trilu", (x(2, 3, 4), s(-1, np.int64)), {"upper": 0})
    yield E("CenterCropPad", (x(3, 4, 5), i(4, 2)), {"axes": (0, 2)}, version=18, smooth=False)
    yield E("Col2Im", (x(1, 8, 6), i(3, 4), i(2, 2)), version=18)


def places() -> Iterator[Example]:
    """Yield examples of operators that pick or write elements by place."""
    yield E("Gather", (x(4, 3, 5), i(0, -1, 2)))
    yield E("Gather", (x(4, 3, 5), np.array([[0, 2], [1, -1]])), {"axis": 1})
    yield E("Gather", (x(4, 3), s(-1, np.int64)), {"axis": 1})
    yield E("GatherElements", (x(3, 4), np.array([[0, -1, 2, 1], [1, 0, 0, 2]])), {"axis": 0})
    yield E("GatherND", (x(2, 3, 4), np.array([[0, 1], [1, -1]])))
    yield E("GatherND", (x(2, 3, 4), np.array([[1], [-1]])), {"batch_dims": 1})
    index = np.array([[0, 1, 2], [2, 0, -2]])
    yield E("ScatterElements", (x(3, 3), index, x(2, 3)), {"axis": 0}, version=16)
    for reduction in ("add", "mul", "max", "min"):
        yield E(
            "ScatterElements",
            (x(3, 4), np.array([[1, 1, 0], [2, 3, 3]]), x(2, 3)),
            {"axis": 1, "reduction": reduction},
            version=18,
        )
        yield E("ScatterND", (x(4, 3), np.array([[1], [1], [3]]), x(3, 3)), {"reduction": reduction}, version=18)
    yield E("ScatterND", (x(4, 3), np.array([[0, 1], [3, 2]]), x(2)))
    yield E("OneHot", (i(0, -1, 5, 2), s(3, np.int64), f(-1.0, 2.0)), {"axis": 0}, smooth=False)
    yield E("TopK", (x(2, 5), i(3)), {"axis": -1}, outputs=2)
    yield E("TopK", (x(2, 5), i(2)), {"axis": 0, "largest": 0}, outputs=2)
    yield E("TopK", (np.round(x(2, 9)), i(4)), outputs=2, smooth=False)
    yield E("Compress", (x(3, 4), np.array([True, False, True])), {"axis": 0})
    yield E("ReverseSequence", (x(4, 3, 2), i(1, 4, 2)), {"time_axis": 0, "batch_axis": 1})
    yield E("ReverseSequence", (x(3, 4), i(1, 4, 2)), {"time_axis": 1, "batch_axis": 0})


def resizes() -> Iterator[Example]:
    """Yield examples of resizing, as torch and TensorFlow export it."""
    scales, sizes = f(1, 1, 2, 1.5), i(1, 2, 3, 9)
    modes = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    for coordinates in modes:
        for mode in ("nearest", "linear", "cubic"):
            attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
            yield E("Resize", (x(1, 2, 4, 6), None, scales), attributes, version=13, fixed=(1, 2))
            yield E("Resize", (x(1, 2, 4, 6), None, None, sizes), attributes, version=13, fixed=(1, 2))
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        attributes = {"nearest_mode": rounding, "coordinate_transformation_mode": "half_pixel"}
        yield E("Resize", (x(1, 2, 5, 6), None, None, i(1, 2, 3, 9)), attributes, version=13, fixed=(1, 2))
    for mode in ("linear", "cubic"):
        shrunk = i(1, 2, 3, 4)
        yield E(
            "Resize",
            (x(1, 2, 8, 9), None, None, shrunk),
            {"mode": mode, "antialias": 1, "exclude_outside": 1},
            version=18,
            fixed=(1, 2),
        )
    yield E(
        "Resize",
        (x(1, 2, 4, 6), None, scales),
        {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5},
        version=13,
        fixed=(1, 2),
    )
    cut: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    cut["extrapolation_value"] = 7.0
    roi = f(0, 0, 0.1, 0.2, 1, 1, 0.8, 1.3)
    yield E("Resize", (x(1, 2, 4, 6), roi, None, i(1, 2, 3, 5)), cut, version=13, fixed=(1, 2))
    yield E("Resize", (x(1, 2, 4, 6), scales), version=10, fixed=(1, 2))
    yield E("Resize", (x(1, 2, 4, 6), None, f(0.6, 2.0)), {"axes": (2, 3), "mode": "linear"}, version=18, fixed=(1, 2))
    yield E("Upsample", (x(1, 2, 4, 6), f(1, 1, 2, 3)), {"mode": "nearest"}, version=9, fixed=(1, 2))
    yield E("Upsample", (x(1, 2, 4, 6), f(1, 1, 2, 2)), {"mode": "linear"}, version=9, fixed=(1, 2))
    yield E("Upsample", (x(1, 2, 4, 6),), {"mode": "nearest", "scales": (1.0, 1.0, 2.0, 2.0)}, version=7, fixed=(1, 2))
    for mode in ("bilinear", "nearest", "bicubic"):
        for margin in ("zeros", "border", "reflection"):
            grid = x(1, 3, 4, 2, low=-1.2, high=1.2)
            yield E(
                "GridSample",
                (x(1, 2, 5, 4), grid),
                {"mode": mode, "padding_mode": margin},
                version=16,
                smooth=mode != "nearest",
            )
    yield E("AffineGrid", (x(1, 2, 3), i(1, 2, 3, 4)), version=20)
