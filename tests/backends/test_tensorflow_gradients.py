"""Gradients of Keras models and SavedModels against a tape for each record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmcore.errors import AuditError, ModelError
from pmcore.interfaces import Array, Floats, GradientRequest, Task, Want
from pmcore.sketches import parameter_sketch
from pmcore.whitebox_signals import LastLayerGradientNorm
from pmcore_tensorflow import TensorflowModel, TensorflowOptions, gradients
from pmcore_tensorflow.gradients import LOOP, VECTORISED
from tests.backends.tensorflow_builders import framework, keras, two_layers
from tests.backends.tensorflow_networks import LABELS, NETWORKS, N, by_tape, made, parameters, ready, records

EVERY = GradientRequest()
ORDERS = (1.0, 2.0, np.inf)
SIZE = 5
METHODS = dict.fromkeys(NETWORKS, VECTORISED) | {"grouped": LOOP, "recurrent": LOOP, "attention": LOOP}
PRECISIONS = {"float32": 1e-5, "float64": 1e-6}


def norms_of(parts: Sequence[Floats], order: float) -> Floats:
    flat = np.hstack([part.reshape(len(part), -1) for part in parts])
    found: Floats = np.linalg.norm(flat, order, axis=1)
    return found


def sketches_of(parts: Sequence[Floats]) -> Floats:
    found = np.zeros((len(parts[0]), SIZE))
    for position, part in enumerate(parts):
        rows = part.shape[1] if part.ndim > 1 else 1
        sketch = parameter_sketch(part.shape[1:], SIZE, position)
        found += sketch.of_matrices(part.reshape(len(part), rows, -1))
    return found


def assert_near(found: Array, expected: Array, tolerance: float) -> None:
    """Compare to what a record has at most: a sketch has no digits where its numbers cancel."""
    scale = np.abs(expected).max(axis=tuple(range(1, expected.ndim)), keepdims=True)
    assert found.shape == expected.shape
    assert np.all(np.abs(found - expected) <= tolerance * scale)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in NETWORKS for dtype in PRECISIONS if (name, dtype) != ("normalised", "float64")],
)
def test_gradients_are_those_of_a_tape_for_each_record(name: str, dtype: str) -> None:
    net, tolerance = made(name, dtype), PRECISIONS[dtype]
    given = records(net)
    expected = by_tape(net, given)
    every = [part for own in expected.values() for part in own]
    model = ready(net, given)
    layers = tuple(layer.name for layer in model.layers() if layer.parameters)
    assert set(layers) == set(expected)
    norms = [GradientRequest(chosen, order=order) for chosen in ((), layers) for order in ORDERS]
    sketch = GradientRequest(layers, reduction="sketch", size=SIZE)
    found = model.gradients(given, LABELS, [*norms, sketch])
    for order in ORDERS:
        total = found[GradientRequest(order=order)]
        assert_near(total, norms_of(every, order)[:, None], tolerance)
        by_layer = found[GradientRequest(layers, order=order)]
        for column, layer in zip(by_layer.T, layers, strict=True):
            assert_near(column, norms_of(expected[layer], order), tolerance)
        np.testing.assert_allclose(np.linalg.norm(by_layer, order, axis=1), total[:, 0], rtol=1e-12)
    for part, layer in zip(np.split(found[sketch], len(layers), axis=1), layers, strict=True):
        assert_near(part, sketches_of(expected[layer]), tolerance)
    source = model.gradient_source()
    assert source is not None
    assert (source.tier, source.method, source.precision) == ("framework", METHODS[name], dtype)
    assert sum(layer.parameters for layer in model.layers()) == sum(part[0].size for part in every)


def model_of(name: str) -> tuple[TensorflowModel, dict[str, Array]]:
    net = made(name)
    given = records(net)
    return ready(net, given), given


@pytest.mark.parametrize("name", ["convolutional", "recurrent", "two inputs"])
def test_a_gradient_depends_on_neither_the_company_nor_the_order_of_records(name: str) -> None:
    model, given = model_of(name)
    layers = tuple(layer.name for layer in model.layers())
    requests = [EVERY, GradientRequest(layers), GradientRequest(layers, reduction="sketch", size=SIZE)]
    together = model.gradients(given, LABELS, requests)
    order = np.random.default_rng(1).permutation(N)
    shuffled = model.gradients({key: array[order] for key, array in given.items()}, LABELS[order], requests)
    alone = [
        model.gradients({k: a[i : i + 1] for k, a in given.items()}, LABELS[i : i + 1], requests) for i in range(N)
    ]
    for request in requests:
        assert_near(shuffled[request], together[request][order], 1e-6)
        assert_near(np.concatenate([one[request] for one in alone]), together[request], 1e-6)


@pytest.mark.parametrize(("budget", "method"), [(1, LOOP), (3_000, VECTORISED), (2**28, VECTORISED)])
def test_neither_the_method_nor_the_chunk_changes_a_gradient(
    budget: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, given = model_of("dense")
    requests = [EVERY, GradientRequest(("bare", "scores"), reduction="sketch", size=SIZE)]
    expected = usual.gradients(given, LABELS, requests)
    monkeypatch.setattr(gradients, "_BUDGET", budget)
    model, _ = model_of("dense")
    found = model.gradients(given, LABELS, requests)
    source = model.gradient_source()
    assert source is not None
    assert source.method == method
    for request in requests:
        assert_near(found[request], expected[request], 1e-6)


def test_of_a_vectorised_pass_that_gives_something_else_the_loop_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    tf = framework()
    usual, given = model_of("dense")
    expected = usual.gradients(given, LABELS, [EVERY])[EVERY]
    right = tf.vectorized_map
    monkeypatch.setattr(tf, "vectorized_map", lambda function, given: [2 * one for one in right(function, given)])
    model, _ = model_of("dense")
    np.testing.assert_allclose(model.gradients(given, LABELS, [EVERY])[EVERY], expected, rtol=1e-6)
    source = model.gradient_source()
    assert source is not None
    assert source.method == LOOP


@pytest.mark.parametrize(("shape", "unsafe"), [((None, 7, 12), False), ((None, 1, 7, 12), True)])
def test_products_that_onednn_computes_wrongly_are_not_asked_for(shape: tuple[int | None, ...], unsafe: bool) -> None:
    tf = framework()
    function = tf.function(lambda x: tf.matmul(x, tf.ones((12, 6))), input_signature=[tf.TensorSpec(shape)])
    assert gradients._unsafe(function.get_concrete_function().graph) is unsafe


def test_the_gradients_of_very_confident_records_neither_vanish_nor_tie() -> None:
    x = np.random.default_rng(8).normal(size=(200, 6)).astype(np.float32)
    model = ready(two_layers("softmax", 50.0), {"x": x})
    labels = model.predict({"x": x}).argmax(axis=1)
    last = GradientRequest(("scores",))
    want = Want(predictions=True, head_input=True, gradients=frozenset({last, EVERY}))
    outputs = model.ask({"x": x}, labels, want)
    closed = LastLayerGradientNorm().compute(outputs)
    assert closed.min() < 1e-100
    np.testing.assert_allclose(outputs.gradients[last][:, 0], closed, rtol=1e-5)
    every = outputs.gradients[EVERY][:, 0]
    assert (every > 0).all()
    assert len(np.unique(every)) == len(np.unique(model.predict({"x": x}), axis=0))


def test_where_nothing_is_left_to_learn_the_gradient_is_nothing() -> None:
    x = np.full((3, 6), 1e4, dtype=np.float32)
    model = ready(two_layers("softmax", 50.0), {"x": x})
    labels = model.predict({"x": x}).argmax(axis=1)
    np.testing.assert_array_equal(model.gradients({"x": x}, labels, [EVERY])[EVERY], 0.0)


def test_layers_without_parameters_and_second_calls_have_gradients_of_nothing() -> None:
    model, given = model_of("tied")
    names = tuple(layer.name for layer in model.layers())
    assert names == ("shared", "twice/inner", "shared#1", "twice/inner#1", "scores")
    requests = [GradientRequest(names), GradientRequest(names, reduction="sketch", size=SIZE)]
    found = model.gradients(given, LABELS, requests)
    assert (found[requests[0]] > 0).all(axis=0).tolist() == [True, True, False, False, True]
    np.testing.assert_array_equal(found[requests[0]][:, 2:4], 0.0)
    np.testing.assert_array_equal(found[requests[1]][:, 2 * SIZE : 4 * SIZE], 0.0)


def test_frozen_weights_are_parameters_and_running_statistics_are_none() -> None:
    net = made("convolutional")
    given = records(net)
    expected = ready(net, given).gradients(given, LABELS, [EVERY])[EVERY]
    net.trainable = False
    model = ready(net, given)
    np.testing.assert_array_equal(model.gradients(given, LABELS, [EVERY])[EVERY], expected)
    counted = {layer.name: layer.parameters for layer in model.layers() if layer.parameters}
    assert counted == {name: sum(int(np.prod(v.shape)) for v in own) for name, own in parameters(net).items()}
    assert counted["norm"] == 8


TASKS: dict[Task, tuple[str | None, int, Array]] = {
    Task.BINARY: ("sigmoid", 1, LABELS % 2),
    Task.MULTILABEL: ("sigmoid", 3, np.arange(3 * N).reshape(N, 3) % 2),
    Task.REGRESSION: (None, 1, np.linspace(-1.0, 2.0, N)),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_is_that_of_the_task(task: Task) -> None:
    tf = framework()
    activation, units, labels = TASKS[task]
    net = two_layers(activation, units=units)
    x = np.random.default_rng(5).normal(size=(N, 6)).astype(np.float32)
    model = ready(net, {"x": x})
    assert model.describe().task is task
    targets = labels.reshape(N, units).astype(np.float32)
    expected = []
    for record, target in zip(x, targets, strict=True):
        with tf.GradientTape() as tape:
            answer = net(record[None], training=False)[0]
            entropy = -target * tf.math.log(answer) - (1 - target) * tf.math.log(1 - answer)
            loss = tf.reduce_sum((answer - target) ** 2 if task is Task.REGRESSION else entropy)
        own = tape.gradient(loss, [variable.value for variable in net.trainable_variables])
        expected.append(np.sqrt(sum(float(tf.reduce_sum(part**2)) for part in own)))
    np.testing.assert_allclose(model.gradients({"x": x}, labels, [EVERY])[EVERY][:, 0], expected, rtol=1e-3)


def test_a_fixed_batch_gives_the_gradients_that_a_free_one_gives() -> None:
    k = keras()
    net = made("dense")
    fixed = k.Model(first := k.Input(batch_shape=(3, 6), name="x"), net(first))
    given = records(net)
    expected = ready(net, given).gradients(given, LABELS, [EVERY])[EVERY]
    found = ready(fixed, given).gradients(given, LABELS, [EVERY])[EVERY]
    assert_near(found, expected, 1e-6)


def test_an_output_that_is_not_read_adds_nothing() -> None:
    k = keras()
    net = made("dense")
    aside = k.layers.Dense(2, name="aside")
    both = k.Model(net.input, {"scores": net.output, "aside": aside(net.input)})
    given = records(net)
    found = ready(both, given, output="scores").gradients(given, LABELS, [EVERY, wish := GradientRequest(("aside",))])
    assert_near(found[EVERY], ready(net, given).gradients(given, LABELS, [EVERY])[EVERY], 1e-6)
    np.testing.assert_array_equal(found[wish], 0.0)


def test_a_model_that_is_no_network_of_layers_has_one_gradient_over_all() -> None:
    k = keras()
    net = made("dense")

    class Own(k.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def call(self, x: Any, training: bool = False) -> Any:
            return self.net(x, training=training)

    own, given = Own(), records(net)
    own(given["x"])
    model = ready(own, given)
    assert model.layers() == ()
    expected = ready(net, given).gradients(given, LABELS, [EVERY])[EVERY]
    np.testing.assert_allclose(model.gradients(given, LABELS, [EVERY])[EVERY], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["dense", "convolutional", "attention"])
def test_a_saved_model_has_the_gradients_of_the_model_that_was_saved(name: str, tmp_path: Path) -> None:
    net = made(name)
    given = records(net)
    net.export(str(tmp_path / "model"), verbose=False)
    model = TensorflowModel.load(tmp_path / "model", TensorflowOptions())
    model.prepare(given)
    usual = ready(net, given)
    want = Want(head_input=True, gradients=frozenset({EVERY}))
    assert model.obstacle(want) is None
    found, expected = (one.ask(given, LABELS, want) for one in (model, usual))
    np.testing.assert_allclose(found.gradients[EVERY], expected.gradients[EVERY], rtol=1e-5)
    assert found.head_input is not None
    assert expected.head_input is not None
    np.testing.assert_allclose(found.head_input.values, expected.head_input.values, rtol=1e-5, atol=1e-6)


def save_single(folder: Path, between: Callable[[Any], Any]) -> Path:
    """Save a SavedModel that takes one record at a time, without a batch axis."""
    tf = framework()
    root = tf.Module()
    root.weights = tf.Variable(np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32))

    def call(x: Any) -> Any:
        return tf.linalg.matvec(between(root.weights), x, transpose_a=True)

    root.call = tf.function(call, input_signature=[tf.TensorSpec((6,), tf.float32, name="x")])
    tf.saved_model.save(root, str(folder), signatures={"serving_default": root.call})
    return folder


def test_a_model_of_single_records_has_their_gradients(tmp_path: Path) -> None:
    model = TensorflowModel.load(save_single(tmp_path / "model", lambda weights: weights), TensorflowOptions())
    x = np.random.default_rng(5).normal(size=(N, 6)).astype(np.float32)
    model.prepare({"x": x})
    outputs = model.ask({"x": x}, LABELS, Want(predictions=True, gradients=frozenset({EVERY})))
    expected = np.linalg.norm(outputs.loss_gradient, axis=1) * np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(outputs.gradients[EVERY][:, 0], expected, rtol=1e-5)


def test_predictions_that_no_weight_changes_smoothly_have_no_gradient(tmp_path: Path) -> None:
    tf = framework()
    path = save_single(tmp_path / "model", lambda weights: tf.cast(tf.cast(weights * 10, tf.int32), tf.float32))
    model = TensorflowModel.load(path, TensorflowOptions())
    with pytest.raises(ModelError, match="model: no weight changes its predictions smoothly"):
        model.gradients({"x": np.ones((2, 6), dtype=np.float32)}, np.zeros(2, dtype=np.int64), [EVERY])


def test_a_saved_model_of_constants_is_refused(tmp_path: Path) -> None:
    tf = framework()
    root = tf.Module()
    weights = tf.constant(np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32))
    signature = [tf.TensorSpec((None, 6), tf.float32, name="x")]
    root.call = tf.function(lambda x: tf.nn.softmax(x @ weights), input_signature=signature)
    tf.saved_model.save(root, str(tmp_path / "model"), signatures={"serving_default": root.call})
    model = TensorflowModel.load(tmp_path / "model", TensorflowOptions())
    reason = model.obstacle(Want(gradients=frozenset({EVERY})))
    assert reason == "its weights are no variables of TensorFlow; save the model without freezing them"
    with pytest.raises(ModelError, match=f"gradients cannot be had: {reason}"):
        model.gradients({"x": np.zeros((2, 6), dtype=np.float32)}, np.zeros(2, dtype=np.int64), [EVERY])


def test_integers_have_no_gradients() -> None:
    net = made("dense")
    given = records(net)
    net.quantize("int8")
    model = ready(net, given)
    assert model.obstacle(Want(predictions=True)) is None
    reason = model.obstacle(Want(gradients=frozenset({EVERY})))
    assert reason == "layer 'hidden' is quantised; give the model as it was before that"


def test_half_precision_is_near_and_the_report_tells() -> None:
    k = keras()
    net = made("dense")
    half = k.models.clone_model(
        net, clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "dtype": "mixed_float16"})
    )
    half.set_weights(net.get_weights())
    given = records(net)
    model = ready(half, given)
    found = model.gradients(given, LABELS, [EVERY])[EVERY]
    assert_near(found, ready(net, given).gradients(given, LABELS, [EVERY])[EVERY], 1e-2)

    source = model.gradient_source()
    assert source is not None
    assert source.precision == "mixed_float16"


def test_a_closed_model_gives_no_gradients() -> None:
    model, given = model_of("dense")
    model.close()
    for question in (lambda: model.gradients(given, LABELS, [EVERY]), lambda: model.head_input(given)):
        with pytest.raises(AuditError, match="was closed"):
            question()
