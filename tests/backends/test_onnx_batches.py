"""Free, fixed and absent batch dimensions; several inputs; casts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array
from tests.backends.builders import BIAS, RECORDS, RNG, WEIGHT, expected_logits, linear, load, node, ready, write

IMAGES = RNG.normal(size=(7, 2, 3)).astype(np.float32)


def fixed(path: Path, batch: int, shape: list[int], softmax: bool = True) -> Path:
    """Write images (batch, 2, 3) -> Reshape by a constant -> Gemm -> Softmax."""
    nodes, weights = linear()
    nodes[0].input[0] = "flat"
    tail = [node("Softmax", ["z"], ["p"], axis=1)] if softmax else []
    return write(
        path,
        [node("Reshape", ["x", "shape"], ["flat"]), *nodes, *tail],
        weights | {"shape": np.array(shape)},
        {"p" if softmax else "z": [batch, 4]},
        {"x": [batch, 2, 3]},
    )


def image_logits() -> Array:
    return IMAGES.reshape(7, 6) @ WEIGHT + BIAS


@pytest.mark.parametrize(("batch", "shape"), [(1, [1, 6]), (1, [1, -1]), (3, [3, 6]), (3, [3, -1])])
@pytest.mark.parametrize("softmax", [False, True])
def test_a_fixed_batch_is_made_free_once_verified(tmp_path: Path, batch: int, shape: list[int], softmax: bool) -> None:
    model = load(fixed(tmp_path / "m.onnx", batch, shape, softmax))
    assert model.describe().batch == batch
    np.testing.assert_allclose(model.predict({"x": IMAGES}), image_logits(), atol=1e-5)
    model.prepare({"x": IMAGES})
    assert model.describe().batch is None
    assert any("made free" in note for note in model.describe().notes)
    assert model.describe().pre_softmax is softmax
    np.testing.assert_allclose(model.predict({"x": IMAGES}), image_logits(), atol=1e-5)
    assert model.activations({"x": IMAGES}, ["head"])["head"].shape == (7, 4)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_that_cannot_be_made_free_is_looped_over(tmp_path: Path, batch: int) -> None:
    """The records of a batch are averaged in a Gemm over a constant of the batch's size."""
    nodes, weights = linear("y")
    nodes[0].input[0] = "mixed"
    weights["mix"] = np.eye(batch, dtype=np.float32)
    path = write(
        tmp_path / "m.onnx",
        [node("MatMul", ["mix", "x"], ["mixed"]), *nodes],
        weights,
        {"y": [batch, 4]},
        {"x": [batch, 6]},
    )
    model = ready(path)
    said = model.describe()
    assert said.batch == batch
    assert any("one by one" in note or "4 at a time" in note for note in said.notes)
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)


def test_an_edit_that_changes_answers_is_not_kept(tmp_path: Path) -> None:
    """Records are divided by the largest of their batch: harmless at batch 1, wrong when the batch is made free."""
    nodes, weights = linear()
    nodes[0].input[0] = "scaled"
    path = write(
        tmp_path / "m.onnx",
        [node("ReduceMax", ["x"], ["top"], keepdims=0), node("Div", ["x", "top"], ["scaled"]), *nodes],
        weights,
        {"z": [1, 4]},
        {"x": [1, 6]},
    )
    model = ready(path)
    assert model.describe().batch == 1
    np.testing.assert_allclose(
        model.predict({"x": RECORDS}), (RECORDS / RECORDS.max(axis=1, keepdims=True)) @ WEIGHT + BIAS, atol=1e-5
    )


@pytest.mark.parametrize("output", [[4], [1, 4]])
def test_a_model_without_batch_axis_takes_records_one_by_one(tmp_path: Path, output: list[int]) -> None:
    nodes = [
        node("Reshape", ["x", "row"], ["r"]),
        node("Gemm", ["r", "w", "b"], ["g"]),
        node("Softmax", ["g"], ["s"], axis=1),
        node("Reshape", ["s", "out"], ["p"]),
    ]
    weights = {"w": WEIGHT, "b": BIAS, "row": np.array([1, 6]), "out": np.array(output)}
    model = ready(write(tmp_path / "m.onnx", nodes, weights, {"p": output}, {"x": [6]}))
    said = model.describe()
    assert [str(spec) for spec in said.inputs] == ["x float32 [batch,6]"]
    assert (said.classes, said.pre_softmax, said.batch) == (4, True, None)
    assert any("one by one" in note for note in said.notes)
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)


def test_answers_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    model = ready(fixed(tmp_path / "m.onnx", 3, [3, 6]), IMAGES[:0])
    whole = model.predict({"x": IMAGES})
    parts = np.concatenate([model.predict({"x": IMAGES[:2]}), model.predict({"x": IMAGES[2:]})])
    np.testing.assert_array_equal(whole, parts)


def two_inputs(path: Path) -> Path:
    nodes = [node("Concat", ["left", "right"], ["x"], axis=1), node("Gemm", ["x", "w", "b"], ["z"])]
    return write(path, nodes, {"w": WEIGHT, "b": BIAS}, {"z": ["n", 4]}, {"left": ["n", 2], "right": ["n", 4]})


def test_several_inputs_are_taken_by_name(tmp_path: Path) -> None:
    model = load(two_inputs(tmp_path / "m.onnx"))
    answer = model.predict({"right": RECORDS[:, 2:], "left": RECORDS[:, :2]})
    np.testing.assert_allclose(answer, expected_logits(), atol=1e-5)
    with pytest.raises(InputError, match=r"'left' is not among the arrays given \(did you mean 'lft'\?\)"):
        model.predict({"right": RECORDS[:, 2:], "lft": RECORDS[:, :2]})


def test_one_input_takes_the_one_array_whatever_its_name(tmp_path: Path) -> None:
    model = load(write(tmp_path / "m.onnx", *linear(), {"z": ["n", 4]}))
    np.testing.assert_array_equal(model.predict({"pixels": RECORDS}), model.predict({"x": RECORDS}))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8, np.bool_])
def test_numbers_are_cast_to_the_type_of_the_input(tmp_path: Path, dtype: type[np.generic]) -> None:
    model = load(write(tmp_path / "m.onnx", *linear(), {"z": ["n", 4]}))
    given = np.abs(RECORDS * 3).astype(dtype)
    np.testing.assert_array_equal(model.predict({"x": given}), model.predict({"x": given.astype(np.float32)}))


def test_fractions_are_not_cut_to_integers(tmp_path: Path) -> None:
    nodes, weights = linear()
    nodes[0].input[0] = "f"
    path = write(
        tmp_path / "m.onnx",
        [node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), *nodes],
        weights,
        {"z": ["n", 4]},
        input_type=TensorProto.INT64,
    )
    model = load(path)
    assert model.predict({"x": np.round(RECORDS)}).shape == (9, 4)
    with pytest.raises(InputError, match=r"'x' takes int64 and was given float32"):
        model.predict({"x": RECORDS})
    with pytest.raises(InputError, match="array of numbers"):
        model.predict({"x": RECORDS.astype(str)})


def test_a_wrong_width_is_one_line(tmp_path: Path) -> None:
    model = load(write(tmp_path / "m.onnx", *linear(), {"z": ["n", 4]}))
    with pytest.raises(ModelError, match=r"m\.onnx: input 'x' takes 6 along axis 1 and was given 5") as caught:
        model.predict({"x": RECORDS[:, :5]})
    assert "\n" not in str(caught.value)
