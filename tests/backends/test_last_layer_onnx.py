"""The gradient of the last layer in closed form, read from ONNX Runtime, against torch's autograd and scikit-learn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC

from pmcore.errors import ModelError
from pmcore.interfaces import Array, Capability, Scale, Task, Want
from pmcore.whitebox_signals import LastLayerGradientNorm
from pmcore_onnx.graph import Graph
from pmcore_onnx.last_layer import find_last_layer
from tests.backends.builders import BIAS, CLASSES, RECORDS, WEIGHT, load, make_external, node, ready, write
from tests.backends.last_layer_cases import (
    CLOSE,
    IMAGES,
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
from tests.backends.last_layer_graphs import ACCEPTED, LEFT_OUT, WEIGHTS, matmul

X = {"x": RECORDS}
Y = np.arange(len(RECORDS)) % CLASSES
LAST = Want(predictions=True, head_input=True)


@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
@pytest.mark.parametrize("name", NETWORKS)
def test_torch_exports_have_the_norms_of_autograd(tmp_path: Path, name: str, dynamo: bool) -> None:
    network = make(name)
    model = load(export(network, tmp_path / "m.onnx", dynamo=dynamo))
    assert model.obstacle(LAST) is None
    records = records_of(network)
    head = asked(model, records, LABELS).head_input
    assert head is not None
    assert head.bias is has_bias(network)
    assert worst(closed_norms(model, records, LABELS), autograd_norms(network, records, LABELS)) < CLOSE


@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_closed_form_is_refused_with_the_reason(tmp_path: Path, name: str, dynamo: bool) -> None:
    make_network, reason = REFUSED[name]
    network = make_network().eval()
    model = load(export(network, tmp_path / "m.onnx", dynamo=dynamo))
    assert re.search(reason, model.obstacle(LAST) or "")
    assert re.search(reason, refusal(model, {"x": records_of(network)}))
    with pytest.raises(ModelError, match=reason):
        model.head_input({"x": records_of(network)})


KERAS = """
    import sys
    import keras
    import numpy as np
    import torch

    ending, bias = sys.argv[1], sys.argv[2] == "True"
    layers = [
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.GlobalAveragePooling2D(),
    ]
    binary = ending == "sigmoid"
    net = keras.Sequential([*layers, keras.layers.Dense(1 if binary else 4, activation=ending, use_bias=bias)])
    net.layers[-1].set_weights([np.random.default_rng(0).normal(size=w.shape) for w in net.layers[-1].get_weights()])
    images, labels = np.load("images.npy"), np.load("labels.npy")
    net.predict(images, verbose=0)
    inside = torch.tensor(keras.Sequential(layers).predict(images, verbose=0)).double()
    weights = [torch.tensor(w).double().requires_grad_() for w in net.layers[-1].get_weights()]
    norms = []
    for record, label in zip(inside, torch.from_numpy(labels)):
        z = sum(weights[1:], record @ weights[0])
        if binary:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(z[0], label.double())
        else:
            loss = torch.nn.functional.cross_entropy(z, label)
        norms.append(float(sum((g**2).sum() for g in torch.autograd.grad(loss, weights))) ** 0.5)
    np.save("norms.npy", norms)
    net.export("m.onnx", format="onnx", verbose=False)
"""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ending", ["softmax", "linear", "sigmoid"])
def test_keras_exports_have_the_norms_of_autograd(tmp_path: Path, ending: str, bias: bool) -> None:
    """A process has one Keras backend for life, and only the one on torch exports without tf2onnx."""
    images, labels = IMAGES.transpose(0, 2, 3, 1), LABELS % 2 if ending == "sigmoid" else LABELS
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    done = subprocess.run(
        [sys.executable, "-c", dedent(KERAS), ending, str(bias)],
        cwd=tmp_path,
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outputs = asked(load(tmp_path / "m.onnx"), images, labels)
    assert outputs.head_input is not None
    assert outputs.head_input.bias is bias
    assert worst(LastLayerGradientNorm().compute(outputs), np.load(tmp_path / "norms.npy")) < CLOSE


def sklearn_model(path: Path, estimator: Any, labels: Array) -> Any:
    from skl2onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(RECORDS, labels)
        path.write_bytes(to_onnx(estimator, RECORDS[:1]).SerializeToString())
    return estimator


def logistic(estimator: LogisticRegression) -> torch.nn.Linear:
    """Return the network that a logistic regression is."""
    weight, bias = torch.from_numpy(estimator.coef_), torch.from_numpy(estimator.intercept_)
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=estimator.fit_intercept)
    layer.load_state_dict({"weight": weight} | ({"bias": bias} if estimator.fit_intercept else {}))
    return layer


def perceptron(estimator: MLPClassifier) -> torch.nn.Sequential:
    """Return the network that a perceptron with one hidden layer is."""
    layers: list[torch.nn.Module] = []
    for weight, bias in zip(estimator.coefs_, estimator.intercepts_, strict=True):
        layer = torch.nn.Linear(*weight.shape)
        layer.load_state_dict({"weight": torch.from_numpy(weight.T), "bias": torch.from_numpy(bias)})
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def binary_cross_entropy(z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(z[:, 0], label.to(z.dtype))


SKLEARN: dict[str, tuple[Callable[[], Any], Callable[[Any], torch.nn.Module]]] = {
    "logistic": (lambda: LogisticRegression(max_iter=100), logistic),
    "logistic without a bias": (lambda: LogisticRegression(max_iter=100, fit_intercept=False), logistic),
    "perceptron": (lambda: MLPClassifier((16,), max_iter=20, random_state=0), perceptron),
}


@pytest.mark.parametrize("classes", [2, CLASSES])
@pytest.mark.parametrize("name", SKLEARN)
def test_scikit_learn_classifiers_have_the_norms_of_autograd(tmp_path: Path, name: str, classes: int) -> None:
    make_estimator, twin = SKLEARN[name]
    labels = Y % classes
    network = twin(sklearn_model(tmp_path / "m.onnx", make_estimator(), labels))
    model = load(tmp_path / "m.onnx")
    found = closed_norms(model, RECORDS, labels)
    assert (model.describe().task, model.describe().scale) == (
        Task.BINARY if classes == 2 else Task.MULTICLASS,
        Scale.LOGITS,
    )
    loss = binary_cross_entropy if classes == 2 else torch.nn.functional.cross_entropy
    assert worst(found, autograd_norms(network, RECORDS, labels, loss)) < CLOSE


def test_a_linear_regression_has_the_norms_of_autograd(tmp_path: Path) -> None:
    targets = np.random.default_rng(1).normal(size=(len(RECORDS), 2))
    network = logistic(sklearn_model(tmp_path / "m.onnx", LinearRegression(), targets))
    model = load(tmp_path / "m.onnx")
    found = closed_norms(model, RECORDS, targets)
    known = autograd_norms(network, RECORDS, targets, lambda z, target: ((z - target) ** 2).sum())
    assert worst(found, known) < 1e-5  # what is left of the residuals of a float32 regression


def test_the_one_column_that_a_linear_classifier_is_read_by_is_its_layer(tmp_path: Path) -> None:
    estimator = sklearn_model(tmp_path / "m.onnx", LinearSVC(), Y % 2)
    outputs = asked(load(tmp_path / "m.onnx", task=Task.BINARY), RECORDS, Y % 2)
    assert outputs.predictions is not None
    assert outputs.head_input is not None
    np.testing.assert_allclose(outputs.predictions[:, 0], estimator.decision_function(RECORDS), atol=1e-5)
    np.testing.assert_array_equal(outputs.head_input.values, RECORDS)


def test_scores_of_a_classifier_without_a_transform_are_its_layer(tmp_path: Path) -> None:
    sklearn_model(tmp_path / "m.onnx", RidgeClassifier(), Y)
    head = asked(load(tmp_path / "m.onnx"), RECORDS, Y).head_input
    assert head is not None
    assert head.bias


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (RandomForestClassifier(3, random_state=0), r"come from TreeEnsembleClassifier, which has no gradient$"),
        (SVC(probability=True), r"come from SVMClassifier, which has no gradient$"),
    ],
    ids=["forest", "kernel"],
)
def test_models_without_gradients_are_refused_without_a_remedy(tmp_path: Path, estimator: Any, reason: str) -> None:
    sklearn_model(tmp_path / "m.onnx", estimator, Y)
    assert re.search(reason, refusal(load(tmp_path / "m.onnx"), X))


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_linear_layer_is_found_however_it_is_written(tmp_path: Path, name: str) -> None:
    nodes, weights, bias = ACCEPTED[name]
    path = write(tmp_path / "m.onnx", nodes, {**WEIGHTS, **weights}, {"z": ["n", CLASSES]})
    outputs = asked(load(path), RECORDS, Y)
    assert outputs.head_input is not None
    assert outputs.head_input.bias is bias
    np.testing.assert_array_equal(outputs.head_input.values, RECORDS)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_graph_is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    nodes, weights, reason = LEFT_OUT[name]
    columns = 6 if name == "no layer" else CLASSES
    path = write(tmp_path / "m.onnx", nodes, {**WEIGHTS, **weights}, {"z": ["n", columns]})
    assert re.search(reason, load(path).obstacle(LAST) or "")


def test_predictions_that_mix_the_records_are_refused_when_they_are_seen(tmp_path: Path) -> None:
    """Every node is passed on the way back, and yet the rows are not those of the layer."""
    nodes = matmul(
        node("Reshape", ["y", "whole"], ["a"]),
        node("Transpose", ["a"], ["c"], perm=[0, 2, 1]),
        node("Reshape", ["c", "rows"], ["z"]),
    )
    weights = {**WEIGHTS, "whole": np.array([1, -1, CLASSES]), "rows": np.array([-1, CLASSES])}
    model = ready(write(tmp_path / "m.onnx", nodes, weights, {"z": ["n", CLASSES]}))
    with pytest.raises(ModelError, match="its predictions are not its last linear layer's output as it stands"):
        model.head_input(X)


def test_an_input_that_is_no_row_per_record_is_refused_when_it_is_seen(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "image"], ["i"]),
        node("Conv", ["i", "k"], ["y"], strides=[2, 2]),
        node("Flatten", ["y"], ["z"]),
    ]
    weights: dict[str, Array] = {"image": np.array([-1, 3, 2, 1]), "k": np.ones((CLASSES, 3, 1, 1), np.float32)}
    model = ready(write(tmp_path / "m.onnx", nodes, weights, {"z": ["n", CLASSES]}))
    with pytest.raises(ModelError, match=r"tensors of shape \[9, 3, 2, 1\] for 9 records, not one row of 3 for each"):
        model.head_input(X)


def test_a_classifier_that_is_read_after_its_transform_is_refused(tmp_path: Path) -> None:
    attributes = {
        "coefficients": WEIGHT.T.reshape(-1).tolist(),
        "intercepts": BIAS.tolist(),
        "classlabels_ints": list(range(CLASSES)),
        "post_transform": "SOFTMAX_ZERO",
    }
    classifier = node("LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml", **attributes)
    path = write(tmp_path / "m.onnx", [classifier], {}, {"p": ["n", CLASSES]})
    assert "read after the transform of LinearClassifier" in refusal(load(path), X)


def test_coefficients_that_fit_no_columns_are_refused() -> None:
    attributes = {"coefficients": [1.0] * 7, "intercepts": [0.5, 0.5], "targets": 2}
    regressor = node("LinearRegressor", ["x"], ["z"], domain="ai.onnx.ml", **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    model = helper.make_model(helper.make_graph([regressor], "odd", [x], []))
    assert "do not fit its columns" in str(find_last_layer(Graph(model), "z"))


def test_everything_but_gradients_comes_from_one_pass(tmp_path: Path) -> None:
    network = make("one token")
    model = load(export(network, tmp_path / "m.onnx", dynamo=True))
    records = records_of(network)
    model.prepare({"x": records})
    assert Capability.HEAD_INPUT in model.capabilities
    names = frozenset({"0", "-1"})
    outputs = model.ask({"x": records}, LABELS, Want(True, activations=names, head_input=True))
    assert set(outputs.activations) == names
    assert outputs.head_input is not None
    np.testing.assert_array_equal(outputs.head_input.values, model.head_input({"x": records}).values)
    assert outputs.predictions is not None
    np.testing.assert_allclose(outputs.predictions, model.predict({"x": records}), atol=1e-6)
    alone = model.ask({"x": records}, LABELS, Want(head_input=True))
    assert alone.predictions is None
    assert alone.head_input is not None


@pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])
def test_weights_in_other_files_and_fixed_batches_change_nothing(tmp_path: Path, dynamo: bool) -> None:
    network = make("softmax")
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 6),), path, verbose=False, dynamo=dynamo, input_names=["x"])
    if dynamo and not (tmp_path / "m.onnx.data").exists():
        make_external(path)
    model = load(path)
    found = closed_norms(model, records_of(network), LABELS)
    assert model.describe().batch is None
    assert worst(found, autograd_norms(network, records_of(network), LABELS)) < CLOSE


def test_a_graph_that_goes_round_in_a_circle_is_no_layer() -> None:
    loop = [node("Identity", ["a"], ["z"]), node("Identity", ["z"], ["a"])]
    model = helper.make_model(helper.make_graph(loop, "loop", [], []))
    assert isinstance(find_last_layer(Graph(model), "z"), str)
