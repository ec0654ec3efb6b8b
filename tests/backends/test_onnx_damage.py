"""Graphs that no exporter writes: each loads or is refused in one line, and none takes long."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from pmcore.errors import AuditError, InputError, UntrustedError
from pmcore.interfaces import Array, Layer
from tests.backends.builders import (
    BIAS,
    CLASSES,
    FEATURES,
    RECORDS,
    WEIGHT,
    Shape,
    linear,
    load,
    make_external,
    node,
    ready,
    write,
    write_linear,
)

READ_AT = {
    "Constant": 0,
    **dict.fromkeys(("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Expand", "Flatten", "Transpose"), 1),
    **dict.fromkeys(("Dropout", "Softmax", "LogSoftmax", "Sigmoid", "Exp", "ReduceSum", "ArgMax"), 1),
    **dict.fromkeys(("ConstantOfShape", "DequantizeLinear"), 1),
    **dict.fromkeys(("Normalizer", "Scaler", "Imputer", "Binarizer", "ZipMap"), 1),
    **dict.fromkeys(("Div", "Sub", "Gather", "ArrayFeatureExtractor"), 2),
}
OTHERS = ("Concat", "ReduceLogSumExp", "LinearClassifier", "TreeEnsembleClassifier", "SVMClassifier", "Shape", "Size")
ML = frozenset({"Normalizer", "Scaler", "Imputer", "Binarizer", "ZipMap", "ArrayFeatureExtractor"}) | {
    kind for kind in OTHERS if kind.endswith("Classifier")
}


def look(path: Path) -> str:
    """Load a model, list its layers and show it records; return the complaint if it is refused, in one line."""
    try:
        model = load(path)
        model.layers()
        model.describe()
        model.prepare({spec.name: RECORDS for spec in model.describe().inputs})
    except AuditError as error:
        text = str(error)
        assert text.isprintable()
        return text
    return ""


def bare(kind: str, inputs: Sequence[str], outputs: Sequence[str]) -> NodeProto:
    return node(kind, inputs, outputs, domain="ai.onnx.ml" if kind in ML else "")


@pytest.mark.parametrize("kind", READ_AT)
def test_a_node_that_lacks_what_is_read_of_it_is_damage(tmp_path: Path, kind: str) -> None:
    least = READ_AT[kind]
    torn = [(["z"] * least, []), (["z"] * least, [""])]
    torn += [([], ["y"]), ([""] * least, ["y"]), (["z"] * (least - 1), ["y"])] if least else []
    for inputs, outputs in torn:
        path = write_linear(tmp_path / "m.onnx", [bare(kind, inputs, outputs)], "y" if any(outputs) else "z")
        with pytest.raises(InputError, match=f"m.onnx: is a damaged ONNX model .*'{kind}'.*export it again"):
            load(path)


@pytest.mark.parametrize("kind", [*OTHERS, *READ_AT])
@pytest.mark.parametrize("inputs", range(4))
@pytest.mark.parametrize("outputs", range(3))
def test_any_number_of_inputs_and_outputs_is_answered(tmp_path: Path, kind: str, inputs: int, outputs: int) -> None:
    names = ["y", "yy"][:outputs]
    path = write_linear(tmp_path / "m.onnx", [bare(kind, ["z"] * inputs, names)], names[-1] if names else "z")
    look(path)


TORN_HEADS: dict[str, list[NodeProto]] = {
    "a quotient of nothing": [node("Exp", [], ["e"]), node("ReduceSum", [], ["s"]), node("Div", ["e", "s"], ["p"])],
    "a quotient of three": [node("Exp", ["z"], ["e"]), node("Div", ["e", "e", "e"], ["p"])],
    "two columns of nothing": [
        node("Sub", [], ["m"]),
        node("Sigmoid", [], ["s"]),
        node("Concat", ["m", "s"], ["p"], axis=1),
    ],
    "two columns of no name": [node("Concat", ["", ""], ["p"], axis=1)],
    "the exponential of a bare difference": [node("Sub", [], ["l"]), node("Exp", ["l"], ["p"])],
    "the exponential of half a difference": [node("Sub", ["z"], ["l"]), node("Exp", ["l"], ["p"])],
    "a classifier without scores": [bare("LinearClassifier", ["z"], ["p", ""])],
    "a tensor that is made twice": [node("Softmax", ["z"], ["p"]), node("Relu", ["z"], ["p"])],
    "scores that are made twice": [
        node("Relu", ["z"], ["p"]),
        node(
            "LinearClassifier", ["z"], ["l", "p"], domain="ai.onnx.ml", coefficients=[1.0] * 4, post_transform=b"\xff"
        ),
    ],
    "a transform that is no text": [
        node(
            "LinearClassifier", ["z"], ["l", "p"], domain="ai.onnx.ml", coefficients=[1.0] * 4, post_transform=b"\xff"
        ),
    ],
    "labels of torn scores": [node("ArgMax", ["q"], ["l"]), node("Cast", ["l"], ["p"], to=1)],
}


@pytest.mark.parametrize("name", TORN_HEADS)
def test_a_torn_head_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    assert str(tmp_path) in look(write_linear(tmp_path / "m.onnx", TORN_HEADS[name], "p"))


CYCLES: dict[str, list[NodeProto]] = {
    "itself": [node("Identity", ["p"], ["p"])],
    "two copies": [node("Identity", ["q"], ["p"]), node("Identity", ["p"], ["q"])],
    "casts under a quotient": [
        node("Cast", ["e"], ["e"], to=1),
        node("Cast", ["s"], ["s"], to=1),
        node("Div", ["e", "s"], ["p"]),
    ],
    "a sum that is copied from itself": [
        node("Exp", ["z"], ["e"]),
        node("Cast", ["c"], ["c"], to=1),
        node("ReduceSum", ["c"], ["s"]),
        node("Div", ["e", "s"], ["p"]),
    ],
    "columns": [node("Reshape", ["a", "a"], ["a"]), node("Concat", ["a", "a"], ["p"], axis=1)],
    "operations": [node("Add", ["z", "q"], ["p"]), node("Relu", ["p"], ["q"])],
    "probabilities": [node("Softmax", ["p"], ["p"])],
    "normalised": [bare("Normalizer", ["p"], ["p"])],
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", CYCLES)
def test_a_graph_that_goes_round_in_a_circle_is_refused(tmp_path: Path, name: str) -> None:
    assert str(tmp_path) in look(write_linear(tmp_path / "m.onnx", CYCLES[name], "p"))


@pytest.mark.timeout(20)
def test_labels_that_are_chosen_by_themselves_are_refused(tmp_path: Path) -> None:
    nodes = [node("Gather", ["z", "l"], ["k"]), node("Cast", ["k"], ["l"], to=7)]
    path = write(tmp_path / "m.onnx", [*linear()[0], *nodes], linear()[1], {"l": ["n"]}, output_type=TensorProto.INT64)
    assert "returns labels alone" in look(path)


def chained(path: Path, links: int, kind: str, inputs: int) -> Path:
    """Write x times a weight that goes through many operations on constants."""
    links_of = [node(kind, [f"w{i}"] * inputs, [f"w{i + 1}"]) for i in range(links)]
    nodes = [*links_of, node("MatMul", ["x", f"w{links}"], ["z"]), node("Add", ["z", f"w{links - 1}"], ["y"])]
    return write(path, nodes, {"w0": np.zeros((FEATURES, FEATURES), np.float32)}, {"y": [FEATURES, FEATURES]})


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("links", "kind", "inputs"), [(40, "Add", 2), (3000, "Identity", 1), (3000, "Neg", 1)])
def test_constants_are_counted_once_however_they_are_chained(
    tmp_path: Path, links: int, kind: str, inputs: int
) -> None:
    layers = load(chained(tmp_path / "m.onnx", links, kind, inputs)).layers()
    assert [layer.parameters for layer in layers] == [FEATURES**2, 0]


def test_a_number_alone_is_counted_where_an_operator_has_a_place_for_it(tmp_path: Path) -> None:
    nodes = [
        node("Identity", ["one"], ["c"]),
        node("Mul", ["x", "c"], ["h"]),
        node("Flatten", ["h"], ["f"]),
        node("BatchNormalization", ["f", "c", "one", "one", "one"], ["y"]),
        node("Mul", ["y", "c"], ["z"]),
    ]
    path = write(tmp_path / "m.onnx", nodes, {"one": np.ones(1, np.float32)}, {"z": ["n", 1]}, {"x": ["n", 1]})
    assert [layer.parameters for layer in load(path).layers()] == [0, 0, 1, 0]


def test_shapes_are_carried_over_the_operators_of_scikit_learn(tmp_path: Path) -> None:
    scale = {"domain": "ai.onnx.ml", "offset": [0.0], "scale": [2.0]}
    nodes = [
        node("Scaler", ["x"], ["s"], name="scaler", **scale),
        node("MatMul", ["s", "w"], ["m"], name="product"),
        node("Normalizer", ["m"], ["u"], name="normalizer", domain="ai.onnx.ml", norm="L1"),
        node("Relu", ["u"], ["y"], name="relu"),
    ]
    path = write(tmp_path / "m.onnx", nodes, {"w": WEIGHT}, {"y": None})
    assert [(layer.name, layer.shape) for layer in load(path).layers()] == [
        ("scaler", ("n", FEATURES)),
        ("product", ("n", CLASSES)),
        ("normalizer", ("n", CLASSES)),
        ("relu", ("n", CLASSES)),
    ]


def test_a_reshape_of_an_old_opset_has_one_input(tmp_path: Path) -> None:
    nodes = [*linear()[0], node("Reshape", ["z"], ["y"], shape=[2, CLASSES])]
    path = write(tmp_path / "m.onnx", nodes, linear()[1], {"y": [2, CLASSES]}, {"x": [2, FEATURES]}, opset=4)
    look(path)


def test_a_shape_whose_bytes_do_not_fit_is_refused(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", [node("Reshape", ["z", "b"], ["y"])], "y")
    model = onnx.load(path)
    model.graph.initializer.append(TensorProto(name="b2", data_type=7, dims=[3], raw_data=b"\0" * 5))
    model.graph.node[1].input[1] = "b2"
    path.write_bytes(model.SerializeToString())
    assert look(path)


def point(path: Path, **facts: str) -> None:
    """Change what a model with external weights says about its first tensor."""
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = facts.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("key", ["offset", "length"])
@pytest.mark.parametrize("value", ["²", "9" * 5000, "-9", "1e3", "0x10", " 1", "a\nb"])
def test_what_is_no_number_of_bytes_is_refused(tmp_path: Path, key: str, value: str) -> None:
    path = write_linear(tmp_path / "m.onnx")
    make_external(path)
    point(path, **{key: value})
    with pytest.raises(InputError, match="where its data file has a number of bytes") as caught:
        load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("location", ["a\0b", "a" * 5000, "loop", "loop/weights.bin"])
def test_a_location_that_no_file_can_have_is_refused(tmp_path: Path, location: str) -> None:
    path = write_linear(tmp_path / "m.onnx")
    make_external(path)
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    point(path, location=location)
    with pytest.raises(InputError, match="which no file can be opened by; export the model again") as caught:
        load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_a_location_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    make_external(path)
    path.write_bytes(path.read_bytes().replace(b"weights.bin", b"weights\xffbin"))
    assert "weights" in look(path)


@pytest.mark.parametrize("default", [False, True], ids=["in its body", "as default of an attribute"])
def test_a_function_whose_weights_are_outside_the_folder_is_refused(tmp_path: Path, default: bool) -> None:
    path = write_linear(tmp_path / "m.onnx", [node("F", ["z"], ["y"], domain="own")], "y")
    make_external(path, "../weights.bin")
    model = onnx.load(path, load_external_data=False)
    constant = node("Constant", [], ["c"], value=model.graph.initializer[1])
    body = [constant, node("Add", ["a", "c"], ["r"])]
    defaults = []
    if default:
        defaults = [helper.make_attribute("value", constant.attribute[0].t)]
        constant.ClearField("attribute")
        constant.attribute.append(onnx.AttributeProto(name="value", ref_attr_name="value", type=defaults[0].type))
        body[0] = constant
    own = helper.make_opsetid("own", 1)
    model.functions.append(helper.make_function("own", "F", ["a"], ["r"], body, [helper.make_opsetid("", 17)]))
    model.functions[0].attribute_proto.extend(defaults)
    model.opset_import.append(own)
    for tensor, array in zip(model.graph.initializer, (WEIGHT, BIAS), strict=True):
        tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UntrustedError, match="outside the model's folder"):
        load(path)


EVIL = "\x1b[31mred\nline\x07\u202e'\0"


def evil_models(path: Path) -> dict[str, Callable[[], object]]:
    """Return ways to make a model complain whose every name carries control characters."""
    x, w, z = (f"{EVIL}{letter}" for letter in "xwz")
    product = node("MatMul", [x, w], [z], name=f"{EVIL}node")
    weights: dict[str, Array] = {w: WEIGHT}
    shape: dict[str, Shape] = {x: ["n", FEATURES]}

    def plain() -> Path:
        return write(path, [product], weights, {z: ["n", CLASSES]}, shape)

    return {
        "an output": lambda: load(plain(), output="nothing"),
        "a layer": lambda: load(plain()).activations({"x": RECORDS}, ["nothing"]),
        "a record": lambda: load(plain()).predict({"x": RECORDS[:, :2]}),
        "a type": lambda: load(plain()).predict({"x": np.array([["a"]])}),
        "an operator": lambda: load(write(path, [node(EVIL, [x], [z])], {}, {z: ["n", 4]}, shape)),
        "a tensor": lambda: load(write(path, [node("Relu", [w], [z])], {}, {z: ["n", 4]}, shape)),
        "a shape": lambda: load(write(path, [node("Relu", [x], [z])], {}, {z: [EVIL, 4, 5]}, {x: [EVIL, 4, 5]})),
        "a size": lambda: load(write(path, [product], weights, {z: ["n", CLASSES]}, {x: ["n", 5]})),
        "labels": lambda: (
            load(write(path, [node("ArgMax", [x], [z])], {}, {z: ["n"]}, shape, output_type=TensorProto.INT64), z, None)
            and load(write(path, [node("Shape", [x], [z])], {}, {z: ["n"]}, shape, output_type=TensorProto.INT64))
        ),
    }


@pytest.mark.parametrize("name", evil_models(Path()))
def test_names_in_complaints_carry_no_control_characters(tmp_path: Path, name: str) -> None:
    complain = evil_models(tmp_path / "m.onnx")[name]
    with pytest.raises(AuditError) as caught:
        complain()
    assert str(caught.value).isprintable()


def runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record what the runtime is asked from now on."""
    asked: list[object] = []
    run = onnxruntime.InferenceSession.run

    def recorded(self: object, outputs: object, feeds: object, *rest: object) -> object:
        asked.append(outputs)
        return run(self, outputs, feeds, *rest)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", recorded)
    return asked


@pytest.mark.parametrize("softmax_ended", [False, True])
def test_loading_queries_nothing_where_the_shape_of_the_output_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, softmax_ended: bool
) -> None:
    asked = runs(monkeypatch)
    ending = [node("Softmax", ["z"], ["p"], axis=1)] if softmax_ended else []
    model = load(write_linear(tmp_path / "m.onnx", ending, "p" if softmax_ended else "z"))
    assert (model.describe().classes, len(model.layers()), asked) == (CLASSES, 1 + softmax_ended, [])


def test_loading_asks_one_blank_record_where_the_shape_of_the_output_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = runs(monkeypatch)
    nodes = [node("Reshape", ["x", "s"], ["y"]), node("Mul", ["y", "y"], ["z"])]
    shape = [node("Shape", ["x"], ["s0"]), node("Mul", ["s0", "one"], ["s"])]
    path = write(tmp_path / "m.onnx", [*shape, *nodes], {"one": np.array([1, 1])}, {"z": ["n", "k"]})
    assert (load(path).describe().classes, len(asked)) == (FEATURES, 1)


def test_loading_asks_nothing_of_records_that_are_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = runs(monkeypatch)
    path = write(tmp_path / "m.onnx", [node("Relu", ["x"], ["z"])], {}, {"z": ["n", "k"]}, {"x": ["n", 2**40, "d"]})
    assert (load(path).describe().classes, asked) == (0, [])


def softmax_model(path: Path) -> None:
    write_linear(path, [node("Identity", ["z"], ["i"]), node("Softmax", ["i"], ["p"], axis=1)], "p")


def quotient_model(path: Path) -> None:
    ending = [
        node("Exp", ["z"], ["e"]),
        node("ReduceSum", ["e", "axes"], ["s"], keepdims=1),
        node("Cast", ["s"], ["c"], to=1),
        node("Div", ["e", "c"], ["q"]),
        node("Reshape", ["q", "shape"], ["p"]),
    ]
    weights = {**linear()[1], "axes": np.array([1]), "shape": np.array([2, CLASSES])}
    write(path, [*linear()[0], *ending], weights, {"p": [2, CLASSES]}, {"x": [2, FEATURES]})


def columns_model(path: Path) -> None:
    ending = [
        node("Identity", ["w"], ["v"]),
        node("Add", ["v", "v"], ["u"]),
        node("MatMul", ["x", "u"], ["z"]),
        node("Sigmoid", ["z"], ["s"]),
        node("Sub", ["one", "s"], ["m"]),
        node("Concat", ["m", "s"], ["p"], axis=1),
        node("ArgMax", ["p"], ["a"], axis=1, keepdims=0),
    ]
    write(path, ending, {"w": WEIGHT[:, :1], "one": np.ones(1, np.float32)}, {"p": ["n", 2], "a": ["n"]})


def classifier_model(path: Path) -> None:
    ml = "ai.onnx.ml"
    numbers = {"coefficients": [0.1] * 18, "intercepts": [0.0] * 3, "classlabels_ints": [0, 1, 2]}
    nodes = [
        node("Scaler", ["x"], ["s"], domain=ml, offset=[0.0], scale=[1.0]),
        node("LinearClassifier", ["s"], ["l", "raw"], domain=ml, post_transform="SOFTMAX", **numbers),
        node("Normalizer", ["raw"], ["p"], domain=ml, norm="L1"),
        node("Cast", ["l"], ["label"], to=7),
        node("ZipMap", ["p"], ["maps"], domain=ml, classlabels_int64s=[0, 1, 2]),
    ]
    write(path, nodes, {}, {"p": ["n", 3]})


MODELS = {
    "softmax": softmax_model,
    "quotient": quotient_model,
    "columns": columns_model,
    "classifier": classifier_model,
}
MUTANTS = 75


def mutate(model: ModelProto, rng: random.Random) -> None:
    """Make one change to the structure of a model, in place."""
    graph = model.graph
    names = [name for found in graph.node for name in (*found.input, *found.output)]
    names += [value.name for value in (*graph.input, *graph.output)] + ["", "nowhere"]
    place = rng.randrange(len(graph.node))
    chosen = graph.node[place]
    ends = rng.choice((chosen.input, chosen.output))
    change = rng.randrange(8)
    if change == 0 and len(graph.node) > 1:
        del graph.node[place]
    elif change == 1:
        graph.node.add().CopyFrom(chosen)
    elif change == 2 and ends:
        del ends[rng.randrange(len(ends))]
    elif change == 3:
        ends.append(rng.choice(names))
    elif change == 4 and ends:
        ends[rng.randrange(len(ends))] = rng.choice(names)
    elif change == 5:
        chosen.op_type = rng.choice([*READ_AT, *OTHERS, "Relu", "Add"])
        chosen.domain = "ai.onnx.ml" if chosen.op_type in ML else ""
    elif change == 6:
        rng.choice([*graph.output, *graph.input, *graph.initializer]).name = rng.choice(names)
    else:
        other = graph.node[rng.randrange(len(graph.node))]
        chosen.op_type, other.op_type = other.op_type, chosen.op_type


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", MODELS)
def test_mutants_of_a_model_load_or_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.onnx"
    MODELS[name](path)
    assert look(path) == ""
    content = path.read_bytes()
    for seed in range(MUTANTS):
        rng = random.Random(f"{name} {seed}")
        model = onnx.load_from_string(content)
        for _ in range(rng.choice((1, 1, 2, 4))):
            mutate(model, rng)
        path.write_bytes(model.SerializeToString())
        look(path)


def test_the_models_that_are_mutated_are_read_before_their_activations(tmp_path: Path) -> None:
    for name, make in MODELS.items():
        make(tmp_path / f"{name}.onnx")
        model = ready(tmp_path / f"{name}.onnx")
        assert model.describe().pre_softmax, name
        assert all(isinstance(layer, Layer) for layer in model.layers())
