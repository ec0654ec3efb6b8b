"""What the exporters in use write: PyTorch's two, scikit-learn's, Keras' NHWC graphs, and the onnx package's models."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pmcore.interfaces import Array, Scale, Task
from tests.backends.builders import BIAS, RNG, load, node, ready, write

IMAGES = RNG.normal(size=(5, 1, 8, 8)).astype(np.float32)
DIGITS, DIGIT = (array[:300] for array in load_digits(return_X_y=True))
PIXELS = DIGITS.astype(np.float32)
LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("light_*.onnx"))


def network(softmax_ended: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = [
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 10),
    ]
    return torch.nn.Sequential(*layers, *([torch.nn.Softmax(dim=1)] if softmax_ended else [])).eval()


def export(path: Path, dynamo: bool, free: bool, softmax_ended: bool) -> Array:
    """Write an export and return the logits that torch gives for IMAGES."""
    net = network(softmax_ended)
    options: dict[str, Any] = {"dynamo": dynamo, "input_names": ["x"]}
    if free and dynamo:
        options["dynamic_shapes"] = {"input": {0: torch.export.Dim("batch")}}
    elif free:
        options["dynamic_axes"] = {"x": {0: "batch"}}
    example = torch.zeros(2 if free else 1, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (example,), path, verbose=False, **options)
    with torch.no_grad():
        logits: Array = network(False)(torch.from_numpy(IMAGES)).numpy()
    return logits


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("softmax_ended", [False, True])
def test_torch_exports_give_torch_logits(tmp_path: Path, dynamo: bool, free: bool, softmax_ended: bool) -> None:
    logits = export(tmp_path / "m.onnx", dynamo, free, softmax_ended)
    model = load(tmp_path / "m.onnx")
    model.prepare({"x": IMAGES})
    said = model.describe()
    assert (said.task, said.classes, said.scale, said.pre_softmax) == (
        Task.MULTICLASS,
        10,
        Scale.LOGITS,
        softmax_ended,
    )
    assert said.batch is None
    np.testing.assert_allclose(model.predict({"x": IMAGES}), logits, atol=1e-5)
    assert sum(layer.parameters for layer in model.layers()) in (410, 418)


def sklearn_model(path: Path, estimator: Any, labels: Array, zipmap: bool) -> Any:
    from skl2onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(PIXELS, labels)
        options = {} if isinstance(estimator, LinearRegression) else {id(estimator): {"zipmap": zipmap}}
        path.write_bytes(to_onnx(estimator, PIXELS[:1], options=options).SerializeToString())
    return estimator


SCORED: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=100),
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=100)),
    "network": lambda: MLPClassifier((16,), max_iter=20, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=3, max_depth=2),
    "bayes": lambda: make_pipeline(StandardScaler(), GaussianNB(var_smoothing=0.1)),
}
PROBABLE: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "one against the rest": lambda: OneVsRestClassifier(LogisticRegression(max_iter=100)),
}
LABELS = {"numbers": DIGIT, "text": np.array([f"digit {i}" for i in DIGIT])}


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", SCORED)
def test_scikit_learn_classifiers_are_read_before_their_probabilities(
    tmp_path: Path, name: str, labels: str, zipmap: bool
) -> None:
    estimator = sklearn_model(tmp_path / "m.onnx", SCORED[name](), LABELS[labels], zipmap)
    model = ready(tmp_path / "m.onnx", PIXELS)
    said = model.describe()
    assert (said.task, said.classes, said.scale, said.pre_softmax) == (Task.MULTICLASS, 10, Scale.LOGITS, True)
    scores = model.predict({"x": PIXELS}).astype(np.float64)
    np.testing.assert_allclose(softmax(scores, axis=1), estimator.predict_proba(PIXELS), atol=2e-4)


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("name", ["logistic", "network", "boosting", "descent"])
def test_scikit_learn_binary_classifiers_give_one_logit(tmp_path: Path, name: str, zipmap: bool) -> None:
    make = SCORED.get(name, lambda: SGDClassifier(loss="log_loss", random_state=0))
    estimator = sklearn_model(tmp_path / "m.onnx", make(), (DIGIT > 4).astype(int), zipmap)
    model = ready(tmp_path / "m.onnx", PIXELS)
    said = model.describe()
    assert (said.task, said.classes, said.scale, said.pre_softmax) == (Task.BINARY, 2, Scale.LOGITS, True)
    scores = model.predict({"x": PIXELS}).astype(np.float64)
    assert scores.shape == (300, 1)
    np.testing.assert_allclose(expit(scores[:, 0]), estimator.predict_proba(PIXELS)[:, 1], atol=1e-4)
    if name == "logistic":
        np.testing.assert_allclose(scores[:, 0], estimator.decision_function(PIXELS), atol=1e-3)


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("name", PROBABLE)
def test_scikit_learn_classifiers_without_scores_are_resolution_limited(
    tmp_path: Path, name: str, zipmap: bool
) -> None:
    estimator = sklearn_model(tmp_path / "m.onnx", PROBABLE[name](), DIGIT, zipmap)
    model = load(tmp_path / "m.onnx")
    model.prepare({"x": PIXELS})
    said = model.describe()
    assert (said.scale, said.resolution_limited, said.pre_softmax) == (Scale.PROBABILITIES, True, False)
    np.testing.assert_allclose(model.predict({"x": PIXELS}), estimator.predict_proba(PIXELS), atol=1e-4)


def test_classes_named_by_text_are_noted(tmp_path: Path) -> None:
    sklearn_model(tmp_path / "m.onnx", LogisticRegression(max_iter=50), LABELS["text"], False)
    assert any("by position" in note for note in load(tmp_path / "m.onnx").describe().notes)


def test_the_label_output_of_scikit_learn_leads_to_the_scores(tmp_path: Path) -> None:
    sklearn_model(tmp_path / "m.onnx", LogisticRegression(max_iter=50), DIGIT, False)
    by_label, chosen = (ready(tmp_path / "m.onnx", PIXELS, output) for output in ("label", None))
    np.testing.assert_array_equal(by_label.predict({"x": PIXELS}), chosen.predict({"x": PIXELS}))


def test_a_scikit_learn_regressor_is_a_regression(tmp_path: Path) -> None:
    targets = np.stack([DIGIT, -DIGIT], axis=1).astype(np.float32)
    estimator = sklearn_model(tmp_path / "m.onnx", LinearRegression(), targets, False)
    model = ready(tmp_path / "m.onnx", PIXELS)
    assert (model.describe().task, model.describe().classes) == (Task.REGRESSION, 2)
    np.testing.assert_allclose(model.predict({"x": PIXELS}), estimator.predict(PIXELS), atol=1e-3)


def test_a_keras_graph_takes_images_with_channels_last(tmp_path: Path) -> None:
    """Keras writes Transpose before and after each convolution, casts everywhere, and a Reshape from shapes."""
    kernel = RNG.normal(size=(3, 2, 3, 3)).astype(np.float32)
    dense = RNG.normal(size=(3 * 36, 4)).astype(np.float32)
    nodes = [
        node("Transpose", ["images", ""][:1], ["nchw"], perm=[0, 3, 1, 2]),
        node("Conv", ["nchw", "kernel"], ["c"]),
        node("Transpose", ["c"], ["nhwc"], perm=[0, 2, 3, 1]),
        node("Shape", ["nhwc"], ["s"]),
        node("Gather", ["s", "first"], ["n"]),
        node("Concat", ["n", "rest"], ["flat_shape"], axis=0),
        node("Reshape", ["nhwc", "flat_shape"], ["flat"]),
        node("MatMul", ["flat", "dense"], ["m"]),
        node("Add", ["m", "bias"], ["z"]),
        node("Cast", ["z"], ["zc"], to=1),
        node("Softmax", ["zc"], ["105"], axis=-1),
    ]
    weights: dict[str, Array] = {"kernel": kernel, "dense": dense, "bias": BIAS}
    weights |= {"first": np.array([0]), "rest": np.array([-1])}
    path = write(tmp_path / "m.onnx", nodes, weights, {"105": ["d", 4]}, {"images": ["batch", 8, 8, 2]})
    images = RNG.normal(size=(5, 8, 8, 2)).astype(np.float32)
    model = load(path)
    model.prepare({"x": images})
    assert model.describe().inputs[0].record_shape == (8, 8, 2)
    assert model.describe().pre_softmax
    with torch.no_grad():
        inner = torch.nn.functional.conv2d(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(kernel))
    wanted = inner.permute(0, 2, 3, 1).reshape(5, -1).numpy() @ dense + BIAS
    np.testing.assert_allclose(model.predict({"x": images}), wanted, rtol=1e-4, atol=1e-4)


KERAS = """
    import keras
    import numpy as np

    net = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    images = np.load("images.npy")
    np.save("expected.npy", net.predict(images, verbose=0))
    net.export("m.onnx", format="onnx", verbose=False)
"""


def test_keras_exports_work(tmp_path: Path) -> None:
    """A process has one Keras backend for life, and only the one on torch exports without tf2onnx."""
    images = IMAGES.transpose(0, 2, 3, 1)
    np.save(tmp_path / "images.npy", images)
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", dedent(KERAS)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    model = ready(tmp_path / "m.onnx", images)
    assert model.describe().pre_softmax
    expected = np.load(tmp_path / "expected.npy")
    np.testing.assert_allclose(softmax(model.predict({"x": images}), axis=1), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_the_architectures_of_the_onnx_package_work(path: Path) -> None:
    images = RNG.normal(size=(2, 3, 224, 224)).astype(np.float32)
    model = load(path)
    layers = model.layers()
    model.prepare({"x": images})
    said = model.describe()
    assert (said.task, said.classes, said.scale, said.batch) == (Task.MULTICLASS, 1000, Scale.LOGITS, None)
    assert said.pre_softmax is (path.stem != "light_densenet121")
    assert sum(layer.parameters for layer in layers) > 1_000_000
    assert all(layer.name and layer.kind and layer.shape for layer in layers)
    answer = model.predict({"x": images})
    assert answer.shape == (2, 1000)
    model.close()
