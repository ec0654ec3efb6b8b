"""OpenVINO's element-wise operators and activations compute what the runtime computes, and so do their gradients."""

from __future__ import annotations

import numpy as np
import pytest

from tests.autograd.openvino_running import Case, check_backward, check_forward, constant, floats, openvino, ops

_POSITIVE = (floats(2, 3, 4, low=0.2, high=2.0),)
_UNIT = (floats(2, 3, 4, low=-0.9, high=0.9),)
_ABOVE = (floats(2, 3, 4, low=1.2, high=3.0),)
_PAIR = (floats(2, 3, 4), floats(3, 1))
_PAIR_POSITIVE = (floats(2, 3, 4, low=0.3), floats(3, 1, low=0.3))
_WHOLE = (np.array([[-7, 5, 3], [8, -2, 9]], np.int32), np.array([2, -3, 4], np.int32))
_TRUTH = (np.array([[True, False], [True, True]]), np.array([True, False]))
_TIES = (np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32),)
_ODD = (np.array([-np.inf, np.nan, np.inf, 1.0], np.float32),)

SMOOTH = [
    *(
        Case(name, getattr(ops, name))
        for name in ("abs", "atan", "cos", "cosh", "erf", "exp", "negative", "sin", "sinh")
    ),
    *(Case(name, getattr(ops, name)) for name in ("tanh", "sigmoid", "relu", "hsigmoid", "hswish", "mish", "softsign")),
    *(Case(name, getattr(ops, name)) for name in ("asinh", "softplus", "swish")),
    *(Case(name, getattr(ops, name), _POSITIVE) for name in ("log", "sqrt")),
    *(Case(name, getattr(ops, name), _UNIT) for name in ("acos", "asin", "atanh", "tan")),
    Case("erfinv", openvino.opset17.erfinv, _UNIT, tolerance=1e-4),
    Case("acosh", ops.acosh, _ABOVE),
    *(Case(name, getattr(ops, name), _PAIR) for name in ("add", "subtract", "multiply", "squared_difference")),
    *(Case(name, getattr(ops, name), _PAIR) for name in ("maximum", "minimum")),
    Case("divide", ops.divide, _PAIR_POSITIVE),
    Case("power", ops.power, (floats(2, 3, 4, low=0.3), floats(3, 1, low=0.3))),
    Case("power by a constant", lambda x: ops.power(x, constant(3.0))),
    Case("mod", lambda x: ops.mod(x, constant(0.7))),
    Case("floor_mod", lambda x: ops.floor_mod(x, constant(0.7))),
    Case("identity", openvino.opset16.identity),
    Case("select", lambda x, y: ops.select(constant([True, False, True, False], bool), x, y), _PAIR),
    Case("elu", lambda x: ops.elu(x, 0.7)),
    Case("selu", lambda x: ops.selu(x, constant(1.6), constant(1.05))),
    Case("clamp", lambda x: ops.clamp(x, -0.5, 1.25)),
    Case("prelu of channels", ops.prelu, (floats(2, 3, 4), floats(3))),
    Case("prelu of all", ops.prelu, (floats(2, 3, 4), floats(1))),
    Case("prelu of elements", ops.prelu, (floats(2, 3, 4), floats(1, 3, 4))),
    Case("gelu", lambda x: ops.gelu(x, "erf"), tolerance=1e-4),
    Case("gelu by tanh", lambda x: ops.gelu(x, "tanh"), tolerance=1e-4),
    Case("old gelu", openvino.opset2.gelu, tolerance=1e-4),
    Case("swish with beta", lambda x: ops.swish(x, constant(1.7))),
    Case("hard_sigmoid", lambda x: ops.hard_sigmoid(x, constant(0.25), constant(0.6))),
    Case("softmax", lambda x: ops.softmax(x, -1)),
    Case("softmax of channels", lambda x: ops.softmax(x, 1)),
    Case("log_softmax", lambda x: ops.log_softmax(x, -2)),
    Case("convert to double", lambda x: ops.convert(x, "f64")),
    Case("convert to half and back", lambda x: ops.convert(ops.convert_like(x, constant(1.0, np.float16)), "f32")),
]
STEPS = [
    *(Case(name, getattr(ops, name)) for name in ("ceiling", "floor", "sign")),
    Case("round", lambda x: ops.round(x, "half_to_even"), _TIES),
    Case("round away", lambda x: ops.round(x, "half_away_from_zero"), _TIES),
    *(Case(name, getattr(ops, name), _ODD) for name in ("is_finite", "is_nan", "is_inf")),
    Case("is_inf above", lambda x: ops.is_inf(x, {"detect_negative": False}), _ODD),
    *(Case(name, getattr(ops, name), _TRUTH) for name in ("logical_and", "logical_or", "logical_xor")),
    *(Case(name, getattr(ops, name), _TRUTH) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")),
    Case("logical_not", ops.logical_not, _TRUTH[:1]),
    Case("bitwise_not", ops.bitwise_not, _WHOLE[:1]),
    *(Case(name, getattr(ops, name), _WHOLE) for name in ("equal", "not_equal", "less", "less_equal", "greater")),
    *(Case(f"{name} of whole numbers", getattr(ops, name), _WHOLE) for name in ("greater_equal", "floor_mod")),
    *(Case(f"{name} of whole numbers", getattr(ops, name), _WHOLE) for name in ("mod", "maximum", "add", "multiply")),
    Case("clamp of whole numbers", lambda x: ops.clamp(x, -2.0, 1e12), _WHOLE[:1]),
    Case("convert to whole numbers", lambda x: ops.convert(x, "i32")),
    Case("convert to truth", lambda x: ops.convert(x, "boolean"), (np.array([0.0, 0.4, -3.0, 1.0], np.float32),)),
    Case("convert from whole numbers", lambda x: ops.convert(x, "f32"), _WHOLE[:1]),
    Case("divide of whole numbers", ops.divide, (np.array([7, 9], np.int32), np.array([2, 3], np.int32))),
    Case(
        "convert_promote_types",
        lambda x, y: ops.convert_promote_types(x, y, True),
        (floats(3), np.arange(3, dtype=np.int32)),
    ),
]


@pytest.mark.parametrize("case", [*SMOOTH, *STEPS], ids=repr)
def test_an_operator_answers_as_the_runtime_does(case: Case) -> None:
    check_forward(case)


@pytest.mark.parametrize("case", SMOOTH, ids=repr)
def test_gradients_are_those_of_differences(case: Case) -> None:
    check_backward(case)
