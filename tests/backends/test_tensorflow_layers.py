"""The layers of Keras models and what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmcore.errors import InputError
from pmcore.interfaces import Want
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from tests.backends.tensorflow_builders import (
    BIASES,
    CLASSES,
    RECORDS,
    WEIGHTS,
    X,
    expected_logits,
    framework,
    keras,
    loaded,
    save_module,
    two_layers,
    wrapped,
)

HIDDEN = np.maximum(RECORDS.astype(np.float64) @ WEIGHTS[0] + BIASES[0], 0.0)


def test_layers_are_listed_with_shapes_and_parameters(tmp_path: Path) -> None:
    TensorflowModel.write_dense(tmp_path / "dense.keras", WEIGHTS, BIASES)
    found = loaded(tmp_path / "dense.keras").layers()
    assert [(layer.index, layer.name, layer.kind, layer.shape, layer.parameters) for layer in found] == [
        (0, "fc0", "Dense", (None, 8), 56),
        (1, "logits", "Dense", (None, CLASSES), 36),
    ]


@pytest.mark.parametrize("layer", ["hidden", "0", "-2"])
def test_activations_are_had_by_name_and_by_index(layer: str) -> None:
    model = wrapped(two_layers("softmax"))
    found = model.activations(X, [layer])
    assert list(found) == [layer]
    np.testing.assert_allclose(found[layer], HIDDEN, atol=1e-5)


def test_one_pass_answers_predictions_and_activations() -> None:
    labels = np.arange(len(RECORDS)) % CLASSES
    model = wrapped(two_layers("softmax", 100.0))
    outputs = model.ask(X, labels, Want(predictions=True, activations=frozenset({"hidden", "-1"})))
    np.testing.assert_allclose(outputs.activations["hidden"], HIDDEN, atol=1e-5)
    np.testing.assert_allclose(outputs.activations["-1"].sum(axis=1), 1.0, atol=1e-5)
    assert outputs.predictions is not None
    np.testing.assert_array_equal(outputs.predictions, model.predict(X))


def nested() -> Any:
    k = keras()
    first = k.Input((6,), name="x")
    hidden = k.layers.Dense(8, activation="relu", name="hidden")
    deepest = k.Sequential([k.Input((6,)), hidden], name="deepest")
    base = k.Model(first, k.layers.BatchNormalization(name="bn")(deepest(first)), name="base")
    hidden.set_weights([WEIGHTS[0], BIASES[0]])
    last = k.layers.Dense(CLASSES, name="scores")
    net = k.Sequential([k.Input((6,), name="x"), base, k.layers.Dropout(0.5, name="drop"), last])
    last.set_weights([WEIGHTS[1], BIASES[1]])
    return net


def test_networks_within_networks_are_opened() -> None:
    model = wrapped(nested())
    names = [layer.name for layer in model.layers()]
    assert names == ["base/deepest/hidden", "base/bn", "drop", "scores"]
    assert [layer.parameters for layer in model.layers()] == [56, 16, 0, 36]  # running statistics are no parameters
    found = model.activations(X, ["base/deepest/hidden", "base/bn", "-1"])
    np.testing.assert_allclose(found["base/deepest/hidden"], HIDDEN, atol=1e-5)
    np.testing.assert_allclose(found["base/bn"], HIDDEN / np.sqrt(1.001), atol=1e-5)
    np.testing.assert_array_equal(found["-1"], model.predict(X))


def test_a_layer_that_is_called_twice_has_two_outputs() -> None:
    k = keras()
    first = k.Input((6,), name="x")
    shared = k.layers.Dense(6, name="shared")
    net = k.Model(first, k.layers.Dense(CLASSES, name="scores")(k.ops.tanh(shared(shared(first)))))
    model = wrapped(net)
    assert [(layer.name, layer.parameters) for layer in model.layers()] == [
        ("shared", 42),
        ("shared#1", 0),
        ("tanh", 0),
        ("scores", 28),
    ]
    found = model.activations(X, ["shared", "shared#1", "tanh"])
    weight, bias = shared.get_weights()
    np.testing.assert_allclose(found["shared#1"], found["shared"] @ weight + bias, atol=1e-5)
    np.testing.assert_allclose(found["tanh"], np.tanh(found["shared#1"]), atol=1e-5)


def test_dropout_and_batch_statistics_are_those_of_inference() -> None:
    model = wrapped(nested())
    np.testing.assert_array_equal(model.predict(X), model.predict(X))
    alone = np.concatenate([model.predict({"x": RECORDS[i : i + 1]}) for i in range(len(RECORDS))])
    np.testing.assert_allclose(alone, model.predict(X), atol=1e-5)


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(InputError, match=r"has no layer 'hiden' \(did you mean 'hidden'\?\); it has layers 0..1"):
        wrapped(two_layers()).activations(X, ["hiden"])


def test_other_models_have_no_layers(tmp_path: Path) -> None:
    saved = loaded(save_module(tmp_path / "model", lambda x, z: framework().nn.softmax(z)))
    assert saved.layers() == ()
    with pytest.raises(InputError, match="has no layers that can be read"):
        saved.activations(X, ["0"])
    np.testing.assert_allclose(saved.predict(X), expected_logits(), atol=1e-5)


def test_recurrent_and_masked_layers_are_read() -> None:
    k = keras()
    words = k.Input((5,), dtype="int32", name="words")
    tensor = k.layers.Embedding(20, 8, mask_zero=True, name="embedding")(words)
    tensor = k.layers.Bidirectional(k.layers.LSTM(4), name="memory")(tensor)
    net = k.Model(words, k.layers.Dense(3, activation="softmax")(tensor))
    given = {"words": np.random.default_rng(3).integers(0, 20, (30, 5))}
    model = TensorflowModel.wrap(net, TensorflowOptions())
    assert model.describe().inputs[0].dtype == "int32"
    model.prepare(given)
    found = model.predict(given)
    expected = np.asarray(net(given["words"]))
    shares = np.exp(found - found.max(axis=1, keepdims=True))
    np.testing.assert_allclose(shares / shares.sum(axis=1, keepdims=True), expected, atol=1e-5)
    assert model.describe().pre_softmax
    assert model.activations(given, ["memory"])["memory"].shape == (30, 8)


def test_asking_leaves_no_losses_and_no_states_behind() -> None:
    k = keras()
    first = k.Input(batch_shape=(5, 3, 6), name="x")
    memory = k.layers.SimpleRNN(4, stateful=True)
    net = k.Model(first, k.layers.Dense(CLASSES, activity_regularizer="l2")(memory(first)))
    given = {"x": np.random.default_rng(2).normal(size=(5, 3, 6)).astype(np.float32)}
    model = TensorflowModel.wrap(net, TensorflowOptions())
    model.prepare(given)
    answers = model.predict(given)
    np.testing.assert_array_equal(model.predict(given), answers)
    assert net.losses == []
    np.testing.assert_array_equal(np.asarray(memory.states[0]), 0.0)
    np.testing.assert_allclose(np.asarray(net(given["x"])), answers, atol=1e-6)
