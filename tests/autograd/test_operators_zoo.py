"""The nine networks that the onnx package brings along, with weights of our own: operator sets of 2018."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.autograd.node_cases import run

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NETWORKS = sorted(file.stem for file in FOLDER.glob("light_*.onnx"))


def test_there_are_nine_networks() -> None:
    assert len(NETWORKS) == 9


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_with_random_weights_answers_as_onnx_runtime_does(network: str) -> None:
    import onnxruntime

    random = np.random.default_rng(3)
    model = _weighted(onnx.load(FOLDER / f"{network}.onnx"), random)
    (fed,) = model.graph.input
    record = random.normal(size=[size.dim_value for size in fed.type.tensor_type.shape.dim]).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {fed.name: record})
    (made,) = run(model, [record])
    assert len(np.unique(expected)) > 500
    np.testing.assert_allclose(made, expected, atol=2e-5 * np.abs(expected).max())


def _weighted(model: onnx.ModelProto, random: np.random.Generator) -> onnx.ModelProto:
    """Return the network with random weights in place of those that it makes of one value each."""
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape, name = shapes[node.input[0]], node.output[0]
        spread = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        weight = random.standard_normal(tuple(shape), dtype=np.float32) * np.float32(spread)
        weight = 1 + weight if name in variances else weight
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    fed = [value for value in model.graph.input if value.name not in shapes]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(kept)
    model.graph.input.extend(fed)
    model.ir_version = max(model.ir_version, 4)  # before, initialisers had to be inputs too
    return model
