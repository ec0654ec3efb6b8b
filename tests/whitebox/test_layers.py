"""Layers of one network have the same parameters and gradients as a module and in every way exporters write them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from torch import nn

from pmcore.interfaces import Array, Floats, GradientRequest, LoadOptions, Model
from pmcore.layers import EVERY, LAST, chosen
from pmcore_onnx import OnnxModel
from pmcore_openvino import OpenvinoModel
from pmcore_torch import TorchModel
from tests.autograd.exported import write as export
from tests.backends.builders import node, write

SAME = 1e-5
SIZES = (6, 16, 8, 4)
X = np.random.default_rng(1).normal(size=(20, SIZES[0])).astype(np.float32)
Y = np.random.default_rng(2).integers(0, SIZES[-1], 20)


@cache
def network(outputs: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, outputs)).eval()


def as_module(outputs: int, folder: Path) -> Model:
    return TorchModel.wrap(network(outputs), LoadOptions(device="cpu"))


def gemm(outputs: int, folder: Path) -> Model:
    export(network(outputs), torch.from_numpy(X[:3]), "legacy", folder / "gemm.onnx")
    return OnnxModel.load(folder / "gemm.onnx", LoadOptions(device="cpu"))


def product_and_sum(outputs: int, folder: Path) -> Model:
    return OnnxModel.load(_product_and_sum(outputs, folder), LoadOptions(device="cpu"))


def ir_of_gemm(outputs: int, folder: Path) -> Model:
    gemm(outputs, folder).close()
    return _converted(folder / "gemm.onnx", folder)


def ir_of_product_and_sum(outputs: int, folder: Path) -> Model:
    return _converted(_product_and_sum(outputs, folder), folder)


FORMS = (gemm, product_and_sum, ir_of_gemm, ir_of_product_and_sum)


@pytest.mark.parametrize("outputs", [4, 1], ids=["four classes", "one logit"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_layers_have_the_parameters_and_gradients_that_the_module_has(
    form: Callable[[int, Path], Model], outputs: int, tmp_path: Path
) -> None:
    expected, counted = _norms(as_module(outputs, tmp_path), outputs)
    found, counts = _norms(form(outputs, tmp_path), outputs)
    assert counts == counted == [6 * 16 + 16, 16 * 8 + 8, 8 * outputs + outputs]
    assert found.shape == (20, 4)  # the last layer, and each of three
    np.testing.assert_array_equal(found[:, 0], found[:, 3])
    np.testing.assert_allclose(found, expected, rtol=SAME)


def _norms(model: Model, outputs: int) -> tuple[Floats, list[int]]:
    """Return norms of the last layer and of every layer, (n, 1 + l), and the parameters of these l."""
    inputs = {model.describe().inputs[0].name: X}
    model.prepare(inputs)
    several, last = chosen(model.layers(), [EVERY]), chosen(model.layers(), [LAST])
    requests = [GradientRequest(tuple(layer.name for layer in some)) for some in (last, several)]
    labels: Array = Y if outputs > 1 else (Y > 1).astype(np.int64)
    if outputs == 1:
        labels = labels.astype(np.float64)
    found = model.gradients(inputs, labels, requests)
    model.close()
    return np.hstack([found[request] for request in requests]), [layer.parameters for layer in several]


def _product_and_sum(outputs: int, folder: Path) -> Path:
    nodes, read = [], "x"
    weights: dict[str, Array] = {}
    linear = [layer for layer in network(outputs) if isinstance(layer, nn.Linear)]
    for place, layer in enumerate(linear):
        made = "z" if place == len(linear) - 1 else f"a{place}"
        weights |= {f"w{place}": layer.weight.detach().numpy().T.copy(), f"b{place}": layer.bias.detach().numpy()}
        nodes.append(node("MatMul", [read, f"w{place}"], [f"p{place}"]))
        nodes.append(node("Add", [f"b{place}", f"p{place}"], [made]))
        if made != "z":
            nodes.append(node("Tanh", [made], [f"h{place}"]))
        read = f"h{place}"
    return write(folder / "sums.onnx", nodes, weights, {"z": ["n", outputs]})


def _converted(path: Path, folder: Path) -> Model:
    openvino.save_model(openvino.convert_model(path), folder / "m.xml", compress_to_fp16=False)
    return OpenvinoModel.load(folder / "m.xml", LoadOptions(device="cpu"))
