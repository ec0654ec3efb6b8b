"""Which output is read, before which activation, and what its numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto
from scipy.special import expit, softmax

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array, Scale, Task, Want
from tests.backends.builders import (
    BIAS,
    RECORDS,
    WEIGHT,
    expected_logits,
    linear,
    load,
    node,
    ready,
    write,
    write_linear,
)

X = {"x": RECORDS}
LABELS = np.arange(9) % 4

SOFTMAX_ENDINGS: dict[str, list[NodeProto]] = {
    "softmax": [node("Softmax", ["z"], ["p"], axis=1)],
    "log-softmax": [node("LogSoftmax", ["z"], ["p"], axis=1)],
    "softmax, cast, identity": [
        node("Softmax", ["z"], ["a"], axis=-1),
        node("Cast", ["a"], ["c"], to=TensorProto.FLOAT),
        node("Identity", ["c"], ["p"]),
    ],
    "softmax, flatten": [node("Softmax", ["z"], ["a"], axis=1), node("Flatten", ["a"], ["p"])],
    "softmax between transpositions": [
        node("Transpose", ["z"], ["t"], perm=[1, 0]),
        node("Transpose", ["t"], ["u"], perm=[1, 0]),
        node("Softmax", ["u"], ["a"], axis=1),
        node("Identity", ["a"], ["p"]),
    ],
    "decomposed": [
        node("ReduceMax", ["z"], ["m"], axes=[1], keepdims=1),
        node("Sub", ["z", "m"], ["s"]),
        node("Exp", ["s"], ["e"]),
        node("ReduceSum", ["e", "axis"], ["t"], keepdims=1),
        node("Div", ["e", "t"], ["p"]),
    ],
    "exponential of log-softmax": [node("LogSoftmax", ["z"], ["l"], axis=1), node("Exp", ["l"], ["p"])],
}


@pytest.mark.parametrize("name", SOFTMAX_ENDINGS)
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_probabilities_are_read_before_the_softmax(tmp_path: Path, name: str, scale: float) -> None:
    nodes, weights = linear(scale=scale)
    path = write(
        tmp_path / "m.onnx", [*nodes, *SOFTMAX_ENDINGS[name]], weights | {"axis": np.array([1])}, {"p": ["n", 4]}
    )
    model = ready(path)
    said = model.describe()
    assert (said.scale, said.pre_softmax, said.resolution_limited) == (Scale.LOGITS, True, False)
    assert (said.task, said.classes) == (Task.MULTICLASS, 4)
    outputs = model.ask(X, LABELS, Want(predictions=True))
    wanted = expected_logits(scale)
    wanted = wanted - np.log(np.exp(wanted - wanted.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    wanted -= wanted.max(axis=1, keepdims=True)
    found = outputs.log_probabilities
    np.testing.assert_allclose(found - found.max(axis=1, keepdims=True), wanted, atol=2e-6 * scale + 1e-5)
    assert np.isfinite(found).all()


def test_losses_saturate_where_the_softmax_cannot_be_stepped_over(tmp_path: Path) -> None:
    tail = [node("Softmax", ["z"], ["a"], axis=1), node("Mul", ["a", "one"], ["p"])]
    nodes, weights = linear(scale=200.0)
    path = write(tmp_path / "m.onnx", [*nodes, *tail], weights | {"one": np.ones(1)}, {"p": ["n", 4]})
    model = ready(path)
    said = model.describe()
    assert (said.scale, said.resolution_limited, said.pre_softmax) == (Scale.PROBABILITIES, True, False)
    assert any("resolution limited" in note for note in said.notes)
    assert (model.predict(X) == 0).any()


def test_plain_logits_are_read_as_they_stand(tmp_path: Path) -> None:
    model = ready(write_linear(tmp_path / "m.onnx"))
    said = model.describe()
    assert (said.output, said.scale, said.pre_softmax, said.notes) == ("z", Scale.LOGITS, False, ())
    assert [str(spec) for spec in said.inputs] == ["x float32 [n,6]"]
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)


def test_a_step_back_that_does_not_reproduce_the_output_is_not_taken(tmp_path: Path) -> None:
    tail = [
        node("Softmax", ["z"], ["a"], axis=0),
        node("Identity", ["a"], ["p"]),
    ]
    model = ready(write_linear(tmp_path / "m.onnx", tail, "p"))
    said = model.describe()
    assert said.output == "p"
    assert not said.pre_softmax
    assert any("does not reproduce" in note for note in said.notes)


def test_one_column_sigmoid_is_binary_and_read_before_it(tmp_path: Path) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["z"]), node("Sigmoid", ["z"], ["p"])]
    path = write(tmp_path / "m.onnx", nodes, {"w": WEIGHT[:, :1] * 300, "b": BIAS[:1]}, {"p": ["n", 1]})
    model = ready(path)
    said = model.describe()
    assert (said.task, said.classes, said.pre_softmax) == (Task.BINARY, 2, True)
    np.testing.assert_allclose(model.predict(X), RECORDS @ (WEIGHT[:, :1] * 300) + BIAS[:1], rtol=1e-4)


def test_a_sigmoid_per_column_is_multi_label(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", [node("Sigmoid", ["z"], ["p"])], "p")
    model = ready(path)
    said = model.describe()
    assert (said.task, said.classes, said.scale) == (Task.MULTILABEL, 4, Scale.LOGITS)
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)
    assert ready(path, task=Task.MULTICLASS).describe().task is Task.MULTICLASS


def test_two_columns_of_one_sigmoid_become_one_binary_score(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "w", "b"], ["z"]),
        node("Sigmoid", ["z"], ["s"]),
        node("Sub", ["one", "s"], ["q"]),
        node("Concat", ["q", "s"], ["p"], axis=1),
    ]
    weights: dict[str, Array] = {"w": WEIGHT[:, :1], "b": BIAS[:1], "one": np.ones(1)}
    model = ready(write(tmp_path / "m.onnx", nodes, weights, {"p": ["n", 2]}))
    assert (model.describe().task, model.describe().classes) == (Task.BINARY, 2)
    np.testing.assert_allclose(model.predict(X), RECORDS @ WEIGHT[:, :1] + BIAS[:1], atol=1e-5)


def test_one_column_without_activation_is_regression_unless_told_otherwise(tmp_path: Path) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["z"])]
    path = write(tmp_path / "m.onnx", nodes, {"w": WEIGHT[:, :1], "b": BIAS[:1]}, {"z": ["n", 1]})
    said = ready(path).describe()
    assert (said.task, said.scale, said.classes) == (Task.REGRESSION, Scale.VALUES, 1)
    assert any("--task" in note for note in said.notes)
    told = ready(path, task=Task.BINARY).describe()
    assert (told.task, told.scale, told.classes) == (Task.BINARY, Scale.LOGITS, 2)
    with pytest.raises(InputError, match="multiclass does not fit one column"):
        load(path, task=Task.MULTICLASS)


@pytest.mark.parametrize(("task", "words"), [(Task.BINARY, "4 columns"), (Task.MULTILABEL, "softmax")])
def test_a_task_that_does_not_fit_is_refused(tmp_path: Path, task: Task, words: str) -> None:
    path = write_linear(tmp_path / "m.onnx", SOFTMAX_ENDINGS["softmax"], "p")
    with pytest.raises(InputError, match=words):
        load(path, task=task)


def test_regression_that_is_asked_for_reads_the_output_itself(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", [node("Sigmoid", ["z"], ["p"])], "p")
    model = ready(path, task=Task.REGRESSION)
    assert model.describe().scale is Scale.VALUES
    np.testing.assert_allclose(model.predict(X), expit(expected_logits()), atol=1e-6)


def test_labels_alone_are_read_before_their_arg_max(tmp_path: Path) -> None:
    nodes, weights = linear()
    tail = [node("Softmax", ["z"], ["p"], axis=1), node("ArgMax", ["p"], ["label"], axis=1, keepdims=0)]
    path = write(tmp_path / "m.onnx", [*nodes, *tail], weights, {"label": ["n"]}, output_type=TensorProto.INT64)
    model = ready(path)
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)
    assert any("returns labels" in note for note in model.describe().notes)


def test_labels_without_scores_behind_them_are_refused(tmp_path: Path) -> None:
    nodes = [node("Cast", ["x"], ["label"], to=TensorProto.INT64)]
    path = write(tmp_path / "m.onnx", nodes, {}, {"label": ["n", 6]}, output_type=TensorProto.INT64)
    with pytest.raises(ModelError, match="labels alone"):
        load(path)


def two_heads(path: Path, names: tuple[str, str]) -> Path:
    nodes, weights = linear(names[0])
    other = node("Gemm", ["x", "v", "b"], [names[1]])
    return write(path, [*nodes, other], weights | {"v": WEIGHT * 2}, {names[1]: ["n", 4], names[0]: ["n", 4]})


def test_the_output_called_logits_is_chosen(tmp_path: Path) -> None:
    model = ready(two_heads(tmp_path / "m.onnx", ("my_logits", "embedding")))
    assert model.describe().output == "my_logits"
    assert model.describe().notes == ()


def test_rival_outputs_are_told_and_can_be_chosen(tmp_path: Path) -> None:
    path = two_heads(tmp_path / "m.onnx", ("a", "other"))
    assert any("--output" in note for note in load(path).describe().notes)
    model = ready(path, output="a")
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)
    with pytest.raises(InputError, match=r"no output 'othr' \(did you mean 'other'\?\).*'other', 'a'"):
        load(path, output="othr")


def test_trailing_unit_dimensions_are_flattened(tmp_path: Path) -> None:
    tail = [node("Reshape", ["z", "shape"], ["y"])]
    nodes, weights = linear()
    path = write(
        tmp_path / "m.onnx", [*nodes, *tail], weights | {"shape": np.array([-1, 4, 1, 1])}, {"y": ["n", 4, 1, 1]}
    )
    np.testing.assert_allclose(ready(path).predict(X), expected_logits(), atol=1e-5)


def test_token_scores_are_refused(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, {}, {"y": ["n", 6, 50]}, {"x": ["n", 6, 50]})
    with pytest.raises(InputError, match=r"\[n,6,50\], which is not a classification head"):
        load(path)


def test_an_unknown_output_shape_is_found_out(tmp_path: Path) -> None:
    nodes, weights = linear()
    path = write(tmp_path / "m.onnx", nodes, weights, {"z": None})
    assert load(path).describe().classes == 4


def test_the_sample_may_be_a_single_record(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", SOFTMAX_ENDINGS["softmax"], "p")
    model = ready(path, RECORDS[:1])
    assert model.describe().pre_softmax
    np.testing.assert_allclose(softmax(model.predict(X), axis=1), softmax(expected_logits(), axis=1), atol=1e-5)
