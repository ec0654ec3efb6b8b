"""Which output of an OpenVINO model is read, before which activation, and what its numbers are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, log_softmax

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Scale, Task, Want
from tests.backends import builders as onnx_models
from tests.backends.openvino_builders import (
    BIAS,
    RECORDS,
    WEIGHT,
    constant,
    expected_logits,
    linear,
    load,
    named,
    ops,
    parameter,
    ready,
    save,
    save_linear,
)
from tests.backends.test_onnx_reading import SOFTMAX_ENDINGS as ONNX_ENDINGS

X = {"x": RECORDS}
LABELS = np.arange(9) % 4


def decomposed(z: Any) -> Any:
    raised = ops.exp(ops.subtract(z, ops.reduce_max(z, constant(np.array([1])), True)))
    return ops.divide(raised, ops.reduce_sum(raised, constant(np.array([1])), True))


def log_decomposed(z: Any) -> Any:
    return ops.exp(ops.subtract(z, ops.log(ops.reduce_sum(ops.exp(z), constant(np.array([1])), True))))


def transposed(z: Any) -> Any:
    twice = ops.transpose(ops.transpose(z, constant(np.array([1, 0]))), constant(np.array([1, 0])))
    return ops.softmax(twice, 1)


SOFTMAX_ENDINGS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda z: ops.softmax(z, 1),
    "softmax over the last axis": lambda z: ops.softmax(z, -1),
    "log-softmax": lambda z: ops.log_softmax(z, 1),
    "softmax, convert, reshape": lambda z: ops.reshape(
        ops.convert(ops.softmax(z, 1), "f32"), constant(np.array([-1, 4])), False
    ),
    "softmax, unsqueeze, squeeze": lambda z: ops.squeeze(
        ops.unsqueeze(ops.softmax(z, 1), constant(np.array([2]))), constant(np.array([2]))
    ),
    "softmax after transpositions": transposed,
    "decomposed": decomposed,
    "exponential of log-softmax": lambda z: ops.exp(ops.log_softmax(z, 1)),
    "exponential of decomposed log-softmax": log_decomposed,
}


def check_step_back(path: Path, scale: float) -> None:
    model = ready(path)
    said = model.describe()
    assert (said.scale, said.pre_softmax, said.resolution_limited) == (Scale.LOGITS, True, False)
    assert (said.task, said.classes) == (Task.MULTICLASS, 4)
    outputs = model.ask(X, LABELS, Want(predictions=True))
    found = outputs.log_probabilities
    np.testing.assert_allclose(found, log_softmax(expected_logits(scale), axis=1), atol=2e-6 * scale + 1e-5)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", SOFTMAX_ENDINGS)
@pytest.mark.parametrize("scale", [1.0, 15.0])
def test_probabilities_are_read_before_the_softmax(tmp_path: Path, name: str, scale: float) -> None:
    x = parameter()
    check_step_back(save(tmp_path / "m.xml", [SOFTMAX_ENDINGS[name](linear(x, scale))], [x]), scale)


@pytest.mark.parametrize("name", ONNX_ENDINGS)
def test_probabilities_of_onnx_files_are_read_before_the_softmax(tmp_path: Path, name: str) -> None:
    nodes, weights = onnx_models.linear(scale=15.0)
    path = onnx_models.write(
        tmp_path / "m.onnx", [*nodes, *ONNX_ENDINGS[name]], weights | {"axis": np.array([1])}, {"p": ["n", 4]}
    )
    model = ready(path, onnx_models.RECORDS)
    said = model.describe()
    assert (said.scale, said.pre_softmax) == (Scale.LOGITS, True)
    found = model.ask({"x": onnx_models.RECORDS}, LABELS, Want(predictions=True)).log_probabilities
    np.testing.assert_allclose(found, log_softmax(onnx_models.expected_logits(15.0), axis=1), atol=5e-5)


def test_losses_saturate_where_the_softmax_cannot_be_stepped_over(tmp_path: Path) -> None:
    x = parameter()
    scaled = ops.multiply(ops.softmax(linear(x, 200.0), 1), constant(np.ones((1, 1), np.float32)))
    model = ready(save(tmp_path / "m.xml", [ops.relu(scaled)], [x]))
    said = model.describe()
    assert (said.scale, said.resolution_limited, said.pre_softmax) == (Scale.PROBABILITIES, True, False)
    assert any("resolution limited" in note for note in said.notes)
    assert (model.predict(X) == 0).any()


def test_plain_logits_are_read_as_they_stand(tmp_path: Path) -> None:
    model = ready(save_linear(tmp_path / "m.xml"))
    said = model.describe()
    assert (said.output, said.scale, said.pre_softmax, said.notes) == ("z", Scale.LOGITS, False, ())
    assert [str(spec) for spec in said.inputs] == ["x float32 [?,6]"]
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)


def test_a_softmax_over_the_records_is_not_stepped_over(tmp_path: Path) -> None:
    x = parameter()
    said = ready(save(tmp_path / "m.xml", [named(ops.softmax(linear(x), 0), "p")], [x])).describe()
    assert (said.output, said.pre_softmax) == ("p", False)
    assert any("does not reproduce" in note for note in said.notes)


def test_a_softmax_on_a_transposed_tensor_leaves_the_output_to_be_read(tmp_path: Path) -> None:
    x = parameter()
    turned = ops.softmax(ops.transpose(linear(x), constant(np.array([1, 0]))), 0)
    model = ready(save(tmp_path / "m.xml", [named(ops.transpose(turned, constant(np.array([1, 0]))), "p")], [x]))
    said = model.describe()
    assert (said.output, said.pre_softmax, said.scale) == ("p", False, Scale.PROBABILITIES)
    np.testing.assert_allclose(np.log(model.predict(X)), log_softmax(expected_logits(), axis=1), atol=1e-5)


def test_one_column_sigmoid_is_binary_and_read_before_it(tmp_path: Path) -> None:
    x = parameter()
    model = ready(save(tmp_path / "m.xml", [ops.sigmoid(linear(x, 300.0, columns=1))], [x]))
    said = model.describe()
    assert (said.task, said.classes, said.pre_softmax) == (Task.BINARY, 2, True)
    np.testing.assert_allclose(model.predict(X), 300 * (RECORDS @ WEIGHT[:, :1] + BIAS[:1]), rtol=1e-4)


def test_a_sigmoid_per_column_is_multi_label(tmp_path: Path) -> None:
    x = parameter()
    path = save(tmp_path / "m.xml", [ops.sigmoid(linear(x))], [x])
    said = ready(path).describe()
    assert (said.task, said.classes, said.scale) == (Task.MULTILABEL, 4, Scale.LOGITS)
    assert ready(path, task=Task.MULTICLASS).describe().task is Task.MULTICLASS


def test_two_columns_of_one_sigmoid_become_one_binary_score(tmp_path: Path) -> None:
    x = parameter()
    sigmoid = ops.sigmoid(linear(x, columns=1))
    both = ops.concat([ops.subtract(constant(np.ones((1, 1), np.float32)), sigmoid), sigmoid], 1)
    model = ready(save(tmp_path / "m.xml", [both], [x]))
    assert (model.describe().task, model.describe().classes) == (Task.BINARY, 2)
    np.testing.assert_allclose(model.predict(X), RECORDS @ WEIGHT[:, :1] + BIAS[:1], atol=1e-5)


def test_one_column_without_activation_is_regression_unless_told_otherwise(tmp_path: Path) -> None:
    x = parameter()
    path = save(tmp_path / "m.xml", [linear(x, columns=1)], [x])
    said = ready(path).describe()
    assert (said.task, said.scale, said.classes) == (Task.REGRESSION, Scale.VALUES, 1)
    assert any("--task" in note for note in said.notes)
    told = ready(path, task=Task.BINARY).describe()
    assert (told.task, told.scale, told.classes) == (Task.BINARY, Scale.LOGITS, 2)
    with pytest.raises(InputError, match="multiclass does not fit one column"):
        load(path, task=Task.MULTICLASS)


def test_regression_that_is_asked_for_reads_the_output_itself(tmp_path: Path) -> None:
    x = parameter()
    model = ready(save(tmp_path / "m.xml", [ops.sigmoid(linear(x))], [x]), task=Task.REGRESSION)
    assert model.describe().scale is Scale.VALUES
    np.testing.assert_allclose(model.predict(X), expit(expected_logits()), atol=1e-6)


def test_labels_alone_are_read_before_their_arg_max(tmp_path: Path) -> None:
    x = parameter()
    best = ops.topk(ops.softmax(linear(x), 1), constant(np.int64(1)), 1, "max", "value", "i64")
    label = named(ops.squeeze(best.output(1), constant(np.array([1]))), "label")
    model = ready(save(tmp_path / "m.xml", [label], [x]))
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)
    assert any("returns labels ('label')" in note for note in model.describe().notes)


def test_labels_without_scores_behind_them_are_refused(tmp_path: Path) -> None:
    x = parameter()
    with pytest.raises(ModelError, match="labels alone"):
        load(save(tmp_path / "m.xml", [ops.convert(x, "i64")], [x]))


def two_heads(path: Path, names: tuple[str, str]) -> Path:
    x = parameter()
    return save(path, [linear(x, 2.0, names[1]), linear(x, 1.0, names[0])], [x])


def test_the_output_called_logits_is_chosen(tmp_path: Path) -> None:
    model = ready(two_heads(tmp_path / "m.xml", ("my_logits", "embedding")))
    assert (model.describe().output, model.describe().notes) == ("my_logits", ())
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)


def test_rival_outputs_are_told_and_can_be_chosen(tmp_path: Path) -> None:
    path = two_heads(tmp_path / "m.xml", ("a", "other"))
    assert any("'other' is read (choose with --output)" in note for note in load(path).describe().notes)
    np.testing.assert_allclose(ready(path, output="a").predict(X), expected_logits(), atol=1e-5)
    with pytest.raises(InputError, match=r"no output 'othr' \(did you mean 'other'\?\).*'other', 'a'"):
        load(path, output="othr")


def test_an_output_without_a_name_is_called_by_its_node(tmp_path: Path) -> None:
    x = parameter()
    path = save(tmp_path / "m.xml", [ops.relu(linear(x), name="top")], [x])
    assert ready(path).describe().output == "top"
    assert ready(path, output="top").describe().output == "top"


def test_trailing_unit_dimensions_are_flattened(tmp_path: Path) -> None:
    x = parameter()
    path = save(tmp_path / "m.xml", [ops.reshape(linear(x), constant(np.array([-1, 4, 1, 1])), False)], [x])
    np.testing.assert_allclose(ready(path).predict(X), expected_logits(), atol=1e-5)


def test_token_scores_are_refused(tmp_path: Path) -> None:
    x = parameter((-1, 6, 50))
    with pytest.raises(InputError, match=r"\[\?,6,50\], which is not a classification head"):
        load(save(tmp_path / "m.xml", [ops.relu(x)], [x]))


def test_an_unknown_output_shape_is_found_out(tmp_path: Path) -> None:
    x = parameter()
    wanted = ops.reshape(linear(x), ops.convert(ops.concat([constant([0.0]), constant([4.0])], 0), "i64"), True)
    path = save(tmp_path / "m.xml", [wanted], [x])
    assert load(path).describe().classes == 4


def test_the_sample_may_be_a_single_record(tmp_path: Path) -> None:
    x = parameter()
    model = ready(save(tmp_path / "m.xml", [ops.softmax(linear(x), 1)], [x]), RECORDS[:1])
    assert model.describe().pre_softmax
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)
