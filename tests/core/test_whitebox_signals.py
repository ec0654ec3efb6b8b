"""Signals that look into a model, and the layers by which they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pmcore.errors import InputError
from pmcore.interfaces import GradientRequest, HeadInput, Layer, Outputs, Scale, Signal, Task
from pmcore.layers import LayersUnknown, chosen
from pmcore.options import build
from pmcore.outputs import Array, Floats
from pmcore.signals import Loss
from pmcore.whitebox_signals import Activations, GradientNorm, GradientSketch, LastLayerGradientNorm
from pmcore.wishes import wish_of
from tests.core.cases import make_case

LAYERS = (
    Layer(0, "fc0", "Gemm", ("n", 4), 20),
    Layer(1, "relu", "Relu", ("n", 4), 0),
    Layer(2, "3", "Gemm", ("n", 4), 20),
    Layer(3, "softmax", "Softmax", ("n", 4), 0),
)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (("fc0",), ("fc0",)),
        (("1",), ("relu",)),
        (("-1",), ("softmax",)),
        (("3",), ("3",)),
        (("last",), ("3",)),
        (("*",), ("fc0", "3")),
        (("-4", "fc0", "last"), ("fc0", "3")),
        ((), ()),
    ],
)
def test_layers_are_chosen_by_name_index_or_word(wanted: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert tuple(layer.name for layer in chosen(LAYERS, wanted)) == names


def test_a_layer_that_is_not_there_is_refused_with_a_guess() -> None:
    with pytest.raises(InputError, match=r"'rellu' - no such layer \(did you mean 'relu'\?\); there are 0\.\.3"):
        chosen(LAYERS, ("rellu",))
    with pytest.raises(InputError, match="'7' - no such layer"):
        chosen(LAYERS, ("7",))


def test_words_for_layers_of_a_model_that_lists_none_are_no_fault_of_the_user() -> None:
    with pytest.raises(LayersUnknown):
        chosen((), ("last",))
    with pytest.raises(LayersUnknown):
        chosen(LAYERS[1:2], ("*",))


@pytest.mark.parametrize(
    ("task", "scale", "classes"),
    [
        (Task.MULTICLASS, Scale.LOGITS, 5),
        (Task.MULTICLASS, Scale.PROBABILITIES, 5),
        (Task.BINARY, Scale.LOGITS, 1),
        (Task.BINARY, Scale.LOGITS, 2),
        (Task.BINARY, Scale.PROBABILITIES, 1),
        (Task.MULTILABEL, Scale.LOGITS, 4),
        (Task.MULTILABEL, Scale.PROBABILITIES, 4),
        (Task.REGRESSION, Scale.VALUES, 2),
    ],
)
def test_the_gradient_of_the_loss_is_that_of_the_signal_loss(task: Task, scale: Scale, classes: int) -> None:
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=(9, classes))
    labels: Array = rng.integers(0, max(classes, 2), 9)
    if task is Task.MULTILABEL:
        labels = rng.integers(0, 2, (9, classes))
    elif task is Task.REGRESSION:
        labels = rng.normal(size=(9, classes))
    if scale is Scale.PROBABILITIES:
        predictions = np.exp(predictions)
        predictions /= predictions.sum(axis=1, keepdims=True) if task is Task.MULTICLASS else 1 + predictions
    step = 1e-6
    expected = np.empty_like(predictions)
    for column in range(classes):
        moved = np.zeros_like(predictions)
        moved[:, column] = step
        up, down = (Loss().compute(Outputs(task, scale, labels, predictions + d)) for d in (moved, -moved))
        expected[:, column] = (up - down) / (2 * step)
    found = Outputs(task, scale, labels, predictions).loss_gradient
    np.testing.assert_allclose(found, expected, atol=1e-8, rtol=1e-6)


def test_the_gradient_of_a_very_confident_record_keeps_its_precision() -> None:
    logits = np.array([[200.0, 0.0, -1.0], [300.0, 0.0, -1.0]])
    gradient = Outputs(Task.MULTICLASS, Scale.LOGITS, np.array([0, 0]), logits).loss_gradient
    np.testing.assert_allclose(gradient[:, 1], np.exp([-200.0, -300.0]), rtol=1e-12)
    np.testing.assert_allclose(gradient[:, 0], -gradient[:, 1] - gradient[:, 2], rtol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_the_last_layer_gradient_norm_is_that_of_the_gradient_written_out(bias: bool) -> None:
    rng = np.random.default_rng(1)
    hidden, logits, labels = rng.normal(size=(8, 6)), rng.normal(size=(8, 4)), rng.integers(0, 4, 8)
    outputs = Outputs(Task.MULTICLASS, Scale.LOGITS, labels, logits, head_input=HeadInput(hidden, bias))
    entering = np.hstack([hidden, np.ones((8, 1))]) if bias else hidden
    gradients = outputs.loss_gradient[:, :, None] * entering[:, None, :]
    expected = np.linalg.norm(gradients.reshape(8, -1), axis=1)
    np.testing.assert_allclose(LastLayerGradientNorm().compute(outputs), expected, rtol=1e-12)


def test_the_last_layer_gradient_norms_of_very_confident_records_do_not_tie() -> None:
    logits = np.array([[600.0 + step, 0.0] for step in range(5)])
    head = HeadInput(np.ones((5, 3)), bias=True)
    labels = np.zeros(5, dtype=np.int64)
    norms = LastLayerGradientNorm().compute(Outputs(Task.MULTICLASS, Scale.LOGITS, labels, logits, head_input=head))
    assert (np.diff(norms) < 0).all()
    assert (norms > 0).all()


def test_norms_over_layers_are_vectors_and_over_all_parameters_numbers() -> None:
    every, two = GradientRequest(), GradientRequest(("fc0", "3"))
    answers = {every: np.array([[5.0], [6.0]]), two: np.array([[3.0, 4.0], [0.0, 6.0]])}
    outputs = Outputs(Task.MULTICLASS, Scale.LOGITS, np.array([0, 1]), gradients=answers)
    np.testing.assert_array_equal(GradientNorm().compute(outputs), [5.0, 6.0])
    np.testing.assert_array_equal(GradientNorm(("fc0", "3")).compute(outputs), answers[two])


def test_pooled_activations_are_averaged_over_all_but_the_channels() -> None:
    maps = np.random.default_rng(2).normal(size=(3, 5, 4, 4))
    outputs = Outputs(Task.MULTICLASS, Scale.LOGITS, np.zeros(3, dtype=np.int64), activations={"conv": maps})
    found = Activations(("conv",), size=5, pooled=True).compute(outputs)
    np.testing.assert_allclose(found, maps.mean(axis=(2, 3)), rtol=1e-12)


@pytest.mark.parametrize(
    ("signal", "options", "complaint"),
    [
        (GradientNorm, {"order": "3"}, "order: 3 - give 1, 2 or inf"),
        (GradientSketch, {"size": "0"}, "size: 0 - give a number from 1"),
        (GradientSketch, {"layers": "[]"}, "none named"),
        (Activations, {"layers": "[]"}, "none named"),
        (Activations, {"size": "1000000"}, "size: 1000000"),
    ],
)
def test_options_that_cannot_be_are_refused(signal: type[Signal], options: dict[str, str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        build(signal, options, "signal")


@pytest.mark.parametrize(
    ("text", "layers"),
    [("fc", ("fc",)), ("[3, 4, fc]", ("3", "4", "fc")), ("[on,1e5,-1]", ("on", "1e5", "-1")), ("[]", ())],
)
def test_layers_are_texts_whatever_they_look_like(text: str, layers: tuple[str, ...]) -> None:
    signal = build(GradientNorm, {"layers": text, "order": "inf"}, "signal")
    assert signal == GradientNorm(layers, float("inf"))


def test_what_signals_call_layers_is_answered_under_their_names(tmp_path: Path) -> None:
    from numpy_backend import NumpyModel

    from pmcore.interfaces import LoadOptions

    case = make_case(tmp_path)
    model = NumpyModel.load(case.model, LoadOptions())
    signals: list[Signal] = [GradientNorm(("last",)), GradientNorm(("*",)), GradientNorm(("0",)), Activations(("-1",))]
    wish = wish_of(signals, model)
    assert wish.want.gradients == {GradientRequest(("fc0",))}
    assert wish.want.activations == {"fc0"}
    outputs = wish.answers(model.ask({"x": case.x[:5]}, case.y[:5], wish.want))
    values: list[Floats] = [signal.compute(outputs) for signal in signals]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])
    np.testing.assert_allclose(values[3][:, :4], case.x[:5, :4], rtol=1e-6)


@pytest.mark.parametrize(("task", "columns"), [(Task.BINARY, 1), (Task.MULTILABEL, 3)])
def test_the_gradient_of_a_very_confident_sigmoid_keeps_its_precision(task: Task, columns: int) -> None:
    logits = np.array([[60.0] * columns, [200.0] * columns])
    labels = np.ones((2, columns), dtype=np.int64) if task is Task.MULTILABEL else np.ones(2, dtype=np.int64)
    gradient = Outputs(task, Scale.LOGITS, labels, logits).loss_gradient
    np.testing.assert_allclose(gradient, np.tile(-np.exp([[-60.0], [-200.0]]), (1, columns)), rtol=1e-12)


def test_saturated_probabilities_have_the_same_gradient_in_one_column_as_in_two() -> None:
    one = np.array([[0.0], [1.0]], dtype=np.float32)
    labels = np.array([1, 0])
    two = np.hstack([1 - one, one])
    single = Outputs(Task.BINARY, Scale.PROBABILITIES, labels, one).loss_gradient[:, 0]
    double = Outputs(Task.BINARY, Scale.PROBABILITIES, labels, two).loss_gradient
    np.testing.assert_allclose(np.abs(single), np.abs(double).max(axis=1), rtol=1e-6)


def test_a_layer_without_parameters_has_no_gradient_and_is_refused(tmp_path: Path) -> None:
    from numpy_backend import NumpyModel

    from pmcore.interfaces import LoadOptions

    weights = [np.eye(3, dtype=np.float32)] * 2
    NumpyModel.write_dense(tmp_path / "m.npz", weights, [np.zeros(3, dtype=np.float32)] * 2)
    model = NumpyModel.load(tmp_path / "m.npz", LoadOptions())
    with pytest.raises(InputError, match=r"'relu0' - has no parameters, so .* those with some are 0, 2"):
        wish_of([GradientNorm(("1",))], model)
