"""A loaded export is the network that was exported: the same answers, parameters and gradients."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

import pmcore_autograd
from pmcore.errors import InputError, ModelError
from pmcore_autograd.module import ExportedModule
from tests.autograd.exported import (
    EXPORTERS,
    NETWORKS,
    as_shipped,
    distance,
    export,
    matched,
    records,
    runtime,
    write,
)
from tests.backends.builders import RECORDS, linear, node
from tests.backends.builders import write as write_nodes

CASES = [(name, exporter) for name in NETWORKS for exporter in EXPORTERS]


@cache
def file_of(name: str, exporter: str) -> Path:
    return export(name, exporter, Path(mkdtemp()))


@pytest.fixture
def loaded(name: str, exporter: str) -> ExportedModule:
    return pmcore_autograd.load(file_of(name, exporter))


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_the_forward_pass_answers_as_onnx_runtime(loaded: ExportedModule, name: str, exporter: str) -> None:
    x, _ = records(name)
    assert distance(loaded(x), runtime(file_of(name, exporter), x.numpy())) < 1e-5


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_the_parameters_are_those_of_the_network(loaded: ExportedModule, name: str, exporter: str) -> None:
    net = as_shipped(name)
    assert sorted(match.name for match in matched(loaded, net).values()) == sorted(dict(net.named_parameters()))
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in net.parameters())
    assert not loaded.training
    assert not loaded.surrogate
    assert not loaded.widened


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_gradients_are_those_of_the_network(loaded: ExportedModule, name: str, exporter: str) -> None:
    x, y = records(name)
    net = as_shipped(name)
    for module in (net, loaded):
        torch.autograd.backward(nn.functional.cross_entropy(module(x), y))
    theirs = dict(net.named_parameters())
    for ours, match in matched(loaded, net).items():
        found, expected = dict(loaded.named_parameters())[ours].grad, theirs[match.name].grad
        assert found is not None
        assert expected is not None
        assert distance(found, match.oriented(expected).reshape(found.shape)) < 1e-5


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_gradients_of_single_records_come_from_vmap(loaded: ExportedModule, name: str, exporter: str) -> None:
    x, y = records(name)
    found = per_record(loaded, x, y)
    for i in range(len(x)):
        loaded.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(loaded(x[i : i + 1]), y[i : i + 1]))
        for key, value in loaded.named_parameters():
            assert value.grad is not None
            assert distance(found[key][i], value.grad) < 1e-5


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_export_for_one_record_gives_gradients_of_many(exporter: str, tmp_path: Path) -> None:
    x, y = records("transformer")
    one = pmcore_autograd.load(export("transformer", exporter, tmp_path, batch=1))
    free = pmcore_autograd.load(file_of("transformer", exporter))
    found, expected = per_record(one, x, y), per_record(free, x, y)
    norms = [torch.stack([g.flatten(1).norm(dim=1) for g in each.values()]).norm(dim=0) for each in (found, expected)]
    assert distance(*norms) < 1e-5


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_double_precision_is_double_precision(loaded: ExportedModule, name: str, exporter: str) -> None:
    x, y = records(name)
    net = as_shipped(name).double()
    exact = loaded.double()
    with torch.no_grad():
        for key, match in matched(exact, net).items():  # an exporter that folds rounds in another way
            value = exact.get_parameter(key)
            value.copy_(match.oriented(net.get_parameter(match.name)).reshape(value.shape))
    assert exact(x).dtype == torch.float64
    assert distance(exact(x), net(x.double())) < 1e-12
    for module in (net, exact):
        torch.autograd.backward(nn.functional.cross_entropy(module(x.double()), y))
    total = [torch.stack([p.grad.norm() for p in m.parameters() if p.grad is not None]).norm() for m in (net, exact)]
    assert distance(total[1], total[0]) < 1e-12


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_training_from_fresh_weights_lowers_the_loss(loaded: ExportedModule, name: str, exporter: str) -> None:
    x, y = records(name, 60)
    loaded.reset_parameters(1)
    optimiser = torch.optim.Adam(loaded.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(loaded(x), y)
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_fresh_weights_follow_the_seed(tmp_path: Path) -> None:
    first, second, other = (pmcore_autograd.load(file_of("transformer", "dynamo")) for _ in range(3))
    before = {key: value.clone() for key, value in first.named_parameters()}
    for module, seed in ((first, 1), (second, 1), (other, 2)):
        module.reset_parameters(seed)
    for key, value in first.named_parameters():
        assert torch.equal(value, dict(second.named_parameters())[key])
        assert not torch.equal(value, before[key])
        if value.dim() > 1:
            assert not torch.equal(value, dict(other.named_parameters())[key])


def test_fresh_weights_suit_what_they_are(tmp_path: Path) -> None:
    module = pmcore_autograd.load(file_of("mlp", "legacy"))
    module.reset_parameters(0)
    first, bias = module.get_parameter("layers.0.weight"), module.get_parameter("layers.0.bias")
    last = module.get_parameter("layers.4.weight")
    assert not bias.any()
    assert abs(first.std().item() / (2 / 64) ** 0.5 - 1) < 0.05  # a ReLU follows
    assert abs(last.std().item() / (1 / 48) ** 0.5 - 1) < 0.1


def test_batchnorm_in_training_is_that_of_torch(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.BatchNorm2d(3, momentum=0.3), nn.Flatten(), nn.Linear(108, 4))
    with torch.no_grad():
        for value in net.state_dict().values():
            value.add_(0.1 * torch.rand_like(value)) if value.is_floating_point() else None
    net.eval()
    x, _ = records("cnn")
    write(net, x[:3], "legacy", tmp_path / "net.onnx")
    module = pmcore_autograd.load(tmp_path / "net.onnx")
    assert distance(module(x), net(x)) < 1e-5
    module.train()
    assert distance(module(x), net(x)) < 1e-5
    module.batch_statistics = True
    net.train()
    assert distance(module(x), net(x)) < 1e-5
    statistics = {key.rpartition(".")[2]: value for key, value in module.named_buffers()}
    norm = net[2]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert distance(statistics["running_mean"], norm.running_mean) < 1e-5
    assert distance(statistics["running_var"], norm.running_var) < 1e-5
    module.reset_parameters(0)
    assert not dict(module.named_buffers())["2.running_mean"].any()
    assert (dict(module.named_buffers())["2.running_var"] == 1).all()


def test_hidden_tensors_are_had_by_name(tmp_path: Path) -> None:
    path = file_of("mlp", "legacy")
    module = pmcore_autograd.load(path)
    x, _ = records("mlp")
    hidden = [made for step in module.graph.nodes for made in step.outputs]
    found = module.forward_until(hidden, x)
    for name in hidden:
        assert distance(found[name], pmcore_autograd.load(path, [name])(x)) == 0
    assert distance(found["z"], module(x)) == 0
    with pytest.raises(InputError, match="computes no tensor 'nowhere'"):
        module.forward_until(["nowhere"], x)


def test_several_outputs_come_in_the_order_asked_for(tmp_path: Path) -> None:
    nodes, weights = linear()
    path = write_nodes(
        tmp_path / "m.onnx", [*nodes, node("Relu", ["z"], ["r"])], weights, {"r": ["n", 4], "z": ["n", 4]}
    )
    r, z = pmcore_autograd.load(path)(torch.from_numpy(RECORDS))
    again = pmcore_autograd.load(path, ["z", "r", "x"])(torch.from_numpy(RECORDS))
    assert torch.equal(torch.relu(z), r)
    assert torch.equal(again[0], z)
    assert torch.equal(again[2], torch.from_numpy(RECORDS))


def test_inputs_are_taken_in_order_or_by_name(tmp_path: Path) -> None:
    nodes = [node("Sub", ["a", "b"], ["c"]), node("Mul", ["c", "w"], ["z"])]
    inputs: dict[str, list[int | str | None]] = {"a": ["n", 6], "b": ["n", 6]}
    path = write_nodes(tmp_path / "m.onnx", nodes, {"w": np.arange(6.0)}, {"z": ["n", 6]}, inputs)
    module = pmcore_autograd.load(path)
    a, b = torch.rand(2, 3, 6)
    assert [spec.name for spec in module.inputs] == ["a", "b"]
    assert torch.equal(module(a, b), module(b=b, a=a))
    assert torch.equal(module(a, b=b), (a - b) * torch.arange(6.0))


@pytest.mark.parametrize(
    ("tensors", "named", "said"),
    [
        ((), {}, "input 'x' is missing"),
        ((torch.zeros(2, 6), torch.zeros(2, 6)), {}, "takes 1 inputs"),
        ((), {"y": torch.zeros(2, 6)}, "'y' is not among its inputs: x"),
        ((torch.zeros(2, 5),), {}, r"takes x float32 \[n,6\], and the tensor given has the shape \(2, 5\)"),
        ((torch.zeros(6),), {}, "has the shape"),
        (("records",), {}, "is a str"),
    ],
)
def test_wrong_inputs_are_told(
    tensors: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor], said: str, tmp_path: Path
) -> None:
    nodes, weights = linear()
    module = pmcore_autograd.load(write_nodes(tmp_path / "m.onnx", nodes, weights, {"z": ["n", 4]}))
    with pytest.raises(InputError, match=said):
        module(*tensors, **named)


def test_whole_numbers_are_taken_for_real_ones(tmp_path: Path) -> None:
    nodes, weights = linear()
    module = pmcore_autograd.load(write_nodes(tmp_path / "m.onnx", nodes, weights, {"z": ["n", 4]}))
    bits = torch.randint(0, 2, (3, 6), dtype=torch.uint8)
    assert torch.equal(module(bits), module(bits.float()))


def test_what_does_not_fit_is_told_by_the_node(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["z"], name="wrong")]
    path = write_nodes(tmp_path / "m.onnx", nodes, {"w": np.ones((5, 4))}, {"z": ["n", 4]})
    with pytest.raises(ModelError, match=r"^MatMul 'wrong': .*see that the records"):
        pmcore_autograd.load(path)(torch.zeros(2, 6))


def test_any_number_of_shapes_is_answered_and_few_plans_are_kept() -> None:
    path = file_of("transformer", "dynamo")
    module = pmcore_autograd.load(path)
    x, _ = records("transformer", 12)
    for n in (*range(1, 13), 1):
        assert distance(module(x[:n]), runtime(path, x[:n].numpy())) < 1e-5
    assert len(module._plans) <= 8


def test_a_plan_made_under_transforms_or_in_inference_mode_serves_training() -> None:
    x, y = records("transformer")
    module = pmcore_autograd.load(file_of("transformer", "legacy"))
    with torch.inference_mode():
        expected = module(x).clone()
    per_record(module, x, y)
    assert distance(module(x), expected) == 0
    one = module(x[:1])
    torch.autograd.backward(one.sum())
    assert all(value.grad is not None for value in module.parameters())


def test_tensors_go_after_their_last_use() -> None:
    module = pmcore_autograd.load(file_of("transformer", "legacy"))
    module(records("transformer")[0])
    (plan,) = module._plans.values()
    written = {cell for step in plan.steps for cell in step.writes if cell >= 0}
    freed = [cell for step in plan.steps for cell in step.frees]
    assert len(freed) == len(set(freed))
    assert written - set(plan.wanted) <= set(freed)
    for number, step in enumerate(plan.steps):
        later = {cell for other in plan.steps[number + 1 :] for cell in other.reads}
        assert later.isdisjoint(step.frees)


def test_what_depends_on_shapes_only_is_no_step() -> None:
    module = pmcore_autograd.load(file_of("transformer", "legacy"))
    module(records("transformer")[0])
    (plan,) = module._plans.values()
    kinds = {step.node.kind for step in plan.steps}
    assert any(made.kind == "Shape" for made in module.graph.nodes)
    assert kinds.isdisjoint({"Shape", "Constant", "Range", "ConstantOfShape"})


def test_a_shape_that_depends_on_a_record_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Cast", ["s"], ["k"], to=7),
        node("Unsqueeze", ["k", "zero"], ["shape"]),
        node("Expand", ["one", "shape"], ["wide"]),
        node("Shape", ["wide"], ["size"]),
        node("Cast", ["size"], ["real"], to=1),
        node("Mul", ["x", "real"], ["z"]),
    ]
    weights = {"zero": np.array([0]), "one": np.ones(1, np.float32)}
    module = pmcore_autograd.load(write_nodes(tmp_path / "m.onnx", nodes, weights, {"z": ["n", 6]}))
    with pytest.raises(pmcore_autograd.Unsupported, match=r"Expand 'wide'.*depends on the values of a record"):
        module(torch.ones(1, 6))


def test_a_copy_is_a_module_of_its_own() -> None:
    module = pmcore_autograd.load(file_of("mlp", "legacy"))
    x, _ = records("mlp")
    before = module(x).detach()
    twin = copy.deepcopy(module)
    twin.reset_parameters(3)
    assert distance(module(x), before) == 0
    assert distance(twin(x), before) > 0.1


def test_a_module_goes_to_another_process_and_back() -> None:
    module = pmcore_autograd.load(file_of("transformer", "legacy"))
    x, _ = records("transformer")
    before = module(x).detach()
    twin = pickle.loads(pickle.dumps(module))
    assert distance(twin(x), before) == 0
    twin.reset_parameters(3)
    assert distance(twin(x), before) > 0.1
    assert distance(module(x), before) == 0


def test_state_dicts_carry_weights_from_one_module_to_another(tmp_path: Path) -> None:
    first, second = (pmcore_autograd.load(file_of("cnn", "dynamo")) for _ in range(2))
    first.reset_parameters(4)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x, _ = records("cnn")
    assert torch.equal(first(x), second(x))


def per_record(module: ExportedModule, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    def loss(parameters: dict[str, torch.Tensor], record: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = functional_call(module, parameters, (record[None],))
        return nn.functional.cross_entropy(logits, label[None])

    parameters = {key: value.detach() for key, value in module.named_parameters()}
    found: dict[str, torch.Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    return found
