"""Python functions as models: what their answers are taken for, what they are given, and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pmcore import Audit, from_callable
from pmcore.errors import InputError, ModelError, OutOfMemory
from pmcore.interfaces import Array, Scale, Task
from tests.core.cases import CLASSES, FEATURES, Case, make_case

X = np.random.default_rng(0).normal(size=(40, FEATURES))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


def logits(x: Array) -> Array:
    return x[:, :CLASSES]


def probabilities(x: Array) -> Array:
    e = np.exp(x[:, :CLASSES])
    shares: Array = e / e.sum(axis=1, keepdims=True)
    return shares


def sigmoids(x: Array) -> Array:
    return 1 / (1 + np.exp(-x[:, :3]))


@pytest.mark.parametrize(
    ("function", "given", "task", "classes", "scale"),
    [
        (logits, {}, Task.MULTICLASS, 4, Scale.LOGITS),
        (probabilities, {}, Task.MULTICLASS, 4, Scale.PROBABILITIES),
        (probabilities, {"scale": "logits"}, Task.MULTICLASS, 4, Scale.LOGITS),
        (probabilities, {"scale": "probabilities", "classes": 4}, Task.MULTICLASS, 4, Scale.PROBABILITIES),
        (lambda x: x[:, :2], {}, Task.BINARY, 2, Scale.LOGITS),
        (lambda x: x[:, 0], {}, Task.REGRESSION, 1, Scale.VALUES),
        (lambda x: x[:, 0], {"classes": 2}, Task.BINARY, 2, Scale.LOGITS),
        (lambda x: sigmoids(x)[:, 0], {"task": "binary"}, Task.BINARY, 2, Scale.PROBABILITIES),
        (sigmoids, {"task": "multilabel"}, Task.MULTILABEL, 3, Scale.PROBABILITIES),
        (logits, {"task": "regression"}, Task.REGRESSION, 4, Scale.VALUES),
        (logits, {"scale": "values"}, Task.REGRESSION, 4, Scale.VALUES),
        (lambda x: (x[:, :3] > 0).tolist(), {}, Task.MULTICLASS, 3, Scale.LOGITS),
    ],
)
def test_a_few_answers_tell_what_the_numbers_are(
    function: Callable[[Array], Any], given: dict[str, Any], task: Task, classes: int, scale: Scale
) -> None:
    model = from_callable(function, **given)
    model.prepare({"x": X})
    told = model.describe()
    assert (told.task, told.classes, told.scale) == (task, classes, scale)
    assert told.resolution_limited is (scale is Scale.PROBABILITIES)
    assert model.predict({"x": X}).dtype.kind == "f"


@pytest.mark.parametrize("function", [logits, probabilities])
def test_a_function_is_audited_to_the_figures_of_the_file(function: Callable[[Array], Array], case: Case) -> None:
    arguments = {key: value for key, value in case.arguments.items() if key != "model"}
    found = Audit(model=from_callable(function), **arguments).run().report.attacks["population"].auc
    expected = case.audit().run().report.attacks["population"].auc
    assert found.value == pytest.approx(expected.value, abs=1e-6)


def test_several_inputs_are_given_in_their_order_under_their_names() -> None:
    model = from_callable(lambda left, right: np.stack([left[:, 0], right[:, 0]], axis=1), inputs=("left", "right"))
    np.testing.assert_array_equal(model.predict({"right": X + 9, "left": X})[:, 1], (X + 9)[:, 0].astype(np.float32))
    with pytest.raises(InputError, match="input 'right' is not among the arrays given: left"):
        model.predict({"left": X})


def test_one_input_may_be_named_by_a_plain_string() -> None:
    assert [spec.name for spec in from_callable(logits, inputs="image").describe().inputs] == ["image"]


def test_a_function_gets_copies_of_the_type_it_asked_for() -> None:
    seen = []

    def spoils(x: Array) -> Array:
        seen.append(x.dtype)
        x[:] = 0.0
        return x[:, :CLASSES]

    inputs = {"x": X.copy()}
    inputs["x"].flags.writeable = False
    from_callable(spoils, dtype="float64").predict(inputs)
    np.testing.assert_array_equal(inputs["x"], X)
    assert seen == [np.float64]


def test_half_precision_is_widened() -> None:
    model = from_callable(lambda x: x[:, :4].astype(np.float16))
    assert model.predict({"x": X}).dtype == np.float32


def test_no_records_settle_nothing() -> None:
    model = from_callable(logits)
    before = model.describe()
    model.prepare({"x": X[:0]})
    assert model.describe() == before


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x / "two", "failed: TypeError: ufunc"),
        (lambda x: exec("raise ValueError('a\\nb')"), "failed: ValueError: a b"),
        (lambda x: np.full(len(x), "cat"), "answered with <U3, not with numbers"),
        (lambda x: x[:-1], r"answered 40 records with shape \[39, 12\]; return one row per record"),
        (lambda x: 1.0, r"with shape \[\]"),
        (lambda x: None, "answered with object"),
    ],
)
def test_what_is_no_answer_is_told_in_one_line(function: Callable[[Array], Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        from_callable(function).predict({"x": X})
    assert "\n" not in str(caught.value)


def test_a_batch_that_does_not_fit_is_told_apart() -> None:
    def full(x: Array) -> Array:
        raise MemoryError

    with pytest.raises(OutOfMemory):
        from_callable(full).predict({"x": X})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inputs": ()}, "inputs: none named"),
        ({"inputs": 3}, "inputs: 3 - give names"),
        ({"classes": 0}, "classes: 0 - give 1 or more"),
        ({"classes": -1}, "classes: -1 - give 1 or more"),
        ({"dtype": "foo"}, "dtype: 'foo' - give a type that numpy knows"),
        ({"task": "ranking"}, "task: 'ranking' - give multiclass, binary"),
        ({"scale": "odds"}, "scale: 'odds' - give logits, probabilities"),
        ({"scale": "values", "task": "multiclass"}, "scale: values does not fit task multiclass"),
        ({"scale": "logits", "task": "regression"}, "scale: logits does not fit task regression"),
        ({"task": "binary", "classes": 3}, "task binary does not fit 3 columns"),
    ],
)
def test_what_contradicts_itself_is_refused_at_once(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_callable(logits, **given)


def test_what_cannot_be_called_is_refused() -> None:
    answers: Any = X
    with pytest.raises(InputError, match="function: ndarray - give something that can be called"):
        from_callable(answers)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"classes": 7}, "answers with 4 columns, not for 7 classes"),
        ({"scale": "probabilities"}, "answers are no probabilities"),
    ],
)
def test_answers_that_are_not_what_was_said_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_callable(logits, **given).prepare({"x": X})


def test_records_that_do_not_fit_are_refused() -> None:
    model = from_callable(logits, inputs={"x": (FEATURES,)})
    with pytest.raises(InputError, match=r"takes records of shape \[12\] and was given \[12, 2\]"):
        model.predict({"x": np.zeros((3, FEATURES, 2))})
    with pytest.raises(InputError, match="takes float32 and was given <U4"):
        model.predict({"x": np.full((3, FEATURES), "text")})
    model.predict({"x": X})


def test_the_same_function_can_be_audited_twice(case: Case) -> None:
    arguments = {key: value for key, value in case.arguments.items() if key != "model"}
    model = from_callable(logits)
    first, again = (Audit(model=model, **arguments).run().report.attacks for _ in range(2))
    assert first == again


def test_an_input_of_unknown_shape_is_not_shown_as_single_numbers(case: Case) -> None:
    arguments = {key: value for key, value in case.arguments.items() if key != "model"}
    assert "x float32 [n,…]; 4 classes" in str(Audit(model=from_callable(logits), **arguments).run())
    known = from_callable(logits, inputs={"x": (FEATURES,)})
    assert "x float32 [n,12]; 4 classes" in str(Audit(model=known, **arguments).run())


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_labels_are_not_taken_for_a_regression(kind: type[np.number[Any]]) -> None:
    def labels(x: Array) -> Array:
        found: Array = x[:, :CLASSES].argmax(axis=1).astype(kind)
        return found

    with pytest.raises(InputError, match=r"one whole number per record.*task='regression'"):
        from_callable(labels).prepare({"x": X})
    told = from_callable(labels, task="regression")
    told.prepare({"x": X})
    assert told.describe().task is Task.REGRESSION


class Linear:
    def scores(self, x: Array) -> Array:
        return x[:, :CLASSES]


class Inheriting(Linear):
    def __call__(self, x: Array) -> Array:
        return self.scores(x)


def test_a_method_is_called_after_the_object_that_has_it() -> None:
    assert from_callable(Inheriting().scores).title == "Inheriting.scores in memory"
    assert from_callable(Inheriting()).title == "Inheriting in memory"
    assert from_callable(logits).title == "logits in memory"
    assert from_callable(np.sin).title == "sin in memory"
