"""Writes a dense network as OpenVINO IR, so that demos and checks need no training framework."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pmcore.interfaces import Array
from pmcore_autograd.openvino_importing import import_openvino


def write_dense(path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
    """Write products and sums with ReLU between them, from input "x" (n, d) to output "logits" (n, k), in float32.

    The weights go to a file of the same name that ends in .bin.

    Parameters
    ----------
    weights : (d, h1), (h1, h2), ... (hl, k)
    biases : (h1,), ... (k,)
    """
    openvino = import_openvino()
    ops = openvino.opset13

    records = ops.parameter([-1, weights[0].shape[0]], np.float32, name="x")
    records.output(0).get_tensor().set_names({"x"})
    made = records
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        kernel = ops.constant(np.ascontiguousarray(weight, dtype=np.float32), name=f"fc{index}.weight")
        offset = ops.constant(np.ascontiguousarray(bias, dtype=np.float32)[None], name=f"fc{index}.bias")
        product = ops.matmul(made, kernel, False, False, name=f"fc{index}.product")
        made = ops.add(product, offset, name=f"fc{index}")
        if index < len(weights) - 1:
            made = ops.relu(made, name=f"relu{index}")
    made.output(0).get_tensor().set_names({"logits"})
    openvino.serialize(openvino.Model([made], [records], "dense"), path, path.with_suffix(".bin"))
