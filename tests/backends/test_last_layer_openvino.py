"""The gradient of the last layer in closed form, read from OpenVINO, against torch's autograd and scikit-learn."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pmcore.errors import ModelError
from pmcore.interfaces import Want
from tests.backends import builders as onnx_models
from tests.backends.last_layer_cases import (
    CLOSE,
    LABELS,
    NETWORKS,
    REFUSED,
    asked,
    autograd_norms,
    closed_norms,
    export,
    has_bias,
    make,
    records_of,
    refusal,
    worst,
)
from tests.backends.last_layer_graphs import ACCEPTED, LEFT_OUT, WEIGHTS
from tests.backends.openvino_builders import (
    CLASSES,
    IMAGES,
    RECORDS,
    RNG,
    WEIGHT,
    constant,
    linear,
    load,
    openvino,
    ops,
    parameter,
    ready,
    rounded,
    save,
    save_convolutions,
)

LAST = Want(predictions=True, head_input=True)


def written(path: Path, form: str) -> Path:
    """Return the export as OpenVINO is to read it."""
    if form == "onnx":
        return path
    openvino.save_model(openvino.Core().read_model(path), path.with_suffix(".xml"), compress_to_fp16=False)
    return path.with_suffix(".xml")


@pytest.mark.parametrize("form", ["onnx", "ir"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
@pytest.mark.parametrize("name", NETWORKS)
def test_torch_exports_have_the_norms_of_autograd(tmp_path: Path, name: str, dynamo: bool, form: str) -> None:
    network = make(name)
    model = load(written(export(network, tmp_path / "m.onnx", dynamo=dynamo), form))
    records = records_of(network)
    head = asked(model, records, LABELS).head_input
    assert head is not None
    assert head.bias is has_bias(network)
    assert worst(closed_norms(model, records, LABELS), autograd_norms(network, records, LABELS)) < CLOSE


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_closed_form_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    make_network, reason = REFUSED[name]
    network = make_network().eval()
    model = load(export(network, tmp_path / "m.onnx", dynamo=False))
    records = records_of(network)
    found = refusal(model, {"x": records})
    assert re.search(reason, found)
    with pytest.raises(ModelError, match=reason):
        model.head_input({"x": records})


@pytest.mark.parametrize("name", [name for name in ACCEPTED if name != "fused"])
def test_a_linear_layer_is_found_however_it_is_written(tmp_path: Path, name: str) -> None:
    nodes, weights, bias = ACCEPTED[name]
    path = onnx_models.write(tmp_path / "m.onnx", nodes, {**WEIGHTS, **weights}, {"z": ["n", CLASSES]})
    outputs = asked(load(path), onnx_models.RECORDS, np.arange(9) % CLASSES)
    assert outputs.head_input is not None
    assert outputs.head_input.bias is bias
    np.testing.assert_array_equal(outputs.head_input.values, onnx_models.RECORDS)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_graph_is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    nodes, weights, reason = LEFT_OUT[name]
    columns = 6 if name == "no layer" else CLASSES
    path = onnx_models.write(tmp_path / "m.onnx", nodes, {**WEIGHTS, **weights}, {"z": ["n", columns]})
    assert re.search(reason, load(path).obstacle(LAST) or "")


@pytest.mark.parametrize("half", [False, True])
def test_weights_of_half_the_bits_are_no_hindrance(tmp_path: Path, half: bool) -> None:
    model = load(save_convolutions(tmp_path / "m.xml", half=half))
    head = asked(model, IMAGES, np.arange(40) % 5).head_input
    assert head is not None
    assert head.bias
    np.testing.assert_allclose(head.values, model.activations({"x": IMAGES}, ["pooled"])["pooled"], atol=1e-6)


@pytest.mark.parametrize("form", ["integers", "rounded"])
def test_quantised_weights_are_refused(tmp_path: Path, form: str) -> None:
    x = parameter()
    if form == "integers":
        whole = ops.constant((WEIGHT * 20).astype(np.int8))
        weight = ops.multiply(ops.convert(whole, "f32"), constant(np.float32(0.05)))
    else:
        weight = rounded(constant(WEIGHT), -1.0, 1.0, 255)
    model = load(save(tmp_path / "m.xml", [ops.matmul(x, weight, False, False)], [x]))
    assert "the weight of the last linear layer is quantised" in (model.obstacle(LAST) or "")


def test_a_convolution_as_head_is_found_in_a_model_made_for_openvino(tmp_path: Path) -> None:
    x = parameter((-1, 3, 1, 1))
    kernel = RNG.normal(size=(CLASSES, 3, 1, 1)).astype(np.float32)
    scores = ops.convolution(x, constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
    scores = ops.add(scores, constant(np.ones((1, CLASSES, 1, 1), np.float32)))
    model = load(save(tmp_path / "m.xml", [ops.softmax(ops.squeeze(scores, constant(np.array([2, 3]))), 1)], [x]))
    head = asked(model, IMAGES[:, :, :1, :1].copy(), np.arange(40) % CLASSES).head_input
    assert head is not None
    assert head.bias
    np.testing.assert_array_equal(head.values, IMAGES[:, :, 0, 0])


def test_predictions_that_mix_the_records_are_refused_when_they_are_seen(tmp_path: Path) -> None:
    x = parameter()
    turned = ops.transpose(ops.reshape(linear(x), constant(np.array([1, -1, CLASSES])), False), constant([0, 2, 1]))
    model = ready(save(tmp_path / "m.xml", [ops.reshape(turned, constant(np.array([-1, CLASSES])), False)], [x]))
    with pytest.raises(ModelError, match="its predictions are not its last linear layer's output as it stands"):
        model.head_input({"x": RECORDS})


def test_a_batch_of_one_that_was_made_free_changes_nothing(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml", 1), IMAGES)
    assert model.describe().batch is None
    found = model.head_input({"x": IMAGES}).values
    assert found.shape == (40, 24)
    one = load(save_convolutions(tmp_path / "one.xml", 1)).head_input({"x": IMAGES}).values
    np.testing.assert_allclose(found, one, atol=1e-6)


def test_everything_but_gradients_comes_from_one_pass(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml"), IMAGES)
    outputs = model.ask({"x": IMAGES}, np.zeros(40, np.int64), Want(True, frozenset({"relu1", "-1"}), head_input=True))
    assert set(outputs.activations) == {"relu1", "-1"}
    assert outputs.head_input is not None
    np.testing.assert_array_equal(outputs.head_input.values, model.head_input({"x": IMAGES}).values)
    np.testing.assert_allclose(outputs.head_input.values, model.activations({"x": IMAGES}, ["pooled"])["pooled"])
    alone = model.ask({"x": IMAGES}, np.zeros(40, np.int64), Want(head_input=True))
    assert alone.predictions is None
    assert alone.head_input is not None
