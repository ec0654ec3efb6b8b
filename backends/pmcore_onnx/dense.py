"""Writes a dense network as an ONNX file, so that demos and checks need no training framework."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pmcore.interfaces import Array

OPSET = 17
"""Old enough for every runtime in use."""


def write_dense(path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
    """Write Gemm layers with Relu between them, from input "x" (n, d) to output "logits" (n, k).

    Parameters
    ----------
    weights : (d, h1), (h1, h2), ... (hl, k)
    biases : (h1,), ... (k,)
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers = [], []
    tensor = "x"
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        last = index == len(weights) - 1
        names = f"fc{index}.weight", f"fc{index}.bias"
        initializers += [
            numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name)
            for array, name in zip((weight, bias), names, strict=True)
        ]
        result = "logits" if last else f"fc{index}"
        nodes.append(helper.make_node("Gemm", [tensor, *names], [result], name=f"fc{index}"))
        tensor = result
        if not last:
            nodes.append(helper.make_node("Relu", [tensor], [f"relu{index}"], name=f"relu{index}"))
            tensor = f"relu{index}"
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weights[0].shape[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", weights[-1].shape[1]])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="pmcore")
    model.ir_version = 8
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
