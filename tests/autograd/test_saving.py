"""A module written back into its file: the same graph with other weights, and the runtime answers as it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

import pmcore_autograd
from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array
from pmcore_autograd.module import ExportedModule
from tests.autograd.exported import EXPORTERS, NETWORKS, distance, export, records, runtime, write
from tests.backends.builders import RECORDS, linear, make_external, node, write_linear
from tests.backends.builders import write as write_nodes

RNG = np.random.default_rng(3)


def train(module: ExportedModule, name: str, steps: int = 5) -> None:
    x, y = records(name, 40)
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(module(x), y))
        optimiser.step()


def perturb(module: ExportedModule) -> None:
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in module.state_dict().values():
            value.mul_(1 - 0.2 * torch.rand(value.shape, generator=random))


def shape_of(model: ModelProto) -> list[tuple[str, str, list[str], list[str]]]:
    """Return the graph without its weights, but for nodes that only hold some."""
    return [(made.op_type, made.name, [*made.input], [*made.output]) for made in model.graph.node]


def small(tmp_path: Path, nodes: Sequence[NodeProto], weights: Mapping[str, Array], opset: int = 17) -> Path:
    return write_nodes(tmp_path / "m.onnx", nodes, weights, {"z": ["n", None]}, opset=opset)


def saved(path: Path, tmp_path: Path) -> Path:
    """Change a file's weights, check the copy that is saved, and return it."""
    module = pmcore_autograd.load(path)
    perturb(module)
    target = tmp_path / "saved.onnx"
    pmcore_autograd.save(module, target)
    expected = runtime(target, RECORDS)
    assert distance(module(torch.from_numpy(RECORDS)), expected) < 1e-5
    assert distance(runtime(path, RECORDS), expected) > 1e-2
    again = pmcore_autograd.load(target)
    assert list(again.state_dict()) == list(module.state_dict())
    for key, value in module.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value)
    onnx.checker.check_model(target, full_check=True)
    return target


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_trained_is_what_the_runtime_answers(name: str, exporter: str, tmp_path: Path) -> None:
    path, target = export(name, exporter, tmp_path), tmp_path / "trained.onnx"
    module = pmcore_autograd.load(path)
    before = path.read_bytes()
    module.reset_parameters(0)
    train(module, name)
    pmcore_autograd.save(module, target)
    x, _ = records(name)
    assert distance(module(x), runtime(target, x.numpy())) < 1e-5
    assert path.read_bytes() == before
    assert shape_of(onnx.load(target)) == shape_of(onnx.load(path))
    onnx.checker.check_model(target, full_check=True)


def test_an_untouched_module_saves_the_same_weights(tmp_path: Path) -> None:
    path = export("transformer", "legacy", tmp_path)
    pmcore_autograd.save(pmcore_autograd.load(path), tmp_path / "same.onnx")
    first, second = (onnx.load(each) for each in (path, tmp_path / "same.onnx"))
    for ours, theirs in zip(first.graph.initializer, second.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(theirs))


def test_running_statistics_are_saved_too(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 4)).eval()
    x, y = records("cnn", 20)
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(0.1 * torch.rand_like(value)) if value.is_floating_point() else None
    write(net, x[:3], "legacy", tmp_path / "net.onnx")
    module = pmcore_autograd.load(tmp_path / "net.onnx")
    module.train()
    module.batch_statistics = True
    optimiser = torch.optim.SGD(module.parameters(), 0.1)
    torch.autograd.backward(nn.functional.cross_entropy(module(x), y % 4))
    optimiser.step()
    module.eval()
    pmcore_autograd.save(module, tmp_path / "saved.onnx")
    assert distance(module(x), runtime(tmp_path / "saved.onnx", x.numpy())) < 1e-5


def test_statistics_that_were_shared_get_a_tensor_of_their_own(tmp_path: Path) -> None:
    made = [node("BatchNormalization", ["x", "s", "b", "b", "s"], ["z"], name="norm")]
    weights: dict[str, Array] = {"s": 1 + RNG.random(6).astype(np.float32), "b": RNG.normal(size=6)}
    path = small(tmp_path, made, weights)
    module = pmcore_autograd.load(path)
    with torch.no_grad():
        module.get_parameter("b").add_(1)
        module.get_buffer("z.mean").add_(-1)
    pmcore_autograd.save(module, tmp_path / "saved.onnx")
    assert distance(module(torch.from_numpy(RECORDS)), runtime(tmp_path / "saved.onnx", RECORDS)) < 1e-5
    again = pmcore_autograd.load(tmp_path / "saved.onnx")
    torch.testing.assert_close(again.get_buffer("z.mean"), module.get_buffer("z.mean"))


def test_a_constant_node_becomes_an_initialiser(tmp_path: Path) -> None:
    held = node("Constant", [], ["w"], value=numpy_helper.from_array(RNG.normal(size=(6, 4)).astype(np.float32)))
    target = saved(small(tmp_path, [held, node("MatMul", ["x", "w"], ["z"])], {}), tmp_path)
    model = onnx.load(target)
    assert [made.op_type for made in model.graph.node] == ["MatMul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["w"]


def test_weights_of_one_value_become_an_initialiser(tmp_path: Path) -> None:
    made = node("ConstantOfShape", ["size"], ["w"], value=helper.make_tensor("v", 1, [1], [0.5]))
    path = small(tmp_path, [made, node("MatMul", ["x", "w"], ["z"])], {"size": np.array([6, 4])})
    assert [each.op_type for each in onnx.load(saved(path, tmp_path)).graph.node] == ["MatMul"]


def test_what_was_computed_of_constants_becomes_an_initialiser(tmp_path: Path) -> None:
    nodes = [node("Mul", ["v", "g"], ["w"]), node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "t"], ["z"])]
    weights = {"v": RNG.normal(size=(4, 6)).astype(np.float32), "g": RNG.normal(size=(4, 1)).astype(np.float32)}
    saved(small(tmp_path, nodes, weights), tmp_path)


def test_weights_that_are_transposed_in_the_graph_stay_so(tmp_path: Path) -> None:
    nodes = [node("Transpose", ["w"], ["t"]), node("MatMul", ["x", "t"], ["z"])]
    target = saved(small(tmp_path, nodes, {"w": RNG.normal(size=(4, 6)).astype(np.float32)}), tmp_path)
    assert [made.op_type for made in onnx.load(target).graph.node] == ["Transpose", "MatMul"]


def test_tied_weights_are_written_once(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Transpose", ["w"], ["t"]),
        node("MatMul", ["a", "t"], ["z"]),
    ]
    target = saved(small(tmp_path, nodes, {"w": RNG.normal(size=(6, 6)).astype(np.float32)}), tmp_path)
    assert len(onnx.load(target).graph.initializer) == 1


def test_weights_inside_of_a_function_are_saved(tmp_path: Path) -> None:
    held = node("Constant", [], ["w"], value=numpy_helper.from_array(RNG.normal(size=(6, 6)).astype(np.float32)))
    body = [held, node("MatMul", ["a", "w"], ["out"])]
    own = helper.make_function("own", "layer", ["a"], ["out"], body, [helper.make_opsetid("", 17)])
    calls = [helper.make_node("layer", [read], [made], domain="own") for read, made in (("x", "h"), ("h", "z"))]
    graph = helper.make_graph(
        calls,
        "calls",
        [helper.make_tensor_value_info("x", 1, ["n", 6])],
        [helper.make_tensor_value_info("z", 1, ["n", 6])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[own])
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    assert len(list(pmcore_autograd.load(path).parameters())) == 2
    saved(path, tmp_path)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_narrowed_again(kind: str, tmp_path: Path) -> None:
    number = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[kind]
    weight = RNG.normal(size=(6, 4)).astype(helper.tensor_dtype_to_np_dtype(number))
    graph = helper.make_graph(
        [node("Cast", ["w"], ["v"], to=1), node("MatMul", ["x", "v"], ["z"])],
        "half",
        [helper.make_tensor_value_info("x", 1, ["n", 6])],
        [helper.make_tensor_value_info("z", 1, ["n", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    module = pmcore_autograd.load(path)
    perturb(module)
    pmcore_autograd.save(module, tmp_path / "saved.onnx")
    assert onnx.load(tmp_path / "saved.onnx").graph.initializer[0].data_type == number
    assert distance(module(torch.from_numpy(RECORDS)), runtime(tmp_path / "saved.onnx", RECORDS)) < 2e-2
    with torch.no_grad():
        module.get_parameter("w").fill_(3.4e38)
    with pytest.raises(ModelError, match=f"the weight 'w' has numbers that {kind} cannot hold"):
        pmcore_autograd.save(module, tmp_path / "large.onnx")
    assert not (tmp_path / "large.onnx").exists()


def quantised(tmp_path: Path) -> Path:
    nodes = [node("DequantizeLinear", ["q", "s", "p"], ["w"], axis=1), node("MatMul", ["x", "w"], ["z"])]
    weights: dict[str, Array] = {
        "q": RNG.integers(-120, 120, (6, 4)).astype(np.int8),
        "s": np.array([0.1, 0.02, 0.3, 0.01], np.float32),
        "p": np.array([0, 3, -2, 1], np.int8),
    }
    return small(tmp_path, nodes, weights)


def test_integers_are_rounded_to_on_the_scales_of_the_file(tmp_path: Path) -> None:
    module = pmcore_autograd.load(quantised(tmp_path))
    with torch.no_grad():
        module.get_parameter("w").mul_(0.7)
    pmcore_autograd.save(module, tmp_path / "saved.onnx")
    held = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "saved.onnx").graph.initializer
    }
    assert held["q"].dtype == np.int8
    again = pmcore_autograd.load(tmp_path / "saved.onnx").get_parameter("w")
    off = (again - module.get_parameter("w")).abs().detach().numpy()
    assert (off <= 0.5 * held["s"] * 1.01).all()
    assert off.max() > 0
    assert distance(again, module.get_parameter("w")) < 0.02


def test_weights_beyond_the_scales_of_the_file_are_not_saved(tmp_path: Path) -> None:
    module = pmcore_autograd.load(quantised(tmp_path))
    with torch.no_grad():
        module.get_parameter("w")[2, 1] = 40.0
    with pytest.raises(ModelError, match="1 of 24 weights of 'q' are larger than its scales reach"):
        pmcore_autograd.save(module, tmp_path / "saved.onnx")
    assert not (tmp_path / "saved.onnx").exists()


def test_a_linear_classifier_keeps_its_node(tmp_path: Path) -> None:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression().fit(RECORDS, np.arange(9) % 3)
    path = tmp_path / "m.onnx"
    path.write_bytes(to_onnx(estimator, RECORDS[:1], options={"zipmap": False}).SerializeToString())
    module = pmcore_autograd.load(path)
    perturb(module)
    pmcore_autograd.save(module, tmp_path / "saved.onnx")
    expected = runtime(tmp_path / "saved.onnx", RECORDS, "probabilities", "X")
    assert distance(module(torch.from_numpy(RECORDS)), expected) < 1e-5
    assert shape_of(onnx.load(tmp_path / "saved.onnx")) == shape_of(onnx.load(path))


def test_weights_beside_the_file_stay_beside_the_new_one(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["z"])]
    path = small(tmp_path, nodes, {"w": RNG.normal(size=(6, 400)).astype(np.float32)})
    data = make_external(path)
    before = data.read_bytes()
    folder = tmp_path / "new"
    folder.mkdir()
    target = saved(path, folder)
    assert sorted(file.name for file in folder.iterdir()) == ["saved.onnx", "saved.onnx.data"]
    (tensor,) = onnx.load(target, load_external_data=False).graph.initializer
    assert {entry.key: entry.value for entry in tensor.external_data}["location"] == "saved.onnx.data"
    assert data.read_bytes() == before


def test_a_file_is_not_replaced_unless_that_is_said(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    module = pmcore_autograd.load(path)
    perturb(module)
    before = path.read_bytes()
    with pytest.raises(InputError, match="is there already"):
        pmcore_autograd.save(module, path)
    assert path.read_bytes() == before
    pmcore_autograd.save(module, path, overwrite=True)
    assert distance(module(torch.from_numpy(RECORDS)), runtime(path, RECORDS)) < 1e-5
    pmcore_autograd.save(module, path, overwrite=True)


def test_a_file_with_weights_beside_it_is_replaced_with_them(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    make_external(path)
    module = pmcore_autograd.load(path)
    perturb(module)
    for _ in range(2):
        pmcore_autograd.save(module, path, overwrite=True)
        assert distance(module(torch.from_numpy(RECORDS)), runtime(path, RECORDS)) < 1e-5


def test_weights_of_another_model_are_not_replaced(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    make_external(path)
    data = tmp_path / "new.onnx.data"
    data.write_bytes(b"another's")
    with pytest.raises(InputError, match=r"new\.onnx\.data: is there already"):
        pmcore_autograd.save(pmcore_autograd.load(path), tmp_path / "new.onnx")
    assert data.read_bytes() == b"another's"


def test_nothing_is_left_where_saving_fails(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    module = pmcore_autograd.load(path)
    path.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        pmcore_autograd.save(module, tmp_path / "saved.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_since_is_told(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    module = pmcore_autograd.load(path)
    nodes, weights = linear()
    nodes[0].input[1] = "v"
    write_nodes(path, nodes, {"v": weights["w"], "b": weights["b"]}, {"z": ["n", 4]})
    with pytest.raises(InputError, match=r"has changed since it was loaded \('w'\)"):
        pmcore_autograd.save(module, tmp_path / "saved.onnx")


def test_double_precision_is_saved_in_the_type_of_the_file(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    module = pmcore_autograd.load(path).double()
    perturb(module)
    pmcore_autograd.save(module, tmp_path / "saved.onnx")
    assert distance(module(torch.from_numpy(RECORDS)), runtime(tmp_path / "saved.onnx", RECORDS)) < 1e-5
