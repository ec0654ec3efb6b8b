"""The dense network that demos and checks are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pmcore_onnx import OnnxModel
from tests.backends.builders import load


def test_a_written_dense_network_computes_relu_layers_and_ends_in_logits(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((5, 8), (8, 6), (6, 3))]
    biases = [rng.normal(size=size).astype(np.float32) for size in (8, 6, 3)]
    OnnxModel.write_dense(tmp_path / "m.onnx", weights, biases)
    model = load(tmp_path / "m.onnx")
    x = rng.normal(size=(7, 5)).astype(np.float32)
    hidden = np.maximum(np.maximum(x @ weights[0] + biases[0], 0) @ weights[1] + biases[1], 0)
    np.testing.assert_allclose(model.predict({"x": x}), hidden @ weights[2] + biases[2], rtol=1e-4, atol=1e-5)
    assert model.describe().classes == 3
    assert sum(layer.parameters for layer in model.layers()) == 5 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3
