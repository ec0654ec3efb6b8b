"""OpenVINO's reductions, normalisations, attention and rounding to levels compute what the runtime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pmcore_autograd.openvino_reader import read_graph
from tests.autograd.openvino_running import (
    Build,
    Case,
    check_backward,
    check_forward,
    constant,
    floats,
    openvino,
    ops,
    run,
)

_ROWS = (floats(2, 3, 4),)
_IMAGE = floats(2, 6, 3, 4)
_QKV = (floats(2, 2, 3, 4), floats(2, 2, 5, 4), floats(2, 2, 5, 6))
_MASK = np.array([[True, False, True, True, False]] * 3)
_WHOLE = (np.array([[-7, 5, 3], [8, -2, 9]], np.int32),)
_REDUCTIONS = ("reduce_sum", "reduce_mean", "reduce_prod", "reduce_max", "reduce_min", "reduce_l1", "reduce_l2")


def axes(*numbers: int) -> Any:
    """Return axes as an input of an operation."""
    return constant(numbers, np.int64)


def reduction(name: str, over: Any, keep: bool) -> Build:
    """Return what builds a reduction over axes."""
    return lambda x: getattr(ops, name)(x, over, keep)


def levels(x: Any, low: Any, high: Any, count: int, out_low: Any = None, out_high: Any = None) -> Any:
    """Return a tensor rounded to some levels."""
    ends = [
        constant(end)
        for end in (low, high, low if out_low is None else out_low, high if out_high is None else out_high)
    ]
    return ops.fake_quantize(x, *ends, count)


CASES = [
    *(Case(name, reduction(name, axes(1, -1), False), _ROWS) for name in _REDUCTIONS),
    *(Case(f"{name} that keeps axes", reduction(name, axes(0), True), _ROWS) for name in _REDUCTIONS),
    *(Case(f"{name} over no axis", reduction(name, axes(), True), _ROWS) for name in _REDUCTIONS),
    *(
        Case(
            f"cum_sum {exclusive} {reverse}",
            lambda x, e=exclusive, r=reverse: ops.cum_sum(x, constant(1, np.int64), e, r),
        )
        for exclusive in (False, True)
        for reverse in (False, True)
    ),
    Case(
        "batch_norm_inference",
        lambda x, g, b: ops.batch_norm_inference(x, g, b, constant(floats(6)), constant(floats(6, low=0.3)), 1e-3),
        (_IMAGE, floats(6), floats(6)),
    ),
    Case(
        "old batch_norm_inference",
        lambda x, g, b: openvino.opset1.batch_norm_inference(
            x, g, b, constant(floats(6)), constant(floats(6, low=0.3)), 1e-3
        ),
        (_IMAGE, floats(6), floats(6)),
    ),
    Case(
        "group_normalization", lambda x, g, b: ops.group_normalization(x, g, b, 3, 1e-4), (_IMAGE, floats(6), floats(6))
    ),
    Case("mvn", lambda x: ops.mvn(x, axes(-1), True, 1e-5, "inside_sqrt"), _ROWS),
    Case("mvn outside of the root", lambda x: ops.mvn(x, axes(1, 2), True, 1e-2, "outside_sqrt"), _ROWS),
    Case("mvn of means alone", lambda x: ops.mvn(x, axes(2), False, 1e-5, "inside_sqrt"), _ROWS),
    Case("old mvn", lambda x: openvino.opset2.mvn(x, False, True, 1e-5), (_IMAGE,)),
    Case("old mvn across channels", lambda x: openvino.opset2.mvn(x, True, True, 1e-5), (_IMAGE,)),
    *(
        Case(f"normalize_l2 {how}", lambda x, h=how: ops.normalize_l2(x, axes(1), 0.5, h), (_IMAGE,))
        for how in ("add", "max")
    ),
    Case("lrn", lambda x: ops.lrn(x, axes(1), 1e-1, 0.75, 2.0, 5), (_IMAGE,)),
    Case("lrn of a plane", lambda x: ops.lrn(x, axes(2, 3), 1e-1, 0.75, 1.0, 3), (_IMAGE,)),
    Case("attention", lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, causal=False), _QKV),
    Case("attention to what came before", lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, causal=True), _QKV),
    Case(
        "attention through a mask",
        lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, constant(_MASK, bool), causal=False),
        _QKV,
    ),
    Case(
        "attention with a sum",
        lambda q, k, v, m: ops.scaled_dot_product_attention(q, k, v, m, constant(0.7), causal=False),
        (*_QKV, floats(3, 5)),
    ),
    Case("einsum", lambda x, y: ops.einsum([x, y], "bij,bkj->bik"), (floats(2, 3, 4), floats(2, 5, 4))),
    Case("einsum of a stack", lambda x, y: ops.einsum([x, y], "...ij,jk->...ik"), (floats(2, 3, 4), floats(4, 5))),
    Case(
        "inverse", lambda x: ops.inverse(x, False), (np.eye(3, dtype=np.float32) * 3 + floats(2, 3, 3),), tolerance=1e-4
    ),
]
WHOLE = [
    *(
        Case(f"{name} of whole numbers", reduction(name, axes(1), False), _WHOLE)
        for name in ("reduce_sum", "reduce_max", "reduce_prod")
    ),
    *(
        Case(name, reduction(name, axes(1), False), (np.array([[True, False], [True, True]]),))
        for name in ("reduce_logical_and", "reduce_logical_or")
    ),
    Case("fake_quantize", lambda x: levels(x, -1.0, 1.5, 16), _ROWS),
    Case(
        "fake_quantize per channel",
        lambda x: levels(x, [[[-1.0], [-2.0], [-0.5]]], [[[1.0], [1.5], [0.6]]], 256),
        _ROWS,
    ),
    Case("fake_quantize to another range", lambda x: levels(x, -1.0, 1.0, 4, 2.0, 5.0), _ROWS),
    Case("fake_quantize in two levels", lambda x: levels(x, -0.1, 0.3, 2, -1.0, 1.0), _ROWS),
]


@pytest.mark.parametrize("case", [*CASES, *WHOLE], ids=repr)
def test_an_operator_answers_as_the_runtime_does(case: Case) -> None:
    check_forward(case)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_gradients_are_those_of_differences(case: Case) -> None:
    check_backward(case)


def test_gradients_pass_rounding_as_if_it_were_the_line_between_its_ends() -> None:
    case = Case("fake_quantize to another range", lambda x: levels(x, -1.0, 1.0, 4, 2.0, 5.0), _ROWS)
    x = torch.from_numpy(_ROWS[0]).requires_grad_()
    (found,) = torch.autograd.grad(run(read_graph(case.model), [x])[0].sum(), [x])
    torch.testing.assert_close(found, torch.full_like(x, 1.5))


def test_gradients_stop_at_the_ends_of_a_range_that_took_the_place_of_a_rectifier() -> None:
    case = Case("fake_quantize from 0", lambda x: levels(x, 0.0, 1.0, 4, 2.0, 5.0), _ROWS)
    x = torch.from_numpy(_ROWS[0]).requires_grad_()
    (found,) = torch.autograd.grad(run(read_graph(case.model), [x])[0].sum(), [x])
    torch.testing.assert_close(found, torch.where((x > 0) & (x < 1), 3.0, 0.0))
    assert 0 < int((found == 0).sum()) < found.numel()
