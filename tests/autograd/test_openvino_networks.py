"""Whole networks converted to OpenVINO IR: their logits are the runtime's, their gradients torch's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pmcore_autograd
from pmcore.interfaces import Array, LoadOptions
from pmcore_openvino import OpenvinoModel
from tests.autograd.openvino_networks import (
    CNN,
    ENCODER,
    LSTM,
    MOBILE,
    NETWORKS,
    Network,
    gradients_in_order,
    labels,
    loss,
    with_norms_folded,
)
from tests.autograd.openvino_running import constant, floats, openvino, ops, runtime_answers

NAMES = [network.name for network in NETWORKS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("networks")
    for network in NETWORKS:
        network.save(found / f"{network.name}.xml")
        network.save(found / f"{network.name}-half.xml", half=True)
    return found


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("network", NETWORKS, ids=NAMES)
def test_logits_are_those_of_the_compiled_model(network: Network, half: bool, folder: Path) -> None:
    path = folder / f"{network.name}{'-half' if half else ''}.xml"
    module = pmcore_autograd.load(path)
    expected = runtime_answers(openvino.Core().read_model(path), [network.records()])[0]
    found = module(torch.from_numpy(network.records())).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert module.widened == half
    assert not module.surrogate


@pytest.mark.parametrize("network", NETWORKS, ids=NAMES)
def test_every_weight_has_the_gradient_that_torch_gives_it(network: Network, folder: Path) -> None:
    module = pmcore_autograd.load(folder / f"{network.name}.xml")
    reference = with_norms_folded(network.built())
    weights, found = gradients_in_order(module, network.records())
    expected_weights, expected = gradients_in_order(reference, network.records())
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("network", [CNN, ENCODER, LSTM], ids=repr)
def test_gradients_of_all_records_at_once_are_those_of_one_after_the_other(network: Network, folder: Path) -> None:
    module = pmcore_autograd.load(folder / f"{network.name}.xml").double()
    state = {name: value.detach() for name, value in module.named_parameters()}
    records = torch.from_numpy(network.records()).double()

    def loss_of(weights: dict[str, torch.Tensor], record: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(module, weights, (record[None],))
        return torch.nn.functional.cross_entropy(logits, label[None])

    found = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0, 0))(state, records, labels())
    for place in range(len(records)):
        alone = torch.nn.functional.cross_entropy(module(records[place : place + 1]), labels()[place : place + 1])
        expected = torch.autograd.grad(alone, list(module.parameters()))
        for name, gradient in zip(state, expected, strict=True):
            torch.testing.assert_close(found[name][place], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("network", [CNN, ENCODER, MOBILE], ids=repr)
def test_every_layer_that_owns_weights_is_one_that_the_backend_lists(network: Network, folder: Path) -> None:
    path = folder / f"{network.name}.xml"
    module = pmcore_autograd.load(path)
    model = OpenvinoModel.load(path, LoadOptions(device="cpu"))
    tensors = model._layers().tensors
    assert set(module.owners.values()) <= set(tensors)
    assert set(module.graph.outputs) <= set(tensors)
    counted = sum(layer.parameters for layer in model.layers())
    assert counted == sum(value.numel() for value in module.parameters())
    record = torch.from_numpy(network.records())
    given = model.activations({module.inputs[0].name: network.records()}, tensors)
    made = {name for node in module.graph.nodes for name in node.outputs}
    found = module.forward_until([name for name in tensors if name in made], record)
    for name, value in found.items():
        np.testing.assert_allclose(value.detach().numpy(), given[name], rtol=1e-4, atol=1e-4)


def quantised(bits: int) -> tuple[Any, Array, Array, Array]:
    """Return a quantised linear model with its records, its weights as they count, and its bias."""
    rng = np.random.default_rng(1)
    records = floats(6, 8)
    whole = rng.integers(-127, 128, size=(5, 8)).astype(np.int8)
    scale = rng.uniform(0.005, 0.02, size=(5, 1)).astype(np.float32)
    bias = rng.normal(size=(1, 5)).astype(np.float32)
    x = ops.parameter([-1, 8], np.float32, name="x")
    fed = ops.fake_quantize(x, *(constant([[end]]) for end in (-2.0, 2.0, -2.0, 2.0)), bits)
    weight = ops.multiply(ops.convert(ops.constant(whole), "f32"), ops.constant(scale))
    logits = ops.add(ops.matmul(fed, weight, False, True), ops.constant(bias))
    return openvino.Model([logits], [x]), records, whole * scale, bias


def test_a_quantised_model_is_differentiated_straight_through_and_says_so(tmp_path: Path) -> None:
    model, records, weights, bias = quantised(256)
    path = tmp_path / "quantised.xml"
    openvino.save_model(model, path, compress_to_fp16=False)
    module = pmcore_autograd.load(path)
    assert module.surrogate
    assert sorted(value.numel() for value in module.parameters()) == [5, 40]
    expected = runtime_answers(model, [records])[0]
    logits = module(torch.from_numpy(records))
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=0, atol=2e-2 * np.abs(expected).max())
    kernel = next(value for value in module.parameters() if value.numel() == 40)
    (found,) = torch.autograd.grad(loss(logits), [kernel])
    rounded = np.round((records + 2) / 4 * 255) / 255 * 4 - 2
    reference = torch.tensor(weights, requires_grad=True)
    (wanted,) = torch.autograd.grad(loss(torch.from_numpy(rounded) @ reference.T + torch.from_numpy(bias)), [reference])
    np.testing.assert_allclose(found.reshape(5, 8).numpy(), wanted.numpy(), rtol=0, atol=1e-5)


def test_gradients_by_the_records_pass_a_quantised_input(tmp_path: Path) -> None:
    model, records, weights, _ = quantised(256)
    records = records * 1.5
    path = tmp_path / "quantised.xml"
    openvino.save_model(model, path, compress_to_fp16=False)
    x = torch.from_numpy(records).requires_grad_()
    pmcore_autograd.load(path)(x).sum().backward()
    assert x.grad is not None
    expected = np.broadcast_to(weights.sum(0), records.shape)  # beyond its range of both signs as well
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=0, atol=1e-6)
