"""Gradients of linear models and perceptrons against finite differences, what enters their last layer, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR

from pmcore.description import LoadOptions
from pmcore.errors import AuditError, InputError, ModelError
from pmcore.interfaces import Array, Capability, Floats, GradientRequest, Outputs, Task, Want
from pmcore.signals import Loss
from pmcore.sketches import parameter_sketch
from pmcore.whitebox_signals import LastLayerGradientNorm
from pmcore_sklearn import SklearnModel

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning")

RNG = np.random.default_rng(2)
X: Floats = RNG.normal(size=(90, 4))
CLASSES = (X[:, 0] > 0.3).astype(np.int64) + (X[:, 1] + 0.3 * RNG.normal(size=90) > 0)
VALUES = X @ np.array([1.0, -2.0, 0.5, 0.0]) + 0.1 * RNG.normal(size=90)
PAIRS = np.stack([VALUES, -2 * VALUES + X[:, 3]], axis=1)
LABELS = np.stack([CLASSES > 0, CLASSES > 1], axis=1).astype(np.int64)
FEW = 6
EVERY = GradientRequest()
SIZE = 3


def perceptron(activation: str = "tanh", kind: Any = MLPClassifier) -> Any:
    return kind(hidden_layer_sizes=(5, 4), activation=activation, max_iter=30, random_state=0)


CASES: dict[str, tuple[Any, Array]] = {
    "logistic": (LogisticRegression(), CLASSES),
    "logistic of two classes": (LogisticRegression(), CLASSES > 0),
    "logistic without intercept": (LogisticRegression(fit_intercept=False), CLASSES),
    "discriminant": (LinearDiscriminantAnalysis(), CLASSES),
    "stochastic": (SGDClassifier(loss="log_loss", random_state=0), CLASSES),
    "vectors": (LinearSVC(), CLASSES),
    "vectors of two classes": (SVC(kernel="linear"), CLASSES > 0),
    "ridge of classes": (RidgeClassifier(), CLASSES),
    "regression": (LinearRegression(), VALUES),
    "vectors of values": (LinearSVR(), VALUES),
    "ridge of two values": (Ridge(), PAIRS),
    "scaled": (make_pipeline(StandardScaler(), LogisticRegression()), CLASSES),
    **{f"perceptron with {name}": (perceptron(name), CLASSES) for name in ("relu", "tanh", "logistic", "identity")},
    "perceptron of two classes": (perceptron(), CLASSES > 0),
    "perceptron of labels": (perceptron(), LABELS),
    "perceptron of values": (perceptron(kind=MLPRegressor), VALUES),
    "perceptron of two values": (perceptron(kind=MLPRegressor), PAIRS),
    "searched": (make_pipeline(StandardScaler(), GridSearchCV(perceptron(), {"alpha": [0.1]}, cv=2)), CLASSES),
}


def fitted(name: str) -> tuple[SklearnModel, Any, Array]:
    """Return a model, the estimator within that has the weights, and the labels of a few records."""
    estimator, y = CASES[name]
    estimator.fit(X, y)
    model = SklearnModel.wrap(estimator, LoadOptions())
    model.prepare({"x": X[:32]})
    last = estimator
    while hasattr(last, "steps") or hasattr(last, "best_estimator_"):
        last = last.steps[-1][1] if hasattr(last, "steps") else last.best_estimator_
    labels = y[:FEW] if y.dtype.kind == "f" else y[:FEW].astype(np.int64)
    return model, last, labels


def weights_of(last: Any) -> dict[str, list[Array]]:
    """Return layer -> its weight and its bias, as the estimator keeps them; changed in place they change it."""
    if hasattr(last, "coefs_"):
        pairs = zip(last.coefs_, last.intercepts_, strict=True)
        return {f"layer{i}": [weight, bias] for i, (weight, bias) in enumerate(pairs)}
    bias = [last.intercept_] if getattr(last, "fit_intercept", True) else []
    return {"linear": [last.coef_, *bias]}


def loss(model: SklearnModel, labels: Array) -> Floats:
    told = model.describe()
    return Loss().compute(Outputs(told.task, told.scale, labels, model.predict({"x": X[:FEW]})))


def differences(model: SklearnModel, last: Any, labels: Array) -> dict[str, list[Floats]]:
    """Return layer -> gradients of each record's loss by its parameters, (n, ...) each, by finite differences."""
    if not hasattr(last, "coefs_"):  # of one value some estimators keep a row and a number
        last.coef_, last.intercept_ = np.atleast_2d(last.coef_), np.atleast_1d(last.intercept_)
    found: dict[str, list[Floats]] = {}
    for name, own in weights_of(last).items():
        for array in own:
            gradient = np.zeros((FEW, *array.shape))
            for place in np.ndindex(array.shape):
                kept = array[place]
                sides = []
                for step in (1e-6, -1e-6):
                    array[place] = kept + step
                    sides.append(loss(model, labels))
                array[place] = kept
                gradient[:, *place] = (sides[0] - sides[1]) / 2e-6
            found.setdefault(name, []).append(gradient)
    return found


# The coefficients of `SVC` are worked out of its vectors whenever they are read, and cannot be changed.
@pytest.mark.parametrize("name", [name for name in CASES if name != "vectors of two classes"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    model, last, labels = fitted(name)
    layers = tuple(layer.name for layer in model.layers())
    norms = [GradientRequest(chosen, order=order) for chosen in ((), layers) for order in (1.0, 2.0, np.inf)]
    sketch = GradientRequest(layers, reduction="sketch", size=SIZE)
    found = model.gradients({"x": X[:FEW]}, labels, [*norms, sketch])
    shapes = {
        layer: [np.atleast_2d(own[0]).shape, *(b.shape for b in own[1:])] for layer, own in weights_of(last).items()
    }
    expected = differences(model, last, labels)
    assert list(expected) == list(layers)
    for request in norms:
        names = [[layer] for layer in request.layers] or [list(layers)]
        flat = [np.hstack([part.reshape(FEW, -1) for one in own for part in expected[one]]) for own in names]
        wanted = np.stack([np.linalg.norm(part, request.order, axis=1) for part in flat], axis=1)
        np.testing.assert_allclose(found[request], wanted, rtol=1e-5, atol=1e-7)
    for part, layer in zip(np.split(found[sketch], len(layers), axis=1), layers, strict=True):
        total = np.zeros((FEW, SIZE))
        for position, (gradient, shape) in enumerate(zip(expected[layer], shapes[layer], strict=True)):
            rows = shape[0] if shape else 1
            total += parameter_sketch(shape, SIZE, position).of_matrices(gradient.reshape(FEW, rows, -1))
        np.testing.assert_allclose(part, total, rtol=1e-5, atol=1e-7)
    parameters = [sum(gradient[0].size for gradient in own) for own in expected.values()]
    assert [layer.parameters for layer in model.layers()] == parameters
    source = model.gradient_source()
    assert source is not None
    assert (source.tier, source.precision) == ("framework", "float64")


@pytest.mark.parametrize("name", [name for name in CASES if name != "stochastic"])
def test_the_input_of_the_last_layer_gives_the_norm_of_its_gradient(name: str) -> None:
    model, last, labels = fitted(name)
    request = GradientRequest((model.layers()[-1].name,))
    want = Want(predictions=True, head_input=True, gradients=frozenset({request}))
    assert model.obstacle(want) is None
    outputs = model.ask({"x": X[:FEW]}, labels, want)
    np.testing.assert_allclose(LastLayerGradientNorm().compute(outputs), outputs.gradients[request][:, 0], rtol=1e-9)
    assert outputs.head_input is not None
    assert outputs.head_input.bias is bool(getattr(last, "fit_intercept", True))


def test_shares_that_are_read_for_one_class_against_the_rest_do_not_come_out_of_the_layer() -> None:
    model, _, _ = fitted("stochastic")
    assert model.describe().output == "log_sigmoid"
    reason = "its predictions are logarithms of shares, not what its last layer gives"
    assert model.obstacle(Want(head_input=True)) == reason
    with pytest.raises(ModelError, match=reason):
        model.head_input({"x": X[:FEW]})


NEITHER: dict[str, tuple[Any, Array]] = {
    "RandomForestClassifier": (RandomForestClassifier(3), CLASSES),
    "OneVsRestClassifier": (OneVsRestClassifier(LogisticRegression()), CLASSES),
    "SVC": (SVC(), CLASSES > 0),
    "PoissonRegressor": (PoissonRegressor(), np.abs(VALUES)),
    "SGDClassifier": (SGDClassifier(loss="modified_huber", random_state=0), CLASSES),
}


@pytest.mark.parametrize("name", NEITHER)
def test_what_is_no_linear_model_and_no_perceptron_has_no_gradient(name: str) -> None:
    estimator, y = NEITHER[name]
    model = SklearnModel.wrap(estimator.fit(X, y), LoadOptions())
    model.prepare({"x": X[:32]})
    gradients = Want(gradients=frozenset({EVERY}))
    assert model.obstacle(gradients) == f"{name} has no gradient"
    assert model.obstacle(Want(head_input=True)) == f"{name} has no last linear layer"
    assert model.obstacle(Want(predictions=True)) is None
    assert model.layers() == ()
    assert {Capability.GRADIENTS, Capability.HEAD_INPUT} <= model.capabilities  # of the class, not of this estimator
    with pytest.raises(ModelError, match=f"{name} has no gradient; ask for attacks"):
        model.gradients({"x": X[:FEW]}, y[:FEW], [EVERY])


def test_very_confident_records_neither_vanish_nor_tie() -> None:
    model, last, _ = fitted("perceptron with tanh")
    last.coefs_[-1] *= 60
    last.intercepts_[-1] *= 60
    labels = model.predict({"x": X}).argmax(axis=1)
    norms = model.gradients({"x": X}, labels, [EVERY])[EVERY][:, 0]
    assert norms.min() < 1e-40
    assert (norms > 0).all()
    assert len(np.unique(norms)) == len(norms)


def test_a_record_that_is_no_number_has_no_gradient_and_takes_none_from_the_others() -> None:
    model, _, labels = fitted("perceptron with relu")
    x = X[:FEW].copy()
    x[2] = np.nan
    found = model.gradients({"x": x}, labels, [EVERY])[EVERY][:, 0]
    expected = model.gradients({"x": X[:FEW]}, labels, [EVERY])[EVERY][:, 0]
    assert np.isnan(found).tolist() == [i == 2 for i in range(FEW)]
    np.testing.assert_allclose(np.delete(found, 2), np.delete(expected, 2), rtol=1e-12)


def test_a_closed_model_gives_no_gradients() -> None:
    model, _, labels = fitted("logistic")
    model.close()
    for question in (model.layers, lambda: model.gradients({"x": X[:FEW]}, labels, [EVERY])):
        with pytest.raises(AuditError, match="was closed"):
            question()


def test_misshapen_records_are_refused_in_one_line() -> None:
    model, _, labels = fitted("logistic")
    with pytest.raises(InputError, match=r"takes records of shape \[4\]"):
        model.gradients({"x": X[:FEW, :3]}, labels, [EVERY])


def test_the_task_decides_the_loss() -> None:
    tasks = {name: fitted(name)[0].describe().task for name in ("logistic", "perceptron of labels", "regression")}
    assert list(tasks.values()) == [Task.MULTICLASS, Task.MULTILABEL, Task.REGRESSION]
