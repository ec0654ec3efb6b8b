"""Which output of a TensorFlow model is read, before which activation, and what its numbers are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

from pmcore.errors import AuditError, InputError, ModelError
from pmcore.interfaces import Array, Scale, Task
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from tests.backends.tensorflow_builders import (
    BIASES,
    CLASSES,
    FEATURES,
    RECORDS,
    WEIGHTS,
    X,
    expected_logits,
    framework,
    keras,
    loaded,
    module,
    save_module,
    two_layers,
    wrapped,
)


def subclassed(call: Callable[[Any, Any], Any]) -> Any:
    """Return a Keras model with a `call` of its own, called once."""
    k = keras()

    class Own(k.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.hidden = k.layers.Dense(8, activation="relu")
            self.scores = k.layers.Dense(CLASSES)

        def call(self, x: Any) -> Any:
            return call(k, self.scores(self.hidden(x)))

    model = Own()
    model(RECORDS[:3])
    model.hidden.set_weights([WEIGHTS[0], BIASES[0]])
    model.scores.set_weights([WEIGHTS[1] * 100, BIASES[1] * 100])
    return model


def with_layers(*names: str) -> Any:
    """Return the network of these tests with layers after it."""
    k = keras()
    net = two_layers(scale=100.0)
    tensor = net.output
    for name in names:
        if name == "nested":
            inner = k.Sequential([k.Input((CLASSES,)), k.layers.Softmax()], name="inner")
            tensor = inner(tensor)
        elif name == "operation":
            tensor = k.ops.softmax(tensor)
        elif name == "reshape":
            tensor = k.layers.Reshape((1, CLASSES))(tensor)
        else:
            tensor = getattr(k.layers, name)()(tensor)
    return k.Model(net.input, tensor)


SOFTMAX_ENDINGS: dict[str, Callable[[], Any]] = {
    "activation of the last layer": lambda: two_layers("softmax", 100.0),
    "activation as a function": lambda: two_layers(keras().activations.softmax, 100.0),
    "layer": lambda: with_layers("Softmax"),
    "layer, flatten": lambda: with_layers("Softmax", "Flatten", "Identity"),
    "between reshapes": lambda: with_layers("reshape", "Softmax", "Flatten"),
    "operation": lambda: with_layers("operation"),
    "network in a network": lambda: with_layers("nested"),
    "subclass": lambda: subclassed(lambda k, z: k.ops.softmax(z)),
    "subclass with a function": lambda: subclassed(lambda k, z: framework().function(k.ops.softmax)(z)),
}


@pytest.mark.parametrize("name", SOFTMAX_ENDINGS)
def test_keras_models_are_read_before_the_softmax(name: str) -> None:
    net = SOFTMAX_ENDINGS[name]()
    answers = np.asarray(net(RECORDS))
    model = wrapped(net)
    said = model.describe()
    assert (said.scale, said.pre_softmax, said.resolution_limited) == (Scale.LOGITS, True, False)
    assert (said.task, said.classes) == (Task.MULTICLASS, CLASSES)
    found = model.predict(X)
    np.testing.assert_allclose(found, expected_logits(100.0), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(softmax(found, axis=1), answers.reshape(-1, CLASSES), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(net(RECORDS)), answers)  # the model is as it was


def test_the_activation_of_the_users_model_is_untouched() -> None:
    net = two_layers("softmax")
    before = [(layer.name, getattr(layer, "activation", None)) for layer in net.layers]
    weights = [array.copy() for array in net.get_weights()]
    model = wrapped(net)
    model.predict(X)
    model.activations(X, ["hidden"])
    assert [(layer.name, getattr(layer, "activation", None)) for layer in net.layers] == before
    for found, expected in zip(net.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_exports_of_keras_are_read_before_the_softmax(tmp_path: Path) -> None:
    two_layers("softmax", 100.0).export(str(tmp_path / "model"), verbose=False)
    model = loaded(tmp_path / "model")
    assert model.describe().pre_softmax
    assert "PartitionedCall" not in model.describe().output
    np.testing.assert_allclose(model.predict(X), expected_logits(100.0), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "SimpleRNN"])
def test_exports_with_loops_are_read_before_the_sigmoid(tmp_path: Path, kind: str) -> None:
    k = keras()
    words = k.Input((5,), dtype="int32", name="words")
    memory = getattr(k.layers, kind)(8)(k.layers.Embedding(20, 4)(words))
    net = k.Model(words, k.layers.Dense(1, activation="sigmoid")(memory))
    net.export(str(tmp_path / "model"), verbose=False)
    given = {"words": np.random.default_rng(3).integers(0, 20, (30, 5))}
    model = TensorflowModel.load(tmp_path / "model", TensorflowOptions())
    model.prepare(given)
    assert model.describe().pre_softmax
    np.testing.assert_allclose(expit(model.predict(given)), np.asarray(net(given["words"])), atol=1e-5)


ENDINGS: dict[str, tuple[Callable[[Any, Any], Any], Task, bool]] = {
    "softmax": (lambda tf, z: tf.nn.softmax(z), Task.MULTICLASS, True),
    "log-softmax": (lambda tf, z: tf.nn.log_softmax(z), Task.MULTICLASS, True),
    "exponential of log-softmax": (lambda tf, z: tf.exp(tf.nn.log_softmax(z)), Task.MULTICLASS, True),
    "sigmoid": (lambda tf, z: tf.sigmoid(z), Task.MULTILABEL, True),
    "logits": (lambda tf, z: z, Task.MULTICLASS, False),
    "inner function": (lambda tf, z: tf.function(tf.nn.softmax)(z), Task.MULTICLASS, True),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_saved_models_are_read_before_their_activation(tmp_path: Path, name: str) -> None:
    ending, task, stepped = ENDINGS[name]
    model = loaded(save_module(tmp_path / "model", lambda x, z: ending(framework(), z * 50.0)))
    said = model.describe()
    assert (said.task, said.scale, said.pre_softmax) == (task, Scale.LOGITS, stepped)
    np.testing.assert_allclose(model.predict(X), expected_logits(50.0), rtol=1e-5, atol=1e-3)


def test_what_cannot_be_stepped_over_is_read_as_probabilities(tmp_path: Path) -> None:
    tf = framework()
    model = loaded(save_module(tmp_path / "model", lambda x, z: tf.nn.softmax(z) * 1.0))
    said = model.describe()
    assert (said.scale, said.pre_softmax, said.resolution_limited) == (Scale.PROBABILITIES, False, True)
    np.testing.assert_allclose(model.predict(X), softmax(expected_logits(), axis=1), atol=1e-5)


def test_a_model_whose_answers_change_when_it_is_looked_into_is_read_as_it_stands(tmp_path: Path) -> None:
    tf = framework()
    asked = tf.Variable(0.0)
    root = module(lambda x, logits: tf.nn.softmax(logits * asked.assign_add(1.0)))
    root.asked = asked
    tf.saved_model.save(root, str(tmp_path / "model"))
    said = loaded(tmp_path / "model").describe()
    assert (said.scale, said.pre_softmax, said.resolution_limited) == (Scale.PROBABILITIES, False, True)


def test_one_sigmoid_is_a_binary_model() -> None:
    model = wrapped(two_layers("sigmoid", 10.0, units=1))
    said = model.describe()
    assert (said.task, said.classes, said.scale, said.pre_softmax) == (Task.BINARY, 2, Scale.LOGITS, True)
    logits = model.predict(X)
    np.testing.assert_allclose(logits, expected_logits(10.0)[:, :1], rtol=1e-5, atol=1e-4)


def test_one_column_without_an_activation_is_a_regression_unless_told_otherwise() -> None:
    assert wrapped(two_layers(units=1)).describe().task is Task.REGRESSION
    assert wrapped(two_layers(units=1), task=Task.BINARY).describe().task is Task.BINARY


def two_heads() -> Any:
    k = keras()
    net = two_layers()
    other = k.layers.Dense(2, activation="softmax", name="other")(net.layers[1].output)
    return k.Model(net.input, [net.output, other])


def test_the_output_is_chosen_and_named() -> None:
    model = wrapped(two_heads(), output="scores")
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)
    other = wrapped(two_heads())
    assert other.describe().classes == 2  # it ends in an activation
    with pytest.raises(InputError, match=r"has no output 'nowhere'.*; its outputs are 'scores', 'other'"):
        wrapped(two_heads(), output="nowhere")


def test_outputs_of_a_dictionary_have_its_keys() -> None:
    k = keras()
    net = two_layers()
    labels = k.ops.argmax(net.output, axis=-1)
    model = wrapped(k.Model(net.input, {"class": labels, "logits": net.output}))
    assert model.describe().output == "logits"
    with pytest.raises(ModelError, match="holds labels"):
        wrapped(k.Model(net.input, {"class": labels, "logits": net.output}), output="class")
    with pytest.raises(ModelError, match="returns labels alone"):
        wrapped(k.Model(net.input, labels))


@pytest.mark.parametrize("structure", ["list", "dictionary"])
def test_several_inputs_are_given_by_name(structure: str) -> None:
    k = keras()
    left, right = k.Input((2,), name="left"), k.Input((4,), name="right")
    joined = k.layers.Concatenate()([left, right])
    net = two_layers()
    taken = [right, left] if structure == "list" else {"b": right, "a": left}
    model = TensorflowModel.wrap(k.Model(taken, net(joined)), TensorflowOptions())
    given = {"left": RECORDS[:, :2], "right": RECORDS[:, 2:]}
    model.prepare(given)
    np.testing.assert_allclose(model.predict(given), expected_logits(), atol=1e-5)
    with pytest.raises(InputError, match="'right' is not among"):
        model.predict({"left": RECORDS, "write": RECORDS})


def test_sequences_of_predictions_are_refused() -> None:
    k = keras()
    first = k.Input((5, FEATURES))
    with pytest.raises(InputError, match="not a classification head"):
        TensorflowModel.wrap(k.Model(first, k.layers.Dense(4)(first)), TensorflowOptions())


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    k = keras()
    first = k.Input(batch_shape=(7, FEATURES), name="x")
    model = wrapped(k.Model(first, two_layers()(first)))
    assert model.describe().batch == 7
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)
    saved = loaded(save_module(tmp_path / "model", lambda x, z: z, (7, FEATURES)))
    assert saved.describe().batch == 7
    np.testing.assert_allclose(saved.predict(X), expected_logits(), atol=1e-5)


def signed(folder: Path, *names: str) -> Path:
    tf = framework()

    class Several(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(1.0)

        @tf.function(input_signature=[tf.TensorSpec((None, CLASSES), tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def same(self, x: Any) -> Any:
            return {"scores": x * self.factor}

        @tf.function(input_signature=[tf.TensorSpec((None, CLASSES), tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def twice(self, x: Any) -> Any:
            return {"scores": 2.0 * x * self.factor}

    root = Several()
    functions = {"same": root.same, "twice": root.twice, "serving_default": root.same}
    tf.saved_model.save(root, str(folder), signatures={name: functions[name] for name in names})
    return folder


def test_signatures_are_chosen_by_name(tmp_path: Path) -> None:
    records: Array = RECORDS[:, :CLASSES]

    def answers(path: Path, signature: str | None) -> Array:
        model = TensorflowModel.load(path, TensorflowOptions(signature=signature))
        model.prepare({"x": records})
        return model.predict({"x": records})

    both = signed(tmp_path / "both", "same", "twice")
    np.testing.assert_array_equal(answers(both, "twice"), 2 * records)
    with pytest.raises(InputError, match="choose one with --backend tensorflow:signature=NAME"):
        answers(both, None)
    with pytest.raises(InputError, match="has no signature 'third'; its signatures are 'same', 'twice'"):
        answers(both, "third")
    usual = signed(tmp_path / "usual", "serving_default", "twice")
    np.testing.assert_array_equal(answers(usual, None), records)
    with pytest.raises(InputError, match="has no signature to be asked"):
        answers(signed(tmp_path / "none"), None)


def test_a_signature_of_a_keras_model_is_refused() -> None:
    with pytest.raises(InputError, match="a Keras model has none"):
        wrapped(two_layers(), signature="serving_default")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float16"])
def test_half_precision_is_named_and_widened(policy: str) -> None:
    k = keras()
    hidden = k.layers.Dense(8, activation="relu", dtype=policy)
    last = k.layers.Dense(CLASSES, activation="softmax", dtype=policy)
    net = k.Sequential([k.Input((FEATURES,), name="x"), hidden, last])
    net.set_weights([WEIGHTS[0], BIASES[0], WEIGHTS[1], BIASES[1]])
    model = wrapped(net)
    assert model.describe().precision == policy
    assert model.describe().pre_softmax
    found = model.predict(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected_logits(), atol=0.2)
    assert model.activations(X, ["0"])["0"].dtype in (np.float16, np.float32)
    assert k.config.dtype_policy().name == "float32"


def test_probabilities_of_many_columns_are_no_sigmoid() -> None:
    values = wrapped(two_layers("sigmoid"))
    assert values.describe().task is Task.MULTILABEL
    np.testing.assert_allclose(expit(values.predict(X)), expit(expected_logits()), atol=1e-5)


def test_the_task_must_fit() -> None:
    with pytest.raises(AuditError, match="use --task multiclass"):
        wrapped(two_layers("softmax"), task=Task.MULTILABEL)
