"""OpenVINO models as neutral graphs: names as the backend gives them, every type of constant, refusals in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pmcore_autograd
from pmcore.errors import AuditError, InputError, UntrustedError
from pmcore_autograd.openvino_constants import constant_node, constant_value
from pmcore_autograd.openvino_names import name_tensors
from pmcore_autograd.openvino_reader import read_graph
from pmcore_autograd.unsupported import Unsupported
from pmcore_openvino.feeding import input_names
from pmcore_openvino.graph import Graph as BackendGraph
from tests.autograd.openvino_networks import NETWORKS, Network
from tests.autograd.openvino_running import RNG, constant, floats, graph_of, openvino, ops, run, runtime_answers


def named(node: Any, *names: str) -> Any:
    """Give the tensor of a node names."""
    node.output(0).get_tensor().set_names(set(names))
    return node


def two_inputs() -> Any:
    """Return a model whose tensors have several names, none, and names like others."""
    left = named(ops.parameter([-1, 4], np.float32, name="same"), "left", "a")
    right = ops.parameter([-1, 4], np.float32, name="same")
    joined = ops.add(left, right, name="same")
    parts = ops.split(joined, constant(1, np.int64), 2, name="parts")
    first, second = ops.relu(parts.output(0), name="same"), ops.tanh(parts.output(1))
    return openvino.Model([named(first, "7", "logits"), second, joined], [left, right])


def of_one_constant(value: Any) -> Any:
    """Return a model that returns its input plus a constant in float32."""
    x = ops.parameter(list(value.get_output_shape(0)), np.float32, name="x")
    return openvino.Model([ops.add(x, ops.convert(value, "f32"))], [x])


def choice(condition: Any, weights: bool = False) -> Any:
    """Return a model that squares or halves its input."""
    x = ops.parameter([-1, 3], np.float32, name="x")
    inner, other = ops.parameter([-1, 3], np.float32), ops.parameter([-1, 3], np.float32)
    half = constant(floats(3)) if weights else constant(0.5)
    yes = openvino.Model([ops.multiply(inner, inner)], [inner])
    no = openvino.Model([ops.multiply(other, half)], [other])
    made = ops.if_op(condition(x).output(0))
    made.set_then_body(yes)
    made.set_else_body(no)
    made.set_input(x.output(0), inner, other)
    made.set_output(yes.get_results()[0], no.get_results()[0])
    return openvino.Model([made.output(0)], [x])


def columns(x: Any) -> Any:
    """Return the number of columns, as a shape tells it."""
    return ops.gather(ops.shape_of(x), constant([1], np.int64), constant(0, np.int64))


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_tensors_of_networks_are_named_as_the_backend_names_them(network: Network, tmp_path: Path) -> None:
    model = openvino.Core().read_model(network.save(tmp_path / "model.xml"))
    _check_names(model)


def test_tensors_without_a_name_of_their_own_are_named_as_the_backend_names_them() -> None:
    _check_names(two_inputs())


def _check_names(model: Any) -> None:
    backend, names = BackendGraph(model), name_tensors(model)
    graph = read_graph(model)
    assert graph.inputs == input_names(model)
    fed = {key for key, tensor in backend.names.items() if backend.tensors[tensor].kind == "Parameter"}
    assert {key: name for key, name in backend.names.items() if key not in fed} == {
        key: name for key, name in names.made.items() if key not in fed
    }
    assert graph.outputs == tuple(tensor.name for tensor in backend.outputs if tensor.is_real)


def test_an_output_is_found_by_any_name_of_the_file() -> None:
    model = two_inputs()
    arrays = [floats(2, 4), floats(2, 4)]
    feeds = [torch.from_numpy(array) for array in arrays]
    expected = runtime_answers(model, arrays)
    for wanted, place in (("7", 0), ("logits", 0), ("same", None)):
        graph = read_graph(model, [wanted])
        if place is not None:
            assert graph.outputs == ("logits",)
            np.testing.assert_allclose(run(graph, feeds)[0].numpy(), expected[place], atol=1e-6)
    with pytest.raises(InputError, match="has no tensor 'nobody'; its outputs are 'logits'"):
        read_graph(model, ["nobody"])


def test_only_what_the_outputs_need_is_read() -> None:
    graph = read_graph(two_inputs(), ["logits"])
    assert [node.kind for node in graph.nodes] == ["Add", "Split", "Relu"]
    assert graph.nodes[1].outputs[1] == ""  # nobody who is left reads it


def test_the_very_model_that_was_compiled_becomes_a_module() -> None:
    x = ops.parameter([-1, 4], np.float32, name="x")
    weight = floats(4, 3)
    model = openvino.Model([ops.matmul(x, ops.constant(weight), False, False)], [x])
    module = pmcore_autograd.load(model)
    records = floats(5, 4)
    np.testing.assert_allclose(module(torch.from_numpy(records)).detach().numpy(), records @ weight, atol=1e-5)


@pytest.mark.parametrize("kind", ["f16", "f32", "f64", "bf16", "i4", "u4", "i8", "u8", "i16", "i32", "i64", "boolean"])
def test_constants_of_every_type_are_read_as_the_runtime_reads_them(kind: str) -> None:
    types = {"f16": "float16", "f64": "float64", "u8": "uint8", "boolean": "bool", "i4": "int8", "u4": "int8"}
    types |= {f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)}
    value = RNG.uniform(0 if kind.startswith("u") else -7, 7, size=(3, 5)).astype(types.get(kind, "float32"))
    node = constant_node(value, kind)
    assert node.get_element_type().get_type_name() == kind
    zero = np.zeros((3, 5), np.float32)
    expected = runtime_answers(of_one_constant(node), [zero])[0]
    np.testing.assert_allclose(constant_value(node).astype(np.float32), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["u16", "u32", "u64"])
def test_wide_unsigned_constants_are_held_in_types_that_torch_computes_with(kind: str) -> None:
    node = ops.constant(np.array([1, 2**15 + 3], dtype=f"uint{kind[1:]}"))
    found = constant_value(node)
    assert found.dtype in (np.int32, np.int64)
    assert found.tolist() == [1, 2**15 + 3]


def test_a_choice_by_shapes_is_made_as_the_runtime_makes_it() -> None:
    for wanted in (3, 4):
        model = choice(lambda x, n=wanted: ops.equal(columns(x), constant([n], np.int64)))
        record = floats(2, 3)
        np.testing.assert_allclose(
            run(graph_of(model), [torch.from_numpy(record)])[0].numpy(),
            runtime_answers(model, [record])[0],
            atol=1e-6,
        )


def test_a_choice_by_the_values_of_a_record_is_refused() -> None:
    by_value = choice(lambda x: ops.greater(ops.reduce_sum(x, constant([0, 1], np.int64)), constant(0.0)))
    with pytest.raises(Unsupported, match="chooses by the values of a record"):
        pmcore_autograd.load(by_value)


def test_weights_inside_of_a_choice_are_refused() -> None:
    model = choice(lambda x: ops.equal(columns(x), constant([3], np.int64)), weights=True)
    with pytest.raises(Unsupported, match="weights inside of a choice"):
        read_graph(model)


def test_what_loops_or_keeps_state_is_refused_by_name() -> None:
    x = ops.parameter([2, 3], np.float32, name="x")
    start, shape = ops.constant(np.zeros((2, 3), np.float32)), openvino.PartialShape([2, 3])
    kept = ops.read_value(start, "state", openvino.Type.f32, shape)
    sum_ = ops.add(x, kept)
    model = openvino.Model([sum_.output(0)], [ops.assign(sum_, "state")], [x], "stateful")
    with pytest.raises(Unsupported, match="no gradients here of ReadValue"):
        read_graph(model)
    places = ops.parameter([3], np.float32, name="x")
    with pytest.raises(Unsupported, match="no gradients here of NonZero"):
        read_graph(openvino.Model([ops.convert(ops.non_zero(places), "f32")], [places]))


def test_whole_numbers_alone_are_nothing_to_differentiate() -> None:
    x = ops.parameter([2, 3], np.float32, name="x")
    with pytest.raises(Unsupported, match="returns no real numbers"):
        read_graph(openvino.Model([ops.shape_of(x)], [x]))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", InputError),
        (b"<net", InputError),
        (b"\x80\x04pickle", UntrustedError),
        (b'<?xml version="1.0"?><!DOCTYPE net SYSTEM "x"><net version="11"></net>', UntrustedError),
        (b'<?xml version="1.0"?><net name="m" version="11"><layers/></net>', InputError),
    ],
)
def test_files_that_are_no_models_are_refused(content: bytes, error: type[AuditError], tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_bytes(content)
    with pytest.raises(error, match=r"model\.xml"):
        pmcore_autograd.load(path)


def test_a_file_with_foreign_weights_is_refused(tmp_path: Path) -> None:
    path = NETWORKS[0].save(tmp_path / "model.xml")
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InputError, match="are needed"):
        pmcore_autograd.load(path)
    weights.unlink()
    with pytest.raises(InputError, match="missing"):
        pmcore_autograd.load(path)


def test_damaged_texts_end_in_one_line_each(tmp_path: Path) -> None:
    path = NETWORKS[1].save(tmp_path / "model.xml")
    text, rng = path.read_bytes(), np.random.default_rng(4)
    refused: list[str] = []
    for _ in range(60):
        start = int(rng.integers(len(text) - 40))
        other = bytes(rng.integers(32, 127, size=int(rng.integers(1, 12)), dtype=np.uint8))
        path.write_bytes(text[:start] + other + text[start + len(other) :])
        try:
            module = pmcore_autograd.load(path)
            module(torch.from_numpy(NETWORKS[1].records()))
        except AuditError as found:
            refused.append(str(found))
    assert len(refused) > 20
    assert not [line for line in refused if "\n" in line]


def test_the_paddle_way_of_broadcasting_is_read() -> None:
    left, right = ops.parameter([2, 3, 4], np.float32, name="x"), floats(1, 3, 1)
    model = openvino.Model([openvino.opset1.add(left, ops.constant(right), "pdpd")], [left])
    record = floats(2, 3, 4)
    found = run(graph_of(model), [torch.from_numpy(record)])[0].numpy()
    np.testing.assert_allclose(found, runtime_answers(model, [record])[0], atol=1e-6)


def test_nobody_imports_torch_or_openvino_to_look_up_an_operator() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pmcore_autograd import openvino_reader, openvino_writer, slots_openvino\n"
        "from pmcore_autograd.operators import openvino\n"
        "assert len(openvino.TABLE) > 140, len(openvino.TABLE)\n"
        "print(sorted({'torch', 'openvino', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert done.stdout.strip() == "[]"


def _environment() -> dict[str, str]:
    import os
    import sys

    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
