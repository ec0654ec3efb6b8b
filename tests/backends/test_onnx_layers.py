"""Layers, their parameters, and their outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pmcore.errors import InputError
from pmcore.interfaces import Array, Capability, Layer, Task, Want
from tests.backends.builders import RECORDS, RNG, load, node, ready, write

FIRST = RNG.normal(size=(6, 5)).astype(np.float32)
SECOND = RNG.normal(size=(5, 4)).astype(np.float32)
X = {"x": RECORDS}


def network(path: Path) -> Path:
    """Write MatMul, Relu, and a Gemm with transposed weights, some without names, and a Softmax."""
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="first"),
        node("Relu", ["h"], ["r"]),
        node("Transpose", ["v"], ["vt"], perm=[1, 0], name="weights"),
        node("Gemm", ["r", "vt"], ["z"], name="head", transB=1),
        node("Softmax", ["z"], ["p"], name="last", axis=1),
    ]
    return write(path, nodes, {"w": FIRST, "v": SECOND}, {"p": ["n", 4]})


def test_layers_are_the_operations_on_the_records(tmp_path: Path) -> None:
    assert tuple(load(network(tmp_path / "m.onnx")).layers()) == (
        Layer(0, "first", "MatMul", ("n", 5), 30),
        Layer(1, "r", "Relu", ("n", 5), 0),
        Layer(2, "head", "Gemm", ("n", 4), 20),
        Layer(3, "last", "Softmax", ("n", 4), 0),
    )


def test_activations_are_given_by_name_index_and_negative_index(tmp_path: Path) -> None:
    model = ready(network(tmp_path / "m.onnx"))
    assert Capability.ACTIVATIONS in model.capabilities
    assert Capability.HEAD_INPUT in model.capabilities
    hidden = np.maximum(RECORDS @ FIRST, 0)
    found = model.activations(X, ["first", "1", "-2"])
    assert list(found) == ["first", "1", "-2"]
    np.testing.assert_allclose(found["first"], RECORDS @ FIRST, atol=1e-5)
    np.testing.assert_allclose(found["1"], hidden, atol=1e-5)
    np.testing.assert_allclose(found["-2"], hidden @ SECOND, atol=1e-5)


def test_predictions_and_activations_come_from_one_pass(tmp_path: Path) -> None:
    model = ready(network(tmp_path / "m.onnx"))
    labels = np.zeros(9, dtype=np.int64)
    both = model.ask(X, labels, Want(predictions=True, activations=frozenset({"first", "head"})))
    assert both.predictions is not None
    np.testing.assert_allclose(both.predictions, model.predict(X), atol=1e-6)
    np.testing.assert_allclose(both.activations["head"], both.predictions, atol=1e-6)
    assert both.task is Task.MULTICLASS
    alone = model.ask(X, labels, Want(activations=frozenset({"first"})))
    assert alone.predictions is None
    np.testing.assert_allclose(alone.activations["first"], both.activations["first"], atol=1e-6)


@pytest.mark.parametrize("wanted", ["frist", "4", "-5", ""])
def test_an_unknown_layer_is_refused(tmp_path: Path, wanted: str) -> None:
    model = load(network(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match=r"has layers 0\.\.3") as caught:
        model.activations(X, [wanted])
    assert wanted != "frist" or "did you mean 'first'" in str(caught.value)


def count(path: Path, nodes: list[NodeProto], weights: dict[str, Array], width: int = 6) -> list[int]:
    return [layer.parameters for layer in load(write(path, nodes, weights, {"z": ["n", width]})).layers()]


def test_tied_weights_are_counted_once(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "w"], ["z"])]
    assert count(tmp_path / "m.onnx", nodes, {"w": np.eye(6, dtype=np.float32)}) == [36, 0]


def test_running_statistics_are_no_parameters(tmp_path: Path) -> None:
    nodes = [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["z"])]
    assert count(tmp_path / "m.onnx", nodes, {name: np.ones(6, np.float32) for name in "sbmv"}) == [12]


def test_weights_made_by_constant_of_shape_are_parameters(tmp_path: Path) -> None:
    one = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [node("ConstantOfShape", ["shape"], ["w"], value=one), node("MatMul", ["x", "w"], ["z"])]
    assert count(tmp_path / "m.onnx", nodes, {"shape": np.array([6, 6])}) == [36]


def test_weights_in_constant_nodes_are_parameters_and_plain_factors_are_not(tmp_path: Path) -> None:
    value = helper.make_tensor("", TensorProto.FLOAT, [6], [1.0] * 6)
    nodes = [
        node("Constant", [], ["c"], value=value),
        node("Mul", ["x", "c"], ["h"]),
        node("Mul", ["h", "two"], ["i"]),
        node("Clip", ["i", "two"], ["z"]),
    ]
    assert count(tmp_path / "m.onnx", nodes, {"two": np.array(2.0, np.float32)}) == [6, 0, 0]
