"""Models for the tests of the ONNX backend, built in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pmcore.interfaces import Array, Floats, LoadOptions, Task
from pmcore_onnx import OnnxModel

FEATURES = 6
CLASSES = 4
RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(FEATURES, CLASSES)).astype(np.float32)
BIAS = RNG.normal(size=CLASSES).astype(np.float32)
RECORDS = RNG.normal(size=(9, FEATURES)).astype(np.float32)

Shape = Sequence[int | str | None]


def expected_logits(scale: float = 1.0) -> Floats:
    """Return what the linear network of these tests answers about RECORDS, (9, 4) float64."""
    result: Floats = (RECORDS.astype(np.float64) @ WEIGHT + BIAS) * scale
    return result


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> NodeProto:
    """Return a node."""
    return helper.make_node(kind, list(inputs), list(outputs), **attributes)


def linear(to: str = "z", scale: float = 1.0) -> tuple[list[NodeProto], dict[str, Array]]:
    """Return Gemm from "x" to a tensor, and its weights."""
    return [node("Gemm", ["x", "w", "b"], [to], name="head")], {"w": WEIGHT * np.float32(scale), "b": BIAS * scale}


def write(
    path: Path,
    nodes: Sequence[NodeProto],
    weights: Mapping[str, Array],
    outputs: Mapping[str, Shape | None],
    inputs: Mapping[str, Shape] | None = None,
    output_type: int = TensorProto.FLOAT,
    input_type: int = TensorProto.FLOAT,
    opset: int = 17,
) -> Path:
    """Write a model file and return its path."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [
            helper.make_tensor_value_info(name, input_type, shape)
            for name, shape in (inputs or {"x": ["n", FEATURES]}).items()
        ],
        [helper.make_tensor_value_info(name, output_type, shape) for name, shape in outputs.items()],
        [
            numpy_helper.from_array(np.asarray(a, np.float32 if a.dtype == np.float64 else a.dtype), name)
            for name, a in weights.items()
        ],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tests")
    path.write_bytes(model.SerializeToString())
    return path


def write_linear(path: Path, ending: Sequence[NodeProto] = (), output: str = "z", scale: float = 1.0) -> Path:
    """Write Gemm and what follows it, to an output of (n, 4)."""
    nodes, weights = linear(scale=scale)
    return write(path, [*nodes, *ending], weights, {output: ["n", CLASSES]})


def load(path: Path, output: str | None = None, task: Task | None = None) -> OnnxModel:
    """Load a model on the CPU."""
    return OnnxModel.load(path, LoadOptions(device="cpu", output=output, task=task))


def ready(path: Path, records: Array = RECORDS, output: str | None = None, task: Task | None = None) -> OnnxModel:
    """Load a model on the CPU and show it some records."""
    model = load(path, output, task)
    model.prepare({"x": records})
    return model


def make_external(path: Path, location: str = "weights.bin") -> Path:
    """Move a model's weights into a file beside it, and return that file."""
    model = onnx.load(path)
    data = b""
    for tensor in model.graph.initializer:
        raw = numpy_helper.to_array(tensor).tobytes()
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(len(data))), ("length", str(len(raw)))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        data += raw
    path.write_bytes(model.SerializeToString())
    file = path.parent / "weights.bin"
    file.write_bytes(data)
    return file
