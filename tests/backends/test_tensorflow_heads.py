"""What enters the last layer of Keras models and SavedModels, and what is not taken for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmcore.errors import ModelError
from pmcore.interfaces import GradientRequest, Task, Want
from pmcore.whitebox_signals import LastLayerGradientNorm
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from tests.backends.tensorflow_builders import keras, save_module, two_layers
from tests.backends.tensorflow_networks import LABELS, N, ready

Ending = Callable[[Any], Any]


HEADS: dict[str, Callable[[Any], Ending]] = {
    "dense": lambda layers: layers.Dense(3, name="last"),
    "without bias": lambda layers: layers.Dense(3, use_bias=False, name="last"),
    "softmax within": lambda layers: layers.Dense(3, activation="softmax", name="last"),
    "softmax behind": lambda layers: lambda x: layers.Softmax()(layers.Dense(3, name="last")(x)),
    "in a network of its own": lambda layers: keras().Sequential([layers.Dense(3, name="last")], name="net"),
    "convolution of one pixel": lambda layers: (
        lambda x: layers.Flatten()(layers.Conv2D(3, 1, name="last")(pooled(layers.Reshape((2, 2, 2))(x))))
    ),
    "convolution over the map": lambda layers: (
        lambda x: layers.Flatten()(layers.Conv2D(3, 2, name="last")(layers.Reshape((2, 2, 2))(x)))
    ),
    "in float64": lambda layers: layers.Dense(3, dtype="float64", name="last"),
}


def pooled(maps: Any) -> Any:
    return keras().layers.GlobalAveragePooling2D(keepdims=True)(maps)


def ending_in(head: Ending) -> Any:
    first = keras().Input((6,), name="x")
    return keras().Model(first, head(keras().layers.Dense(8, activation="tanh", name="hidden")(first)))


@pytest.mark.parametrize("name", HEADS)
def test_the_input_of_the_last_layer_gives_the_norm_of_its_gradient(name: str) -> None:
    net = ending_in(HEADS[name](keras().layers))
    x = np.random.default_rng(6).normal(size=(N, 6)).astype(np.float32)
    model = ready(net, {"x": x})
    last = GradientRequest(tuple(layer.name for layer in model.layers() if layer.name.endswith("last")))
    want = Want(predictions=True, head_input=True, gradients=frozenset({last}), activations=frozenset({"hidden"}))
    assert model.obstacle(want) is None
    outputs = model.ask({"x": x}, LABELS, want)
    np.testing.assert_allclose(LastLayerGradientNorm().compute(outputs), outputs.gradients[last][:, 0], rtol=1e-5)
    assert outputs.head_input is not None
    assert outputs.head_input.bias is (name != "without bias")
    np.testing.assert_allclose(model.head_input({"x": x}).values, outputs.head_input.values, atol=1e-6)
    assert list(outputs.activations) == ["hidden"]


NO_HEADS: dict[str, Callable[[Any], Ending]] = {
    "scaled": lambda layers: lambda x: layers.Rescaling(2.0)(layers.Dense(3)(x)),
    "two biases": lambda layers: lambda x: layers.Dense(3)(x) + np.ones(3, dtype=np.float32),
    "pooled behind": lambda layers: (
        lambda x: layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1)(layers.Reshape((2, 2, 2))(x)))
    ),
    "normalised": lambda layers: lambda x: layers.BatchNormalization()(layers.Dense(3)(x)),
    "weights that are computed": lambda layers: lambda x: keras().ops.matmul(x, keras().ops.transpose(x)[:, :1] * 1.0),
}


@pytest.mark.parametrize("name", NO_HEADS)
def test_what_is_no_dense_layer_at_the_end_is_not_taken_for_one(name: str) -> None:
    model = ready(ending_in(NO_HEADS[name](keras().layers)), {"x": np.ones((N, 6), dtype=np.float32)})
    reason = "the model does not end in a dense layer whose input can be read"
    assert model.obstacle(Want(head_input=True)) == reason
    with pytest.raises(ModelError, match=f"the input of the last layer cannot be had: {reason}"):
        model.head_input({"x": np.ones((N, 6), dtype=np.float32)})


def test_probabilities_that_are_read_do_not_come_out_of_the_dense_layer() -> None:
    model = ready(two_layers("softmax"), {"x": np.ones((N, 6), dtype=np.float32)}, task=Task.REGRESSION)
    reason = model.obstacle(Want(head_input=True))
    assert reason == "its predictions are read behind an activation, not as its dense layer gives them"


def test_a_saved_model_with_logits_is_looked_into_for_its_last_layer(tmp_path: Path) -> None:
    model = TensorflowModel.load(save_module(tmp_path / "model", lambda x, logits: logits), TensorflowOptions())
    x = np.random.default_rng(1).normal(size=(N, 6)).astype(np.float32)
    model.prepare({"x": x})
    assert model.head_input({"x": x}).values.shape == (N, 8)
