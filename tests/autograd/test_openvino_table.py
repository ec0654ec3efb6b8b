"""The table of OpenVINO's operators: what the tests beside this one compare with the runtime is all of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pmcore_autograd
from pmcore_autograd.openvino_reader import read_graph
from pmcore_autograd.operators.openvino import TABLE
from tests.autograd import (
    test_openvino_elementwise,
    test_openvino_recurrent,
    test_openvino_rows,
    test_openvino_shapes,
    test_openvino_windows,
)
from tests.autograd.openvino_running import Case, constant, floats, graph_of, openvino, ops, run, runtime_answers

CASES: list[Case] = [
    *(*test_openvino_elementwise.SMOOTH, *test_openvino_elementwise.STEPS),
    *test_openvino_recurrent.CASES,
    *(*test_openvino_rows.CASES, *test_openvino_rows.WHOLE),
    *(*test_openvino_shapes.CASES, *test_openvino_shapes.OF_NUMBERS),
    *(*test_openvino_windows.CONVOLUTIONS, *test_openvino_windows.POOLS),
    *(*test_openvino_windows.RESIZED, *test_openvino_windows.SAMPLED),
]
NAMED_BY_THE_READER = {"ConvertQuantized", "LeakyRelu", "If"}
"""Compared below and in the tests of the reader."""


def test_every_operator_of_the_table_is_compared_with_the_runtime() -> None:
    compared = {node.kind for case in CASES for node in graph_of(case.model).nodes}
    assert TABLE.keys() - compared == NAMED_BY_THE_READER


def test_a_slope_without_a_name_is_no_parameter_and_one_with_a_name_is() -> None:
    record = floats(2, 3, 4)
    for slope, trained in ((ops.constant(np.float32(0.1)), 0), (constant([0.1]), 0), (constant([0.1, 0.2, 0.3]), 3)):
        x = ops.parameter([2, 3, 4], np.float32, name="x")
        model = openvino.Model([ops.prelu(x, slope)], [x])
        module = pmcore_autograd.load(model)
        assert sum(value.numel() for value in module.parameters()) == trained
        found = module(torch.from_numpy(record)).detach().numpy()
        np.testing.assert_allclose(found, runtime_answers(model, [record])[0], atol=1e-6)
    x = ops.parameter([2, 3, 4], np.float32, name="x")
    named = ops.constant(np.array([0.1], np.float32), name="act.weight")
    assert len(list(pmcore_autograd.load(openvino.Model([ops.prelu(x, named)], [x])).parameters())) == 1


def test_whole_levels_between_rounding_and_scaling_let_gradients_through() -> None:
    x = ops.parameter([-1, 4], np.float32, name="x")
    levels = ops.fake_quantize(x, *map(constant, (-1.0, 1.0, -128.0, 127.0)), 256)
    back = ops.convert(ops.convert(levels, "i8"), "f32")
    model = openvino.Model([ops.multiply(ops.subtract(back, constant(-0.5)), constant(2 / 255))], [x])
    kinds = [node.kind for node in read_graph(model).nodes]
    assert kinds == ["FakeQuantize", "ConvertQuantized", "Convert", "Subtract", "Multiply"]
    record = floats(3, 4)
    fed = torch.from_numpy(record).requires_grad_()
    (found,) = run(graph_of(model), [fed])
    np.testing.assert_allclose(found.detach().numpy(), runtime_answers(model, [record])[0], atol=1e-2)
    (gradient,) = torch.autograd.grad(found.sum(), [fed])
    torch.testing.assert_close(gradient, torch.ones_like(fed))


@pytest.mark.parametrize("kind", ["i8", "u8"])
def test_weights_in_integers_are_effective_real_numbers(kind: str) -> None:
    rng = np.random.default_rng(3)
    whole = rng.integers(0, 100, size=(5, 4)).astype(np.int8 if kind == "i8" else np.uint8)
    scale = rng.uniform(0.01, 0.02, size=(5, 1)).astype(np.float32)
    x = ops.parameter([-1, 4], np.float32, name="x")
    weight = ops.multiply(ops.convert(ops.constant(whole), "f32"), ops.constant(scale))
    module = pmcore_autograd.load(openvino.Model([ops.matmul(x, weight, False, True)], [x]))
    assert module.surrogate
    (found,) = module.parameters()
    np.testing.assert_allclose(found.detach().numpy(), whole * scale, rtol=1e-6)
