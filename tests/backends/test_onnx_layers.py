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


@pytest.mark.parametrize("turned", [False, True], ids=["bias last", "bias first"])
def test_a_bias_counts_with_the_product_that_it_is_added_to(turned: bool, tmp_path: Path) -> None:
    operands = ["b", "h"] if turned else ["h", "b"]
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", operands, ["z"])]
    assert count(tmp_path / "m.onnx", nodes, {"w": FIRST, "b": np.ones((1, 5), np.float32)}, 5) == [35, 0]


def test_a_single_number_is_the_bias_of_a_layer_with_one_output(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "b"], ["z"])]
    assert count(tmp_path / "m.onnx", nodes, {"w": FIRST[:, :1], "b": np.ones(1, np.float32)}, 1) == [7, 0]


def test_a_bias_along_the_channels_counts_with_the_convolution(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "shape"], ["i"]),
        node("Conv", ["i", "w"], ["h"]),
        node("Add", ["h", "b"], ["s"]),
        node("Flatten", ["s"], ["z"]),
    ]
    weights = {"shape": np.array([-1, 1, 2, 3]), "w": np.ones((4, 1, 1, 2), np.float32)}
    expected = {(4, 1, 1): [0, 12, 0, 0], (1, 4, 1, 1): [0, 12, 0, 0], (2, 2): [0, 8, 4, 0]}
    for shape, counts in expected.items():
        assert count(tmp_path / "m.onnx", nodes, weights | {"b": np.ones(shape, np.float32)}, 16) == counts


@pytest.mark.parametrize(
    ("nodes", "counts"),
    [
        pytest.param([("Gemm", "x w c", "h"), ("Add", "h b", "z")], [35, 5], id="it has a bias already"),
        pytest.param([("MatMul", "x w", "h"), ("Add", "h b", "s"), ("Mul", "s h", "z")], [30, 5, 0], id="read twice"),
        pytest.param([("MatMul", "x w", "h"), ("Add", "h t", "z")], [30, 45], id="one for each place"),
        pytest.param([("MatMul", "x w", "h"), ("Relu", "h", "r"), ("Add", "r b", "z")], [30, 0, 5], id="not at once"),
    ],
)
def test_what_is_no_bias_of_a_product_counts_with_its_sum(
    nodes: list[tuple[str, str, str]], counts: list[int], tmp_path: Path
) -> None:
    made = [node(kind, reads.split(), [makes]) for kind, reads, makes in nodes]
    weights = {"w": FIRST, "b": np.ones(5, np.float32), "c": FIRST[0], "t": np.ones((9, 5), np.float32)}
    assert count(tmp_path / "m.onnx", made, weights, 5) == counts
