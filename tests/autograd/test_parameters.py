"""What counts as a parameter of an exported graph, what it is called, and which layer owns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, helper, numpy_helper

import pmcore_autograd
from pmcore.interfaces import Array, LoadOptions
from pmcore_autograd.layered import by_layer
from pmcore_autograd.module import ExportedModule
from pmcore_onnx import OnnxModel
from pmcore_onnx.graph import Graph, read_model
from pmcore_onnx.layers import read_layers
from tests.autograd.exported import EXPORTERS, NETWORKS, export
from tests.backends.builders import node, write

RNG = np.random.default_rng(11)
Shape = Sequence[int | str | None]


def numbers(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def module_of(
    tmp_path: Path,
    nodes: Sequence[NodeProto],
    weights: Mapping[str, Array],
    shape: Shape = ("n", 6),
    opset: int = 17,
    input_type: int = onnx.TensorProto.FLOAT,
) -> ExportedModule:
    path = write(
        tmp_path / "m.onnx", nodes, weights, {"z": None}, {"x": list(shape)}, opset=opset, input_type=input_type
    )
    return pmcore_autograd.load(path)


def names(module: ExportedModule) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def constant(value: Array, to: str) -> NodeProto:
    return node("Constant", [], [to], value=numpy_helper.from_array(value))


SLOTS: dict[str, tuple[NodeProto, dict[str, Array], Shape, list[str]]] = {
    "Gemm": (node("Gemm", ["x", "w", "b"], ["z"]), {"w": numbers(6, 4), "b": numbers(4)}, ("n", 6), ["w", "b"]),
    "MatMul from the left": (node("MatMul", ["w", "x"], ["z"]), {"w": numbers(4, 6)}, (6, 3), ["w"]),
    "Conv": (
        node("Conv", ["x", "w", "b"], ["z"]),
        {"w": numbers(3, 2, 3, 3), "b": numbers(3)},
        ("n", 2, 5, 5),
        ["w", "b"],
    ),
    "ConvTranspose": (node("ConvTranspose", ["x", "w"], ["z"]), {"w": numbers(2, 3, 2, 2)}, ("n", 2, 5, 5), ["w"]),
    "BatchNormalization": (
        node("BatchNormalization", ["x", "s", "b", "m", "v"], ["z"]),
        {"s": numbers(6), "b": numbers(6), "m": numbers(6), "v": numbers(6) ** 2},
        ("n", 6, 2),
        ["s", "b"],
    ),
    "LayerNormalization": (
        node("LayerNormalization", ["x", "s", "b"], ["z"]),
        {"s": numbers(6), "b": numbers(6)},
        ("n", 6),
        ["s", "b"],
    ),
    "InstanceNormalization": (
        node("InstanceNormalization", ["x", "s", "b"], ["z"]),
        {"s": numbers(2), "b": numbers(2)},
        ("n", 2, 5),
        ["s", "b"],
    ),
    "PRelu of one slope": (node("PRelu", ["x", "p"], ["z"]), {"p": numbers(1)}, ("n", 6), ["p"]),
    "Add": (node("Add", ["b", "x"], ["z"]), {"b": numbers(6)}, ("n", 6), ["b"]),
    "Mul": (node("Mul", ["x", "f"], ["z"]), {"f": numbers(6)}, ("n", 6), ["f"]),
    "a difference from a constant": (node("Sub", ["b", "x"], ["z"]), {"b": numbers(6)}, ("n", 6), ["b"]),
    "LSTM": (
        node("LSTM", ["x", "w", "r", "b"], ["z"], hidden_size=3),
        {"w": numbers(1, 12, 6), "r": numbers(1, 12, 3), "b": numbers(1, 24)},
        (4, "n", 6),
        ["w", "r", "b"],
    ),
    "GRU": (
        node("GRU", ["x", "w", "r", "b"], ["z"], hidden_size=3),
        {"w": numbers(1, 9, 6), "r": numbers(1, 9, 3), "b": numbers(1, 18)},
        (4, "n", 6),
        ["w", "r", "b"],
    ),
    "a token before those of a record": (
        node("Concat", ["t", "x"], ["z"], axis=0),
        {"t": numbers(1, 6)},
        ("n", 6),
        ["t"],
    ),
}
NO_PARAMETERS: dict[str, tuple[NodeProto, dict[str, Array]]] = {
    "one number": (node("Mul", ["x", "f"], ["z"]), {"f": numbers(1)}),
    "one number added": (node("Add", ["x", "f"], ["z"]), {"f": numbers()}),
    "what is subtracted": (node("Sub", ["x", "m"], ["z"]), {"m": numbers(6)}),
    "what is divided by": (node("Div", ["x", "s"], ["z"]), {"s": numbers(6)}),
    "a mask that is added": (node("Add", ["x", "m"], ["z"]), {"m": np.array([0, -1e9, 0, 0, -1e9, 0], np.float32)}),
    "an infinite mask": (node("Add", ["x", "m"], ["z"]), {"m": np.array([0, -np.inf, 0, 0, 0, 0], np.float32)}),
    "a mask that multiplies": (node("Mul", ["x", "m"], ["z"]), {"m": np.array([0, 1, 1, 0, 1, 1], np.float32)}),
    "a margin": (node("Concat", ["x", "m"], ["z"], axis=0), {"m": np.zeros((2, 6), np.float32)}),
    "bounds": (
        node("Clip", ["x", "low", "high"], ["z"]),
        {"low": np.zeros((), np.float32), "high": np.ones((), np.float32)},
    ),
    "an exponent": (node("Pow", ["x", "e"], ["z"]), {"e": numbers(6)}),
}


@pytest.mark.parametrize("case", SLOTS)
def test_what_enters_a_slot_is_a_parameter(case: str, tmp_path: Path) -> None:
    made, weights, shape, expected = SLOTS[case]
    module = module_of(tmp_path, [made], weights, shape)
    assert names(module) == expected
    for name in expected:
        np.testing.assert_array_equal(module.get_parameter(name).detach(), weights[name])
        assert module.owners[name] == "z"
    size = [3 if isinstance(length, str) else length or 0 for length in shape]
    torch.autograd.backward(module(torch.randn(size)).square().sum())
    assert all(value.grad is not None and value.grad.any() for value in module.parameters())


@pytest.mark.parametrize("case", NO_PARAMETERS)
def test_other_constants_are_none(case: str, tmp_path: Path) -> None:
    made, weights = NO_PARAMETERS[case]
    module = module_of(tmp_path, [made], weights)
    assert names(module) == []
    assert module(torch.rand(3, 6)).shape[1] == 6


def test_running_statistics_are_buffers(tmp_path: Path) -> None:
    made, weights, shape, _ = SLOTS["BatchNormalization"]
    module = module_of(tmp_path, [made], weights, shape)
    assert [name for name, _ in module.named_buffers()] == ["m", "v"]


def test_statistics_that_others_read_too_are_a_copy(tmp_path: Path) -> None:
    """An exporter merges a mean with a bias of the same numbers, such as zeros."""
    made = node("BatchNormalization", ["x", "s", "b", "b", "s"], ["z"])
    module = module_of(tmp_path, [made], {"s": numbers(6) ** 2, "b": numbers(6)}, ("n", 6, 2))
    assert names(module) == ["s", "b"]
    buffers = dict(module.named_buffers())
    assert list(buffers) == ["z.mean", "z.variance"]
    torch.testing.assert_close(buffers["z.mean"], module.get_parameter("b").detach())


def test_the_bias_of_one_output_is_a_parameter(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "b"], ["z"])]
    assert names(module_of(tmp_path, nodes, {"w": numbers(6, 1), "b": numbers(1)})) == ["w", "b"]


def test_embedding_tables_are_parameters(tmp_path: Path) -> None:
    nodes = [node("Gather", ["table", "x"], ["z"])]
    module = module_of(tmp_path, nodes, {"table": numbers(9, 4)}, ("n", 3), input_type=onnx.TensorProto.INT64)
    assert names(module) == ["table"]
    torch.autograd.backward(module(torch.tensor([[1, 1, 4]])).sum())
    gradient = module.get_parameter("table").grad
    assert gradient is not None
    assert gradient[:, 0].tolist() == [0, 2, 0, 0, 1, 0, 0, 0, 0]


def test_places_that_follow_the_length_are_looked_up_in_a_parameter(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "one"], ["length"]),
        node("Range", ["zero", "length", "step"], ["places"]),
        node("Gather", ["table", "places"], ["rows"]),
        node("Unsqueeze", ["rows", "axes"], ["wide"]),
        node("Add", ["x", "wide"], ["z"]),
    ]
    whole = {"one": np.array(1), "zero": np.array(0), "step": np.array(1), "axes": np.array([0])}
    module = module_of(tmp_path, nodes, {**whole, "table": numbers(9, 4)}, ("n", "t", 4))
    assert names(module) == ["table"]
    assert module.owners == {"table": "z"}
    for length in (3, 5):
        x = torch.rand(2, length, 4)
        torch.testing.assert_close(module(x), x + module.get_parameter("table")[:length])


PASSING: dict[str, tuple[list[NodeProto], dict[str, Array]]] = {
    "Transpose": ([node("Transpose", ["w"], ["u"])], {"w": numbers(4, 6)}),
    "Reshape": ([node("Reshape", ["w", "to"], ["u"])], {"w": numbers(24), "to": np.array([6, 4])}),
    "Identity": ([node("Identity", ["w"], ["u"])], {"w": numbers(6, 4)}),
    "Squeeze": ([node("Squeeze", ["w", "axes"], ["u"])], {"w": numbers(1, 6, 4), "axes": np.array([0])}),
    "Gather": ([node("Gather", ["w", "rows"], ["u"])], {"w": numbers(9, 4), "rows": np.array([0, 2, 4, 6, 7, 8])}),
    "Expand": ([node("Expand", ["w", "to"], ["u"])], {"w": numbers(1, 4), "to": np.array([6, 4])}),
    "Cast": ([node("Cast", ["w"], ["u"], to=1)], {"w": numbers(6, 4).astype(np.float16)}),
    "a Constant node": ([constant(numbers(4, 6), "w"), node("Transpose", ["w"], ["u"])], {}),
    "ConstantOfShape": (
        [
            node("ConstantOfShape", ["size"], ["w"], value=helper.make_tensor("v", 1, [1], [0.5])),
            node("Transpose", ["w"], ["u"]),
        ],
        {"size": np.array([4, 6])},
    ),
}


@pytest.mark.parametrize("case", PASSING)
def test_parameters_are_traced_back_through_what_arranges_them(case: str, tmp_path: Path) -> None:
    nodes, weights = PASSING[case]
    module = module_of(tmp_path, [*nodes, node("MatMul", ["x", "u"], ["z"])], weights)
    assert names(module) == ["w"]
    if "w" in weights:
        torch.testing.assert_close(module.get_parameter("w").detach(), torch.from_numpy(weights["w"]).float())
    torch.autograd.backward(module(torch.rand(3, 6)).square().sum())
    assert module.get_parameter("w").grad is not None
    assert module.widened == (case == "Cast")


def test_what_is_computed_of_constants_is_one_effective_parameter(tmp_path: Path) -> None:
    """As weight normalisation is exported: g v / |v|."""
    direction, length = numbers(6, 4), numbers(1, 4)
    nodes = [
        node("ReduceL2", ["v"], ["size"], axes=[0], keepdims=1),
        node("Div", ["v", "size"], ["unit"]),
        node("Mul", ["unit", "g"], ["w"]),
        node("MatMul", ["x", "w"], ["z"]),
    ]
    module = module_of(tmp_path, nodes, {"v": direction, "g": length})
    assert names(module) == ["w"]
    expected = length * direction / np.linalg.norm(direction, axis=0)
    np.testing.assert_allclose(module.get_parameter("w").detach(), expected, rtol=1e-6)


def test_what_is_computed_of_numbers_alone_is_none(tmp_path: Path) -> None:
    """Sines of places are made in the graph; nothing in them was trained."""
    nodes = [
        node("Range", ["zero", "six", "one"], ["places"]),
        node("Sin", ["places"], ["wave"]),
        node("Add", ["x", "wave"], ["z"]),
    ]
    weights = {name: np.array(value, np.float32) for name, value in (("zero", 0), ("six", 6), ("one", 1))}
    assert names(module_of(tmp_path, nodes, weights)) == []


def test_a_tensor_that_is_used_twice_is_one_parameter(tmp_path: Path) -> None:
    weight = numbers(6, 6)
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Transpose", ["w"], ["t"]),
        node("MatMul", ["a", "t"], ["z"]),
    ]
    module = module_of(tmp_path, nodes, {"w": weight})
    assert names(module) == ["w"]
    assert module.owners == {"w": "a"}
    x = torch.rand(3, 6)
    torch.autograd.backward(module(x).sum())
    own = torch.from_numpy(weight).requires_grad_()
    torch.autograd.backward((x @ own @ own.t()).sum())
    torch.testing.assert_close(module.get_parameter("w").grad, own.grad)


def test_integers_are_dequantised_into_surrogates(tmp_path: Path) -> None:
    whole, scale = RNG.integers(-127, 127, (6, 4)).astype(np.int8), numbers(4) ** 2
    nodes = [
        node("DequantizeLinear", ["q", "s"], ["w"], axis=1),
        node("DequantizeLinear", ["q", "s"], ["again"], axis=1),
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["x", "again"], ["b"]),
        node("Add", ["a", "b"], ["z"]),
    ]
    module = module_of(tmp_path, nodes, {"q": whole, "s": scale})
    assert names(module) == ["w"]
    assert module.surrogate
    np.testing.assert_allclose(module.get_parameter("w").detach(), whole * scale, rtol=1e-6)


def test_a_token_that_is_rounded_for_each_batch_is_a_parameter(tmp_path: Path) -> None:
    """It is expanded to the number of records first, so that nothing of it can be folded."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["n"]),
        node("Concat", ["n", "rest"], ["wide"], axis=0),
        node("Expand", ["token", "wide"], ["tokens"]),
        node("QuantizeLinear", ["tokens", "s", "p"], ["q"]),
        node("DequantizeLinear", ["q", "s", "p"], ["d"]),
        node("Concat", ["d", "x"], ["z"], axis=1),
    ]
    weights = {
        "first": np.array([0]),
        "rest": np.array([1, 4]),
        "token": numbers(1, 1, 4).clip(-1, 1),
        "s": np.array(0.01, np.float32),
        "p": np.array(0, np.int8),
    }
    module = module_of(tmp_path, nodes, weights, ("n", 3, 4))
    assert names(module) == ["token"]
    assert module.owners == {"token": "z"}
    torch.autograd.backward(module(torch.rand(5, 3, 4)).sum())
    gradient = module.get_parameter("token").grad
    assert gradient is not None
    assert gradient.flatten().tolist() == [5, 5, 5, 5]


def test_weights_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "p"]),
        node("MatMulInteger", ["q", "w", "p"], ["i"], name="whole"),
        node("Cast", ["i"], ["z"], to=1),
    ]
    with pytest.raises(
        pmcore_autograd.Unsupported, match="MatMulInteger 'whole' computes with weights of whole numbers"
    ):
        module_of(tmp_path, nodes, {"w": RNG.integers(0, 9, (6, 4)).astype(np.uint8)})


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(kind: str, tmp_path: Path) -> None:
    number = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}[kind]
    weight = numbers(6, 4)
    path = tmp_path / "m.onnx"
    graph = helper.make_graph(
        [node("Cast", ["x"], ["h"], to=number), node("MatMul", ["h", "w"], ["y"]), node("Cast", ["y"], ["z"], to=1)],
        "half",
        [helper.make_tensor_value_info("x", 1, ["n", 6])],
        [helper.make_tensor_value_info("z", 1, ["n", 4])],
        [numpy_helper.from_array(weight.astype(helper.tensor_dtype_to_np_dtype(number)), "w")],
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    module = pmcore_autograd.load(path)
    assert module.widened
    assert module.get_parameter("w").dtype == torch.float32
    x = torch.rand(3, 6)
    torch.testing.assert_close(module(x), x @ module.get_parameter("w"))
    torch.testing.assert_close(module(x).detach(), x @ torch.from_numpy(weight), rtol=0.05, atol=0.05)


def test_a_file_in_double_precision_is_computed_in_it(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    weight = RNG.normal(size=(6, 4))
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["z"])],
        "double",
        [helper.make_tensor_value_info("x", 11, ["n", 6])],
        [helper.make_tensor_value_info("z", 11, ["n", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    x = RNG.normal(size=(3, 6))
    np.testing.assert_allclose(pmcore_autograd.load(path)(torch.from_numpy(x)).detach(), x @ weight, rtol=1e-13)


ODD = [
    "weight",
    "a.b",
    "a",
    "a.b.c",
    ".",
    "",
    "forward",
    "type.weight",
    "0..1",
    "onnx::MatMul_12",
    "/fc/w",
    "training",
    "x y",
]


def test_any_name_of_a_tensor_has_a_parameter(tmp_path: Path) -> None:
    odd = [name for name in ODD if name]
    nodes, read = [], "x"
    for place, name in enumerate(odd):
        made = "z" if place == len(odd) - 1 else f"hidden{place}"
        nodes.append(node("Mul", [read, name], [made]))
        read = made
    module = module_of(tmp_path, nodes, {name: numbers(6) for name in odd})
    found = names(module)
    assert len(set(found)) == len(odd)
    assert {module.parameter_facts[name].tensor for name in found} == set(odd)
    assert {"weight", "a.b", "onnx::MatMul_12", "/fc/w", "x y"} <= set(found)
    state = {name: torch.ones_like(value) for name, value in module.named_parameters()}
    x = torch.rand(3, 6)
    torch.testing.assert_close(torch.func.functional_call(module, state, (x,)), x)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_own_as_many_parameters_as_the_onnx_backend_counts(name: str, exporter: str, tmp_path: Path) -> None:
    path = export(name, exporter, tmp_path)
    module = pmcore_autograd.load(path)
    table = read_layers(Graph(read_model(path)))
    owned = {layer: sum(value.numel() for value in several) for layer, several in by_layer(module, table).items()}
    assert owned == {layer.name: layer.parameters for layer in table.layers}


def test_parameters_of_a_linear_classifier_belong_to_its_layer(tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = numbers(60, 5)
    path = tmp_path / "m.onnx"
    estimator = LogisticRegression().fit(x, (x[:, 0] + x[:, 1] > 0).astype(int) + (x[:, 2] > 0))
    path.write_bytes(to_onnx(estimator, x[:1], options={"zipmap": False}).SerializeToString())
    module = pmcore_autograd.load(path)
    table = read_layers(Graph(read_model(path)))
    model = OnnxModel.load(path, LoadOptions(device="cpu"))
    assert set(module.owners.values()) <= set(table.tensors)
    counted = {layer.name: layer.parameters for layer in table.layers if layer.parameters}
    assert sum(counted.values()) == sum(value.numel() for value in module.parameters()) == 18
    model.close()
