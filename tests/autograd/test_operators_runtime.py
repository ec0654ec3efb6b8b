"""Operators against ONNX Runtime: the same small graphs, the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.autograd.example_table import examples
from tests.autograd.examples import Example
from tests.autograd.node_cases import run


@pytest.mark.parametrize("example", [e for e in examples() if e.runtime], ids=lambda example: example.title)
def test_an_operator_computes_what_onnx_runtime_computes(example: Example) -> None:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(example.model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"i0": example.inputs[0]})
    made = run(example.model, [example.inputs[0]])
    for ours, theirs in zip(made, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=example.atol)
