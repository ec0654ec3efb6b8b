"""Models for the tests of the OpenVINO backend, built in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.interfaces import Array, Floats, LoadOptions, Precision, Task
from pmcore_autograd.openvino_importing import import_openvino
from pmcore_openvino import OpenvinoModel

openvino: Any = import_openvino()
ops: Any = openvino.opset13

FEATURES = 6
CLASSES = 4
RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(FEATURES, CLASSES)).astype(np.float32)
BIAS = RNG.normal(size=CLASSES).astype(np.float32)
RECORDS = RNG.normal(size=(9, FEATURES)).astype(np.float32)
IMAGES = RNG.normal(size=(40, 3, 12, 12)).astype(np.float32)


def expected_logits(scale: float = 1.0) -> Floats:
    """Return what the linear network of these tests answers about RECORDS, (9, 4) float64."""
    result: Floats = (RECORDS.astype(np.float64) @ WEIGHT + BIAS) * scale
    return result


def parameter(shape: Sequence[int] = (-1, FEATURES), dtype: Any = np.float32, name: str = "x") -> Any:
    """Return an input."""
    made = ops.parameter(list(shape), dtype, name=name)
    made.output(0).get_tensor().set_names({name})
    return made


def constant(value: Any, dtype: Any = None, name: str = "") -> Any:
    """Return a constant."""
    array = np.asarray(value, dtype=dtype)
    return ops.constant(array, name=name) if name else ops.constant(array)


def linear(x: Any, scale: float = 1.0, name: str = "z", columns: int = CLASSES) -> Any:
    """Return the linear network of these tests on an input."""
    product = ops.matmul(x, constant(WEIGHT[:, :columns] * np.float32(scale), name=f"{name}.w"), False, False)
    return named(
        ops.add(product, constant(BIAS[None, :columns] * np.float32(scale), name=f"{name}.b"), name=name), name
    )


def named(node: Any, name: str) -> Any:
    """Name the tensor of a node."""
    node.set_friendly_name(name)
    node.output(0).get_tensor().set_names({name})
    return node


def save(path: Path, outputs: Sequence[Any], inputs: Sequence[Any], half: bool = False, **info: str) -> Path:
    """Write a model as IR and return the path of its .xml."""
    model = openvino.Model(list(outputs), list(inputs), "test")
    for key, value in info.items():
        model.set_rt_info(value, key.split("__"))
    openvino.save_model(model, path, compress_to_fp16=half)
    return path


def save_linear(path: Path, scale: float = 1.0) -> Path:
    """Write the linear network of these tests."""
    x = parameter()
    return save(path, [linear(x, scale)], [x])


def convolutions(x: Any, weights: Mapping[str, Array], quantise: bool = False) -> Any:
    """Return a network of two convolutions, a mean over the image and a linear layer, on an input (b, 3, h, w)."""
    tensor = x
    for index in (1, 2):
        kernel = constant(weights[f"conv{index}.weight"], name=f"conv{index}.weight")
        if quantise:
            tensor, kernel = rounded(tensor, -6.0, 6.0, 256), rounded(kernel, -1.0, 1.0, 255)
        tensor = ops.convolution(tensor, kernel, [1, 1], [1, 1], [1, 1], [1, 1], name=f"conv{index}")
        tensor = ops.add(tensor, constant(weights[f"conv{index}.bias"].reshape(1, -1, 1, 1)))
        tensor = ops.relu(tensor, name=f"relu{index}")
    pooled = ops.reduce_mean(tensor, constant(np.array([2, 3])), False, name="pooled")
    product = ops.matmul(pooled, constant(weights["fc.weight"], name="fc.weight"), False, True)
    return named(ops.add(product, constant(weights["fc.bias"][None]), name="logits"), "logits")


def rounded(node: Any, low: float, high: float, levels: int) -> Any:
    """Return a tensor rounded to some levels."""
    ends = [constant(np.full([1] * len(node.get_output_partial_shape(0)), end, np.float32)) for end in (low, high)]
    return ops.fake_quantize(node, *ends, *ends, levels)


def random_weights(seed: int = 3) -> dict[str, Array]:
    """Return weights for `convolutions`, named as those of `torch_network` are."""
    rng = np.random.default_rng(seed)
    shapes = {
        "conv1.weight": (16, 3, 3, 3),
        "conv1.bias": (16,),
        "conv2.weight": (24, 16, 3, 3),
        "conv2.bias": (24,),
        "fc.weight": (5, 24),
        "fc.bias": (5,),
    }
    return {name: rng.normal(0, 0.25, size=shape).astype(np.float32) for name, shape in shapes.items()}


def torch_logits(weights: Mapping[str, Array], images: Array) -> Array:
    """Return what torch answers for `convolutions`, (b, 5)."""
    import torch

    kept = {name: torch.from_numpy(array) for name, array in weights.items()}
    with torch.inference_mode():
        tensor = torch.from_numpy(images)
        for index in (1, 2):
            kernel, bias = kept[f"conv{index}.weight"], kept[f"conv{index}.bias"]
            tensor = torch.relu(torch.nn.functional.conv2d(tensor, kernel, bias, padding=1))
        answer: Array = torch.nn.functional.linear(tensor.mean(dim=(2, 3)), kept["fc.weight"], kept["fc.bias"]).numpy()
    return answer


def save_convolutions(path: Path, batch: int = -1, half: bool = False, quantise: bool = False) -> Path:
    """Write the convolutional network of these tests."""
    x = parameter((batch, 3, 12, 12))
    return save(path, [convolutions(x, random_weights(), quantise)], [x], half)


def load(
    path: Path, output: str | None = None, task: Task | None = None, precision: Precision = Precision.FLOAT32
) -> OpenvinoModel:
    """Load a model on the CPU."""
    return OpenvinoModel.load(path, LoadOptions(device="cpu", output=output, task=task, precision=precision))


def ready(
    path: Path,
    records: Array = RECORDS,
    output: str | None = None,
    task: Task | None = None,
    precision: Precision = Precision.FLOAT32,
) -> OpenvinoModel:
    """Load a model on the CPU and show it some records."""
    model = load(path, output, task, precision)
    model.prepare({model.describe().inputs[0].name: records})
    return model
