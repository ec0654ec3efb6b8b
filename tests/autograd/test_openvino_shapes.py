"""OpenVINO's operators that move elements put them where the runtime puts them, and their gradients come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.autograd.openvino_running import Case, check_backward, check_forward, constant, floats, openvino, ops


def whole(*numbers: Any) -> Any:
    """Return a constant of whole numbers, (count,); of one number, a scalar where it is given as such."""
    return constant(numbers, np.int64)


def scalar(number: int) -> Any:
    """Return a constant that is one whole number."""
    return constant(number, np.int64)


def strided(x: Any, begin: Sequence[int], end: Sequence[int], step: Sequence[int], **masks: Sequence[int]) -> Any:
    """Return a strided slice with some masks."""
    names = ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask")
    given = [list(masks.get(name, [0] * len(begin))) for name in names]
    return ops.strided_slice(x, whole(*begin), whole(*end), whole(*step), *given)


_IMAGE = (floats(2, 4, 4, 6),)
_VOLUME = (floats(2, 4, 2, 4, 2),)
_TABLE = (floats(5, 3, 4),)
_PLACES = np.array([[0, 2], [1, -1]], np.int64)

CASES = [
    Case("reshape", lambda x: ops.reshape(x, whole(4, -1), False)),
    Case("reshape that keeps axes", lambda x: ops.reshape(x, whole(0, 0, 2, 2), True)),
    Case("transpose", lambda x: ops.transpose(x, whole(2, 0, 1))),
    Case("transpose without order", lambda x: ops.transpose(x, constant(np.zeros(0), np.int64))),
    Case("squeeze", lambda x: ops.squeeze(x, whole(1, -1)), (floats(2, 1, 3, 1),)),
    Case("squeeze of all", lambda x: ops.squeeze(x), (floats(2, 1, 3, 1),)),
    Case("unsqueeze", lambda x: ops.unsqueeze(x, whole(0, -1))),
    Case("broadcast", lambda x: ops.broadcast(x, whole(2, 3, 4)), (floats(3, 1),)),
    Case(
        "broadcast of both", lambda x: ops.broadcast(x, whole(1, 4), broadcast_spec="bidirectional"), (floats(2, 3, 1),)
    ),
    Case(
        "broadcast by axes",
        lambda x: ops.broadcast(x, whole(2, 3, 4), constant([1], np.int64), "explicit"),
        (floats(3),),
    ),
    Case("concat", lambda x, y: ops.concat([x, y], -2), (floats(2, 3, 4), floats(2, 1, 4))),
    Case("split", lambda x: ops.split(x, scalar(2), 2)),
    Case("variadic_split", lambda x: ops.variadic_split(x, scalar(1), whole(1, -1))),
    Case("tile", lambda x: ops.tile(x, whole(2, 1, 2, 1))),
    Case("tile of few axes", lambda x: ops.tile(x, whole(2))),
    Case("roll", lambda x: ops.roll(x, whole(1, -2), whole(1, -1))),
    *(
        Case(f"pad by {m}", lambda x, m=m: ops.pad(x, whole(0, 2, 1), whole(0, 1, 3), m))
        for m in ("edge", "reflect", "symmetric")
    ),
    Case("pad by a value", lambda x: ops.pad(x, whole(1, 0, 2), whole(0, 1, 0), "constant", constant(1.5))),
    Case("pad that cuts", lambda x: ops.pad(x, whole(0, -1, 0), whole(0, 0, -2), "constant", constant(0.0))),
    Case("old pad", lambda x: openvino.opset1.pad(x, whole(1, 0, 2), whole(0, 1, 0), "constant", constant(0.5))),
    *(
        Case(f"depth_to_space {m}", lambda x, m=m: ops.depth_to_space(x, m, 2), _IMAGE)
        for m in ("blocks_first", "depth_first")
    ),
    *(
        Case(f"space_to_depth {m}", lambda x, m=m: ops.space_to_depth(x, m, 2), _IMAGE)
        for m in ("blocks_first", "depth_first")
    ),
    Case("depth_to_space in one dimension", lambda x: ops.depth_to_space(x, "depth_first", 2), (floats(2, 4, 3),)),
    Case(
        "batch_to_space",
        lambda x: ops.batch_to_space(x, whole(1, 1, 2, 2), whole(0, 0, 1, 0), whole(0, 0, 0, 1)),
        (floats(8, 3, 2, 3),),
    ),
    Case(
        "space_to_batch",
        lambda x: ops.space_to_batch(x, whole(1, 1, 2, 2), whole(0, 0, 1, 0), whole(0, 0, 1, 2)),
        _IMAGE,
    ),
    Case("shuffle_channels", lambda x: ops.shuffle_channels(x, 1, 2), _IMAGE),
    Case("shuffle_channels of the last axis", lambda x: ops.shuffle_channels(x, -1, 3), _IMAGE),
    Case("slice", lambda x: ops.slice(x, whole(1, 0), whole(-1, 9), whole(1, 2), whole(1, -1)), _IMAGE),
    Case("slice without axes", lambda x: ops.slice(x, whole(0, 1), whole(1, 3), whole(1, 1)), _IMAGE),
    Case("slice backwards", lambda x: ops.slice(x, whole(-1), whole(-(2**62)), whole(-2), whole(3)), _IMAGE),
    Case("slice of nothing", lambda x: ops.slice(x, whole(3), whole(1), whole(1), whole(1)), _IMAGE),
    Case(
        "slice_scatter",
        lambda x, y: ops.slice_scatter(x, y, whole(1, 5), whole(4, 0), whole(2, -2), whole(1, -1)),
        (floats(2, 4, 4, 6), floats(2, 2, 4, 3)),
    ),
    Case("strided_slice", lambda x: strided(x, (0, 1, 0), (2, 4, 6), (1, 2, 1)), _IMAGE),
    Case(
        "strided_slice with open ends",
        lambda x: strided(x, (1, 1), (1, 1), (1, 1), begin_mask=(1, 0), end_mask=(0, 1)),
        _IMAGE,
    ),
    Case(
        "strided_slice that drops an axis",
        lambda x: strided(x, (0, -1), (0, 0), (1, 1), shrink_axis_mask=(0, 1), end_mask=(1, 0)),
        _IMAGE,
    ),
    Case(
        "strided_slice that adds an axis",
        lambda x: strided(x, (0, 0, 1), (0, 0, 3), (1, 1, 1), new_axis_mask=(0, 1, 0), end_mask=(1, 0, 0)),
        _IMAGE,
    ),
    Case("strided_slice from the back", lambda x: strided(x, (0, 1), (0, 5), (1, 2), ellipsis_mask=(1, 0)), _IMAGE),
    Case(
        "strided_slice backwards",
        lambda x: strided(x, (-1,), (0,), (-1,), end_mask=(1,)),
        (floats(4, 3),),
    ),
    *(
        Case(f"gather along {a}", lambda x, a=a: ops.gather(x, constant(_PLACES, np.int64), scalar(a)), _TABLE)
        for a in (0, 1, -1)
    ),
    Case("gather of one", lambda x: ops.gather(x, constant(1, np.int32), scalar(1)), _TABLE),
    Case("gather in a batch", lambda x: ops.gather(x, constant(_PLACES, np.int64), scalar(1), 1), (floats(2, 3, 4),)),
    Case(
        "gather in a batch further on",
        lambda x: ops.gather(x, constant(_PLACES, np.int64), scalar(2), 1),
        (floats(2, 3, 4),),
    ),
    Case(
        "gather in a batch of indices",
        lambda x: ops.gather(x, constant([1, 0], np.int64), scalar(1), 1),
        (floats(2, 3, 4),),
    ),
    Case("old gather", lambda x: openvino.opset1.gather(x, whole(2, 0), scalar(1)), _TABLE),
    Case(
        "gather of opset 7",
        lambda x: openvino.opset7.gather(x, constant([[0, 2], [1, 1]], np.int64), scalar(1), -1),
        (floats(2, 3, 4),),
    ),
    Case(
        "gather_elements",
        lambda x: ops.gather_elements(x, constant([[[0, 1]], [[1, 0]]], np.int64), 1),
        (floats(2, 2, 2),),
    ),
    Case("gather_nd", lambda x: ops.gather_nd(x, constant([[0, 1], [4, 2]], np.int64)), _TABLE),
    Case("gather_nd in a batch", lambda x: ops.gather_nd(x, constant([[1], [0]], np.int64), 1), (floats(2, 3, 4),)),
    Case(
        "gather_nd in two batches",
        lambda x: ops.gather_nd(x, constant(np.arange(12).reshape(2, 3, 2, 1) % 4, np.int64), 2),
        (floats(2, 3, 4),),
    ),
    Case(
        "old gather_nd in two batches",
        lambda x: openvino.opset5.gather_nd(x, constant(np.arange(12).reshape(2, 3, 2, 1) % 4, np.int64), 2),
        (floats(2, 3, 4),),
    ),
    *(
        Case(
            f"scatter_elements_update {how}",
            lambda x, y, how=how: ops.scatter_elements_update(x, constant([[0, 2, 2]], np.int64), y, scalar(0), how),
            (floats(3, 3), floats(1, 3)),
        )
        for how in ("none", "sum", "prod", "mean", "max", "min")
    ),
    Case(
        "scatter_elements_update of opset 3",
        lambda x, y: openvino.opset3.scatter_elements_update(x, constant([[0, 2, 1]], np.int64), y, scalar(1)),
        (floats(2, 3), floats(1, 3)),
    ),
    Case(
        "scatter_nd_update",
        lambda x, y: openvino.opset4.scatter_nd_update(x, constant([[1], [3]], np.int64), y),
        (floats(4, 3), floats(2, 3)),
    ),
    Case(
        "scatter_nd_update that adds",
        lambda x, y: ops.scatter_nd_update(x, constant([[1], [1]], np.int64), y, "sum"),
        (floats(4, 3), floats(2, 3)),
    ),
    Case(
        "scatter_update",
        lambda x, y: ops.scatter_update(x, constant([2, 0], np.int64), y, scalar(1)),
        (floats(2, 3, 2), floats(2, 2, 2)),
    ),
    Case("topk", lambda x: ops.topk(x, scalar(2), -1, "max", "value")),
    Case("topk of the least, by place", lambda x: ops.topk(x, scalar(2), 1, "min", "index", "i64")),
    Case("reverse_sequence", lambda x: ops.reverse_sequence(x, whole(2, 3), 0, 1)),
    Case(
        "embedding_bag_packed_sum",
        lambda x, y: ops.embedding_bag_packed_sum(x, constant([[0, 2], [4, 0]], np.int64), y),
        (floats(5, 3), floats(2, 2)),
    ),
    Case(
        "embedding_bag_packed",
        lambda x: ops.embedding_bag_packed(x, constant([[0, 2], [4, 0]], np.int64), reduction="mean"),
        (floats(5, 3),),
    ),
]
OF_NUMBERS = [
    Case("shape_of", ops.shape_of),
    Case("shape_of in 32 bits", lambda x: ops.shape_of(x, "i32")),
    Case("range", lambda x: ops.add(ops.range(scalar(1), scalar(9), scalar(3), "i64"), x), (np.array([0], np.int64),)),
    Case(
        "range of floats",
        lambda x: ops.add(ops.range(constant(0.5), constant(2.0), constant(0.5), "f32"), x),
        (floats(1),),
    ),
    Case("eye", lambda x: ops.add(ops.eye(scalar(2), scalar(3), scalar(1), "f32"), x), (floats(1, 1),)),
    *(
        Case(
            f"one_hot along {axis}",
            lambda x, a=axis: ops.one_hot(x, scalar(4), constant(3.0), constant(-1.0), a),
            (np.array([[0, 3], [2, 9]], np.int64),),
        )
        for axis in (0, 1, -1)
    ),
    Case(
        "gather of live places",
        lambda x: ops.gather(constant(floats(5, 3)), x, scalar(0)),
        (np.array([[0, 4]], np.int64),),
    ),
]


@pytest.mark.parametrize("case", [*CASES, *OF_NUMBERS], ids=repr)
def test_an_operator_puts_elements_where_the_runtime_does(case: Case) -> None:
    check_forward(case)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_gradients_come_back_to_where_the_elements_were(case: Case) -> None:
    check_backward(case)
