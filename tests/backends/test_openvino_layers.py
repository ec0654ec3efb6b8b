"""The layers and activations of OpenVINO models, models in memory, dense networks, and whole audits."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import pmcore
from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array, Layer, LoadOptions, Precision, Scale, Want
from pmcore_onnx import OnnxModel
from pmcore_openvino import OpenvinoModel
from tests.backends import builders as onnx_models
from tests.backends.openvino_builders import (
    IMAGES,
    RECORDS,
    RNG,
    constant,
    convolutions,
    expected_logits,
    linear,
    load,
    openvino,
    ops,
    parameter,
    random_weights,
    ready,
    save,
    save_convolutions,
    torch_logits,
)
from tests.core.cases import CLASSES, FEATURES, Case, losses, make_case
from tests.core.command import run_apart

X = {"x": RECORDS}


def network(sizes: tuple[int, ...]) -> tuple[list[Array], list[Array]]:
    rng = np.random.default_rng(2)
    pairs = list(pairwise(sizes))
    weights = [rng.normal(size=pair).astype(np.float32) for pair in pairs]
    return weights, [rng.normal(size=pair[1]).astype(np.float32) for pair in pairs]


def test_a_dense_network_answers_as_plain_numpy_does(tmp_path: Path) -> None:
    weights, biases = network((6, 11, 7, 3))
    OpenvinoModel.write_dense(tmp_path / "m.xml", weights, biases)
    model = ready(tmp_path / "m.xml")
    said = model.describe()
    assert (said.output, said.scale, said.inputs[0].name) == ("logits", Scale.LOGITS, "x")
    wanted = RECORDS.astype(np.float64)
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        wanted = wanted @ weight + bias
        wanted = np.maximum(wanted, 0) if index < 2 else wanted
    np.testing.assert_allclose(model.predict(X), wanted, rtol=1e-5, atol=1e-5)
    assert sum(layer.parameters for layer in model.layers()) == sum(a.size for a in (*weights, *biases))


def test_layers_are_listed_in_order_with_shapes_and_parameters(tmp_path: Path) -> None:
    model = load(save_convolutions(tmp_path / "m.xml"))
    layers = model.layers()
    assert [layer.index for layer in layers] == list(range(len(layers)))
    assert layers[0] == Layer(0, "conv1", "Convolution", (None, 16, 12, 12), 448)
    assert [layer.kind for layer in layers] == [
        *("Convolution", "Add", "Relu") * 2,
        *("ReduceMean", "MatMul", "Add"),
    ]
    assert sum(layer.parameters for layer in layers) == sum(a.size for a in random_weights().values())


def test_a_bias_counts_with_the_product_that_it_is_added_to(tmp_path: Path) -> None:
    for half in (False, True):
        layers = load(save_convolutions(tmp_path / f"{half}.xml", half=half)).layers()
        sums = [layer.parameters for layer in layers if layer.kind == "Add"]
        products = [layer.parameters for layer in layers if layer.kind in ("Convolution", "MatMul")]
        assert (sums, products) == ([0, 0, 0], [3 * 16 * 9 + 16, 16 * 24 * 9 + 24, 24 * 5 + 5])


def test_what_is_no_bias_of_a_product_counts_with_its_sum(tmp_path: Path) -> None:
    x = parameter()
    product = ops.matmul(x, constant(RNG.normal(size=(6, 4)).astype(np.float32)), False, False)
    added = ops.add(product, constant(RNG.normal(size=(1, 4)).astype(np.float32)))
    made = ops.multiply(added, product)  # the product is read twice
    column = ops.reshape(made, constant(np.array([-1, 4, 1])), False)
    one = ops.matmul(column, constant(RNG.normal(size=(1, 1)).astype(np.float32)), False, False)
    places = ops.add(one, constant(RNG.normal(size=(4, 1)).astype(np.float32)))
    layers = load(save(tmp_path / "m.xml", [places], [x])).layers()
    assert [layer.parameters for layer in layers if layer.kind == "Add"] == [4, 4]


@pytest.mark.parametrize("form", ["half", "quantise"])
def test_weights_in_fewer_bits_count_once_each(tmp_path: Path, form: str) -> None:
    model = load(save_convolutions(tmp_path / "m.xml", half=form == "half", quantise=form == "quantise"))
    assert sum(layer.parameters for layer in model.layers()) == sum(a.size for a in random_weights().values())


def test_layers_of_onnx_files_have_the_parameters_that_the_onnx_backend_counts(tmp_path: Path) -> None:
    path = onnx_models.write_linear(tmp_path / "m.onnx", [onnx_models.node("Softmax", ["z"], ["p"], axis=1)], "p")
    counts = [
        sum(layer.parameters for layer in model.layers())
        for model in (load(path), OnnxModel.load(path, LoadOptions(device="cpu")))
    ]
    assert counts == [28, 28]


def test_activations_are_had_by_name_by_index_and_from_the_end(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml"), IMAGES)
    found = model.activations({"x": IMAGES}, ["relu1", "2", "-1", "logits"])
    assert list(found) == ["relu1", "2", "-1", "logits"]
    np.testing.assert_array_equal(found["relu1"], found["2"])
    assert found["relu1"].shape == (40, 16, 12, 12)
    assert (found["relu1"] >= 0).all()
    np.testing.assert_allclose(found["-1"], torch_logits(random_weights(), IMAGES), atol=1e-5)


def test_activations_are_those_of_onnx_runtime(tmp_path: Path) -> None:
    nodes, weights = onnx_models.linear()
    nodes.append(onnx_models.node("Relu", ["z"], ["r"], name="relu"))
    path = onnx_models.write(tmp_path / "m.onnx", nodes, weights, {"r": ["n", 4], "z": ["n", 4]})
    wanted = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["z", "r"], X)
    model = load(path, output="r")
    model.prepare(X)
    found = model.activations(X, ["z", "r"])
    for name, expected in zip(("z", "r"), wanted, strict=True):
        np.testing.assert_allclose(found[name], expected, atol=1e-6)


def test_one_pass_gives_predictions_and_activations(tmp_path: Path) -> None:
    x = parameter()
    model = ready(save(tmp_path / "m.xml", [ops.softmax(linear(x), 1, name="p")], [x]))
    outputs = model.ask(X, np.zeros(9, np.int64), Want(predictions=True, activations=frozenset({"z", "p"})))
    assert outputs.predictions is not None
    np.testing.assert_array_equal(outputs.activations["z"], outputs.predictions)
    np.testing.assert_allclose(outputs.activations["p"].sum(axis=1), 1, atol=1e-6)


def test_activations_survive_a_batch_that_was_made_free(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml", 1), IMAGES)
    assert model.describe().batch is None
    assert model.activations({"x": IMAGES}, ["relu2"])["relu2"].shape == (40, 24, 12, 12)


def test_activations_that_are_not_one_row_per_record_are_not_torn(tmp_path: Path) -> None:
    x = parameter((-1, -1))
    turned = ops.transpose(x, constant(np.array([1, 0])), name="turned")
    answer = ops.transpose(ops.relu(turned), constant(np.array([1, 0])))
    model = ready(save(tmp_path / "m.xml", [answer], [x]), RECORDS)
    records = RNG.normal(size=(64, 6)).astype(np.float32)
    np.testing.assert_array_equal(model.activations({"x": records}, ["turned"])["turned"], records.T)


def test_a_layer_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = load(save_convolutions(tmp_path / "m.xml"))
    with pytest.raises(InputError, match=r"no layer 'relu3' \(did you mean 'relu\d'\?\); it has layers 0\.\.8"):
        model.activations({"x": IMAGES}, ["relu3"])


def test_a_model_in_memory_is_asked_and_left_as_it_is() -> None:
    x = parameter()
    model = openvino.Model([ops.softmax(linear(x), 1)], [x], "given")
    nodes = [node.get_name() for node in model.get_ordered_ops()]
    assert OpenvinoModel.wraps(model)
    assert not OpenvinoModel.wraps(object())
    wrapped = OpenvinoModel.wrap(model, LoadOptions())
    wrapped.prepare(X)
    np.testing.assert_allclose(wrapped.predict(X), expected_logits(), atol=1e-5)
    wrapped.activations(X, ["0"])
    assert [node.get_name() for node in model.get_ordered_ops()] == nodes
    assert len(model.outputs) == 1
    assert wrapped.describe().pre_softmax


def test_models_in_memory_are_told_apart_by_what_they_compute() -> None:
    def digest(scale: float, activation: str) -> str | None:
        x = parameter()
        made = openvino.Model([getattr(ops, activation)(linear(x, scale))], [x], "m")
        return OpenvinoModel.wrap(made, LoadOptions()).sha256()

    assert digest(1.0, "relu") == digest(1.0, "relu")
    assert len({digest(1.0, "relu"), digest(1.5, "relu"), digest(1.0, "tanh")}) == 3


def test_quantised_and_half_models_in_memory_have_a_digest() -> None:
    x = parameter((-1, 3, 12, 12))
    made = openvino.Model([convolutions(x, random_weights(), quantise=True)], [x], "m")
    low = ops.constant(np.ones((1, 5), np.float32), dtype=openvino.Type.bf16)
    other = openvino.Model([ops.add(made.get_results()[0].input_value(0), ops.convert(low, "f32"))], [x], "n")
    assert OpenvinoModel.wrap(made, LoadOptions()).sha256() != OpenvinoModel.wrap(other, LoadOptions()).sha256()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), backend=OpenvinoModel)


def write_onnx(case: Case) -> Path:
    """Write the network of a case as ONNX beside it."""
    weights = np.zeros((FEATURES, CLASSES), dtype=np.float32)
    weights[:CLASSES] = np.eye(CLASSES)
    OnnxModel.write_dense(case.folder / "model.onnx", [weights], [np.zeros(CLASSES, dtype=np.float32)])
    return case.folder / "model.onnx"


def test_an_audit_gives_the_figures_of_the_onnx_backend(case: Case) -> None:
    other = write_onnx(case)
    reports = [case.audit(model=str(path)).run().report for path in (case.model, other)]
    assert [report.model.backend for report in reports] == ["openvino", "onnx"]
    assert [a.auc.value for a in reports[0].attacks.values()] == [a.auc.value for a in reports[1].attacks.values()]


def test_an_audit_takes_a_model_in_memory(case: Case) -> None:
    model = openvino.Core().read_model(case.model)
    report = pmcore.Audit(**{**case.arguments, "model": model}).run().report
    assert report.model.backend == "openvino"


def test_losses_of_an_audit_are_those_of_plain_numpy(case: Case) -> None:
    model = load(case.model)
    model.prepare({"x": case.x[:32]})
    outputs = model.ask({"x": case.x}, case.y, Want(predictions=True))
    own = -outputs.log_probabilities[np.arange(len(case.y)), case.y]
    np.testing.assert_allclose(own, losses(case), atol=1e-5)


def test_the_command_line_audits_an_ir_and_says_what_ran(case: Case, tmp_path: Path) -> None:
    records = [case.arguments["members"], "--non-members", case.arguments["non_members"], "--out", tmp_path / "out"]
    done = run_apart("audit", case.model, "--members", *records, "--precision", "deployed")
    assert (done.code, done.complaints) == (0, [])
    (found,) = (tmp_path / "out").glob("*.json")
    told = json.loads(found.read_text())["model"]
    model = OpenvinoModel.load(case.model, LoadOptions(precision=Precision.DEPLOYED))
    assert told["precision"] == model.describe().precision


def test_the_command_line_refuses_a_foreign_device_in_one_line(case: Case) -> None:
    records = [case.arguments["members"], "--non-members", case.arguments["non_members"]]
    done = run_apart("audit", case.model, "--members", *records, "--device", "gpu.9")
    assert (done.code, len(done.complaints)) == (ModelError.exit_code, 1)
    assert "openvino finds only" in done.err


def test_an_onnx_file_is_run_by_openvino_where_it_is_named(case: Case) -> None:
    records = [case.arguments["members"], "--non-members", case.arguments["non_members"]]
    done = run_apart("audit", write_onnx(case), "--members", *records, "--backend", "openvino")
    assert (done.code, done.complaints) == (0, [])
    assert "openvino 20" in done.out
    assert "onnxruntime" not in done.out
