"""What becomes a module and what does not: files of exporters and of strangers, each refusal in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import FunctionProto, TensorProto, helper, numpy_helper

import pmcore_autograd
from pmcore.errors import AuditError, InputError, ModelError, UntrustedError
from pmcore.interfaces import Array
from pmcore_autograd import Unsupported
from tests.autograd.exported import distance, runtime
from tests.backends.builders import BIAS, RECORDS, WEIGHT, linear, make_external, node, write, write_linear

RNG = np.random.default_rng(5)
CODE = Path(__file__).parents[2]


def sklearn_file(path: Path, estimator: Any, labels: Array) -> Path:
    from skl2onnx import to_onnx

    options = (
        {"zipmap": False} if hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function") else {}
    )
    path.write_bytes(to_onnx(estimator.fit(RECORDS, labels), RECORDS[:1], options=options).SerializeToString())
    return path


def mlp() -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((7, 5), max_iter=200, random_state=0)


def logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def ridge() -> Any:
    from sklearn.linear_model import Ridge

    return Ridge()


TWO, THREE = np.arange(9) % 2, np.arange(9) % 3


@pytest.mark.parametrize("labels", [TWO, THREE], ids=["two classes", "three classes"])
@pytest.mark.parametrize("estimator", [mlp, logistic])
def test_classifiers_of_scikit_learn_answer_as_in_the_runtime(
    estimator: Callable[[], Any], labels: Array, tmp_path: Path
) -> None:
    path = sklearn_file(tmp_path / "m.onnx", estimator(), labels)
    module = pmcore_autograd.load(path)
    assert [spec.name for spec in module.outputs] == ["probabilities"]
    assert distance(module(torch.from_numpy(RECORDS)), runtime(path, RECORDS, "probabilities", "X")) < 1e-5


def test_labels_of_a_linear_classifier_are_had_too(tmp_path: Path) -> None:
    path = sklearn_file(tmp_path / "m.onnx", logistic(), THREE + 5)
    found = pmcore_autograd.load(path, ["label"])(torch.from_numpy(RECORDS))
    np.testing.assert_array_equal(found, runtime(path, RECORDS, "label", "X"))


@pytest.mark.parametrize("labels", [TWO, THREE], ids=["two classes", "three classes"])
def test_scores_before_a_transform_have_the_name_that_the_backend_gives_them(labels: Array, tmp_path: Path) -> None:
    from pmcore_onnx.graph import Graph, read_model
    from pmcore_onnx.head import find_head
    from pmcore_onnx.rewrite import Edit, edited

    path = sklearn_file(tmp_path / "m.onnx", logistic(), labels)
    head = find_head(Graph(read_model(path)), None, path)
    assert head.before is not None
    payload = edited(read_model(path), Edit((head.before,), head.raw, head.before), path)
    (tmp_path / "raw.onnx").write_bytes(payload)
    module = pmcore_autograd.load(path, [head.before])
    expected = runtime(tmp_path / "raw.onnx", RECORDS, head.before, "X")
    assert distance(module(torch.from_numpy(RECORDS)), expected) < 1e-5


def test_the_gradient_of_a_logistic_regression_is_its_closed_form(tmp_path: Path) -> None:
    path = sklearn_file(tmp_path / "m.onnx", logistic(), THREE)
    linear_node = next(made for made in onnx.load(path).graph.node if made.op_type == "LinearClassifier")
    scores = f"{linear_node.output[1]}_before_transform"
    module = pmcore_autograd.load(path, [scores])
    x, y = torch.from_numpy(RECORDS[:1]), torch.from_numpy(THREE[:1])
    logits = module(x)
    torch.autograd.backward(torch.nn.functional.cross_entropy(logits, y))
    wrong = torch.softmax(logits.detach(), 1)[0] - torch.nn.functional.one_hot(y[0], 3)
    weight, bias = (value.grad for value in module.parameters())
    assert weight is not None
    assert bias is not None
    torch.testing.assert_close(weight, x[0][:, None] * wrong)
    torch.testing.assert_close(bias, wrong)


DAMAGED: dict[str, tuple[str, dict[str, Any]]] = {
    "text for coefficients": ("LinearClassifier", {"coefficients": ["a"] * 24}),
    "text for intercepts": ("LinearClassifier", {"intercepts": ["a"] * 4}),
    "a number for coefficients": ("LinearClassifier", {"coefficients": 1.0}),
    "a number for labels": ("LinearClassifier", {"classlabels_ints": 3}),
    "numbers with a point for labels": ("LinearClassifier", {"classlabels_ints": [0.5, 1.5, 2.5, 3.5]}),
    "text for coefficients of a regression": ("LinearRegressor", {"coefficients": "a"}),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_linear_models_are_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    kind, wrong = DAMAGED[damage]
    sound: dict[str, Any] = {"coefficients": [1.0] * 24, "intercepts": [0.0] * 4}
    sound |= {"classlabels_ints": [0, 1, 2, 3]} if kind == "LinearClassifier" else {"targets": 4}
    outputs = ["label", "z"] if kind == "LinearClassifier" else ["z"]
    made = node(kind, ["x"], outputs, name="head", domain="ai.onnx.ml", **(sound | wrong))
    path = write(tmp_path / "m.onnx", [made], {}, {"z": ["n", 4]})
    with pytest.raises(InputError) as raised:
        pmcore_autograd.load(path)
    assert str(raised.value).startswith(f"{path}: {kind} 'head': is damaged")
    assert "\n" not in str(raised.value)


def test_a_zipmap_without_inputs_is_refused_in_one_line(tmp_path: Path) -> None:
    nodes, weights = linear()
    nodes.append(node("ZipMap", [], ["maps"], name="zip", domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3]))
    path = write(tmp_path / "m.onnx", nodes, weights, {"maps": ["n"]})
    with pytest.raises(InputError) as raised:
        pmcore_autograd.load(path)
    assert str(raised.value) == f"{path}: is damaged (ZipMap 'zip' lacks inputs); copy or export it again"


def test_a_linear_regression_answers_as_in_the_runtime(tmp_path: Path) -> None:
    path = sklearn_file(tmp_path / "m.onnx", ridge(), RNG.normal(size=(9, 2)))
    assert distance(pmcore_autograd.load(path)(torch.from_numpy(RECORDS)), runtime(path, RECORDS, None, "X")) < 1e-5


@pytest.mark.parametrize("kind", ["tree", "forest", "svm"])
def test_models_without_gradients_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    estimators = {"tree": DecisionTreeClassifier(), "forest": RandomForestClassifier(3), "svm": SVC()}
    path = sklearn_file(tmp_path / "m.onnx", estimators[kind], THREE)
    with pytest.raises(Unsupported, match=r"no gradients here of ai\.onnx\.ml\.(TreeEnsemble|SVM)Classifier") as raised:
        pmcore_autograd.load(path)
    assert "\n" not in str(raised.value)


def test_every_unknown_operator_is_named_at_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Strange", ["x"], ["a"], name="first", domain="acme"),
        node("StringNormalizer", ["a"], ["b"]),
        helper.make_node("Strange", ["b"], ["c"], name="second", domain="acme"),
        helper.make_node("Odd", ["c"], ["z"], name="third", domain="acme"),
    ]
    path = write(tmp_path / "m.onnx", nodes, {}, {"z": None})
    with pytest.raises(
        Unsupported, match=r"acme\.Strange \('first'\), StringNormalizer \('b'\), acme\.Odd \('third'\)"
    ):
        pmcore_autograd.load(path)


def test_what_no_output_needs_is_not_asked_for(tmp_path: Path) -> None:
    nodes, weights = linear()
    nodes.append(helper.make_node("Strange", ["z"], ["other"], domain="acme"))
    path = write(tmp_path / "m.onnx", nodes, weights, {"z": ["n", 4], "other": None})
    with pytest.raises(Unsupported, match="Strange"):
        pmcore_autograd.load(path)
    assert distance(pmcore_autograd.load(path, ["z"])(torch.from_numpy(RECORDS)), RECORDS @ WEIGHT + BIAS) < 1e-5


def test_loops_are_refused_by_name(tmp_path: Path) -> None:
    body = helper.make_graph(
        [node("Identity", ["keep"], ["go"]), node("Identity", ["state"], ["next"])],
        "body",
        [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("keep", 9))]
        + [helper.make_tensor_value_info("state", 1, None)],
        [helper.make_tensor_value_info("go", 9, []), helper.make_tensor_value_info("next", 1, None)],
    )
    nodes = [node("Loop", ["", "yes", "x"], ["z"], body=body, name="again")]
    path = write(tmp_path / "m.onnx", nodes, {"yes": np.array(True)}, {"z": ["n", 6]})
    with pytest.raises(Unsupported, match=r"no gradients here of Loop \('again'\)"):
        pmcore_autograd.load(path)


def branching(condition: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return nodes that double x, or leave it, by a condition "c"."""
    parts = {
        "then_branch": [node("Add", ["x", "x"], ["then"])],
        "else_branch": [node("Identity", ["x"], ["else"])],
    }
    graphs = {
        name: helper.make_graph(made, name, [], [helper.make_tensor_value_info(made[0].output[0], 1, None)])
        for name, made in parts.items()
    }
    return [*condition, node("If", ["c"], ["z"], name="choice", **graphs)]


def test_a_choice_by_shapes_is_made_for_each_shape(tmp_path: Path) -> None:
    condition = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "first"], ["n"]),
        node("Greater", ["n", "two"], ["c"]),
    ]
    weights = {"first": np.array(0), "two": np.array(2)}
    module = pmcore_autograd.load(write(tmp_path / "m.onnx", branching(condition), weights, {"z": None}))
    x = torch.from_numpy(RECORDS)
    assert torch.equal(module(x), 2 * x)
    assert torch.equal(module(x[:2]), x[:2])


def test_a_choice_by_values_is_refused_by_name(tmp_path: Path) -> None:
    condition = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "nothing"], ["c"]),
    ]
    path = write(tmp_path / "m.onnx", branching(condition), {"nothing": np.zeros((), np.float32)}, {"z": None})
    with pytest.raises(Unsupported, match="If 'choice' chooses by the values of a record"):
        pmcore_autograd.load(path)


def function(name: str, nodes: Sequence[onnx.NodeProto], reads: Sequence[str], version: int = 17) -> FunctionProto:
    return helper.make_function("own", name, list(reads), ["out"], list(nodes), [helper.make_opsetid("", version)])


def with_functions(path: Path, functions: Sequence[FunctionProto], nodes: Sequence[onnx.NodeProto]) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "calls",
        [helper.make_tensor_value_info("x", 1, ["n", 6])],
        [helper.make_tensor_value_info("z", 1, None)],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))
    path.write_bytes(model.SerializeToString())
    return path


def call(name: str, reads: Sequence[str], makes: str) -> onnx.NodeProto:
    return helper.make_node(name, list(reads), [makes], domain="own", name=f"call of {name}")


def test_functions_are_written_out_and_own_what_they_use(tmp_path: Path) -> None:
    from pmcore_onnx.graph import Graph, read_model
    from pmcore_onnx.layers import read_layers

    inner = function("half", [node("Relu", ["a"], ["r"]), node("Mul", ["r", "r"], ["out"])], ["a"])
    outer = function("whole", [node("MatMul", ["a", "b"], ["m"]), call("half", ["m"], "out")], ["a", "b"])
    path = with_functions(tmp_path / "m.onnx", [inner, outer], [call("whole", ["x", "w"], "z")])
    module = pmcore_autograd.load(path)
    assert distance(module(torch.from_numpy(RECORDS)), np.maximum(RECORDS @ WEIGHT, 0) ** 2) < 1e-5
    assert module.owners == {"w": "z"}
    assert read_layers(Graph(read_model(path))).tensors == ("z",)


def test_functions_of_another_opset_mean_what_they_meant_there(tmp_path: Path) -> None:
    """Softmax runs over all axes from the named one together, as before opset 13."""
    old = function("old", [node("Softmax", ["a"], ["out"], axis=0)], ["a"], version=11)
    path = with_functions(tmp_path / "m.onnx", [old], [call("old", ["x"], "z")])
    expected = np.exp(RECORDS) / np.exp(RECORDS).sum()
    assert distance(pmcore_autograd.load(path)(torch.from_numpy(RECORDS)), expected) < 1e-5


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    a, b = function("a", [call("b", ["a"], "out")], ["a"]), function("b", [call("a", ["a"], "out")], ["a"])
    path = with_functions(tmp_path / "m.onnx", [a, b], [call("a", ["x"], "z")])
    with pytest.raises(ModelError, match="calls itself"):
        pmcore_autograd.load(path)


def test_functions_that_multiply_without_end_are_refused(tmp_path: Path) -> None:
    functions = [function("f0", [node("Relu", ["a"], ["out"])], ["a"])]
    for level in range(1, 40):
        nodes = [call(f"f{level - 1}", ["a"], "b"), call(f"f{level - 1}", ["b"], "out")]
        functions.append(function(f"f{level}", nodes, ["a"]))
    path = with_functions(tmp_path / "m.onnx", functions, [call("f39", ["x"], "z")])
    with pytest.raises(ModelError, match=r"has 5\.5e\+11 nodes when its functions are written out"):
        pmcore_autograd.load(path)


HOSTILE: dict[str, tuple[list[onnx.NodeProto], str]] = {
    "a circle": (
        [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["z"])],
        "in a circle",
    ),
    "itself": ([node("Add", ["x", "z"], ["z"])], "in a circle"),
    "nobody": ([node("Add", ["x", "ghost"], ["z"])], "nothing makes the tensor 'ghost', which Add 'z' reads"),
    "twice": ([node("Relu", ["x"], ["z"]), node("Tanh", ["x"], ["z"])], "two nodes make the tensor 'z'"),
    "an output of nobody": ([node("Relu", ["x"], ["y"])], "nothing makes the tensor 'z'"),
    "an attribute": ([node("Relu", ["x"], ["z"], speed=3)], "the attribute 'speed' is not known here"),
    "a text": ([node("Constant", [], ["t"], value_string="no"), node("Add", ["x", "t"], ["z"])], "is no number"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_graphs_that_are_none_are_refused(case: str, tmp_path: Path) -> None:
    nodes, said = HOSTILE[case]
    path = write(tmp_path / "m.onnx", nodes, {}, {"z": ["n", 6]})
    with pytest.raises(ModelError, match=said) as raised:
        pmcore_autograd.load(path)
    assert "\n" not in str(raised.value)


def test_nodes_in_any_order_are_put_in_theirs(tmp_path: Path) -> None:
    nodes = [node("Mul", ["b", "b"], ["z"]), node("Tanh", ["a"], ["b"]), node("Relu", ["x"], ["a"])]
    module = pmcore_autograd.load(write(tmp_path / "m.onnx", nodes, {}, {"z": ["n", 6]}))
    assert distance(module(torch.from_numpy(RECORDS)), np.tanh(np.maximum(RECORDS, 0)) ** 2) < 1e-5


HUGE: dict[str, tuple[list[onnx.NodeProto], dict[str, Array]]] = {
    "ConstantOfShape": ([node("ConstantOfShape", ["big"], ["c"])], {"big": np.array([1 << 20, 1 << 20])}),
    "Expand": ([node("Expand", ["one", "big"], ["c"])], {"big": np.array([1 << 20, 1 << 20]), "one": np.ones(1)}),
    "Tile": ([node("Tile", ["one", "big"], ["c"])], {"big": np.array([1 << 40]), "one": np.ones(1)}),
    "Pad": ([node("Pad", ["one", "big"], ["c"])], {"big": np.array([1 << 40, 0]), "one": np.ones(1)}),
    "Range": (
        [node("Range", ["zero", "big", "step"], ["c"])],
        {"zero": np.array(0.0), "big": np.array(1e15), "step": np.array(1.0)},
    ),
    "OneHot": (
        [node("OneHot", ["place", "big", "values"], ["c"])],
        {"place": np.zeros((1 << 10), np.int64), "big": np.array([1 << 40]), "values": np.array([0.0, 1.0])},
    ),
    "sums of constants": (
        [
            made
            for i in range(40)
            for made in (node("Expand", ["one", "big"], [f"e{i}"]), node("Exp", [f"e{i}"], [f"p{i}"]))
        ]
        + [node("Sum", [f"p{i}" for i in range(40)], ["c"])],
        {"big": np.array([1 << 14, 1 << 10]), "one": np.ones(1)},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", HUGE)
def test_constants_of_any_size_are_not_made(case: str, tmp_path: Path) -> None:
    """A file of a few hundred bytes asks for terabytes."""
    nodes, weights = HUGE[case]
    path = write(tmp_path / "m.onnx", [*nodes, node("Add", ["x", "c"], ["z"])], weights, {"z": None})
    with pytest.raises(ModelError) as raised:
        pmcore_autograd.load(path)(torch.zeros(1, 6))
    assert "\n" not in str(raised.value)


def test_what_records_would_grow_to_is_not_made(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.onnx", [node("Tile", ["x", "big"], ["z"])], {"big": np.array([1 << 30, 64])}, {"z": None}
    )
    with pytest.raises(ModelError, match="more than is computed here"):
        pmcore_autograd.load(path)(torch.zeros(1, 6))


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    make_external(path)
    assert distance(pmcore_autograd.load(path)(torch.from_numpy(RECORDS)), RECORDS @ WEIGHT + BIAS) < 1e-5


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", ""])
def test_weights_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = write_linear(folder / "m.onnx")
    make_external(path, location)
    (tmp_path / "weights.bin").write_bytes(b"\0" * 4096)
    with pytest.raises(UntrustedError, match="outside the model's folder"):
        pmcore_autograd.load(path)


def test_weights_that_are_short_are_refused(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    file = make_external(path)
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(InputError, match="has 108 bytes where 112 are needed"):
        pmcore_autograd.load(path)


@pytest.mark.parametrize(
    ("dims", "raw"), [((6, 4), b"\0" * 20), ((-6, 4), b"\0" * 96), ((1 << 40, 1 << 20), b""), ((6, 4), b"")]
)
def test_constants_whose_bytes_and_shape_disagree_are_refused(
    dims: tuple[int, ...], raw: bytes, tmp_path: Path
) -> None:
    path = write_linear(tmp_path / "m.onnx")
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    weight.CopyFrom(TensorProto(name="w", data_type=1, dims=dims, raw_data=raw))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="the constant 'w' is damaged"):
        pmcore_autograd.load(path)


def test_weights_that_are_no_numbers_are_loaded_and_answer_nan(tmp_path: Path) -> None:
    nodes, weights = linear()
    path = write(tmp_path / "m.onnx", nodes, {**weights, "w": WEIGHT * np.float32("nan")}, {"z": ["n", 4]})
    assert pmcore_autograd.load(path)(torch.from_numpy(RECORDS)).isnan().all()


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"\x80\x05abc", UntrustedError), (b"PK\x03\x04", AuditError), (b"", InputError), (b"\x08\x07\x12", InputError)],
)
def test_files_of_other_kinds_are_refused(content: bytes, error: type[AuditError], tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(error) as raised:
        pmcore_autograd.load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def answered(path: Path) -> torch.Tensor | None:
    """Return what a file answers, or None where it is refused in one line."""
    try:
        module = pmcore_autograd.load(path)
        answer: torch.Tensor = module(*(torch.from_numpy(RECORDS) for _ in module.inputs))
    except AuditError as error:
        return None if "\n" not in str(error) else torch.empty(0)
    return answer


def test_files_cut_anywhere_are_refused_or_whole(tmp_path: Path) -> None:
    whole = write_linear(tmp_path / "m.onnx", [node("Softmax", ["z"], ["p"], axis=-1)], "p").read_bytes()
    path = tmp_path / "cut.onnx"
    refused = 0
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        found = answered(path)
        refused += found is None
        assert found is None or distance(found, torch.softmax(torch.from_numpy(RECORDS @ WEIGHT + BIAS), 1)) < 1e-5
    assert refused > 0.9 * len(whole)


def test_files_with_flipped_bits_end_in_an_audit_error_or_an_answer(tmp_path: Path) -> None:
    whole = write_linear(tmp_path / "m.onnx", [node("Softmax", ["z"], ["p"])], "p").read_bytes()
    path = tmp_path / "bent.onnx"
    for _ in range(400):
        bent = bytearray(whole)
        for place in RNG.integers(0, len(whole), 3):
            bent[place] ^= 1 << int(RNG.integers(0, 8))
        path.write_bytes(bent)
        found = answered(path)
        assert found is None or len(found)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        pmcore_autograd.load(tmp_path / "m.onnx")


def test_an_unknown_output_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no tensor 'y'"):
        pmcore_autograd.load(write_linear(tmp_path / "m.onnx"), ["y"])


@pytest.mark.parametrize("missing", ["torch", "onnx"])
def test_without_a_framework_the_remedy_is_told(missing: str, tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    code = f"""
import sys
sys.modules[{missing!r}] = None
import pmcore_autograd
from pmcore.errors import PluginError
try:
    pmcore_autograd.load({str(path)!r})
except PluginError as error:
    print(error)
"""
    assert "pip install 'pmcore[whitebox]'" in run(code)


def test_importing_the_package_imports_no_framework() -> None:
    code = "import sys, pmcore_autograd; print(*sys.modules)"
    assert {"torch", "onnx", "openvino"}.isdisjoint(run(code).split())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(("external", "most"), [(False, 3.25), (True, 1.25)], ids=["inside", "beside"])
def test_fifty_million_parameters_in_one_weight_are_held_no_more_often_than_said(
    external: bool, most: float, tmp_path: Path
) -> None:
    """Beside the model once; inside of it as the message, as the bytes of this one weight, and as the array."""
    weight = RNG.normal(size=(7072, 7072)).astype(np.float32)
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Tanh", ["h"], ["z"])]
    path = write(tmp_path / "m.onnx", nodes, {"w": weight}, {"z": ["n", 7072]}, {"x": ["n", 7072]})
    if external:
        make_external(path)
    code = f"""
import torch, onnx
import pmcore_autograd, pmcore_autograd.module, pmcore_autograd.onnx_reader
def peak():  # of this program alone: what getrusage tells, it has from the process that started it
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
onnx.load_model_from_string(b"")
before = peak()
module = pmcore_autograd.load({str(path)!r})
print((peak() - before) / {weight.nbytes})
"""
    share = float(run(code))
    assert 1.0 < share < most


def run(code: str) -> str:
    """Return what a fresh interpreter prints."""
    import os

    folders = [str(CODE), *(str(CODE / part) for part in ("backends", "attacks"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout


def test_weights_of_whole_numbers_that_are_cast_are_refused_and_never_left_out(tmp_path: Path) -> None:
    nodes = [node("Cast", ["w"], ["real"], to=1), node("MatMul", ["x", "real"], ["h"]), node("Add", ["h", "b"], ["z"])]
    constants: dict[str, Array] = {
        "w": RNG.integers(-9, 9, (4, 3)).astype(np.int8),
        "b": RNG.normal(size=3).astype(np.float32),
    }
    path = write(tmp_path / "m.onnx", nodes, constants, {"z": ["n", 3]}, {"x": ["n", 4]})
    with pytest.raises(Unsupported, match="weights of whole numbers that are cast"):
        pmcore_autograd.load(path)
