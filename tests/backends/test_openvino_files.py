"""What an OpenVINO model's files must be before OpenVINO sees them, and what damaged ones come to."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from pmcore.backend import load_model
from pmcore.checksums import files_sha256
from pmcore.errors import AuditError, InputError, ModelError, UntrustedError
from pmcore.installed import EVERY_PLUGIN
from pmcore.interfaces import LoadOptions
from pmcore_openvino import OpenvinoModel
from tests.backends import builders as onnx_models
from tests.backends.openvino_builders import (
    RECORDS,
    linear,
    load,
    openvino,
    ops,
    parameter,
    ready,
    save,
    save_convolutions,
    save_linear,
)

ROUNDS = 120


def refused(path: Path, kind: type[AuditError], words: str) -> None:
    """Check that a model is refused in one line that names it."""
    with pytest.raises(kind, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_weights_are_among_the_files_and_in_the_fingerprint(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    assert load(path).files() == (tmp_path / "m.bin",)
    loaded = load_model(str(path), EVERY_PLUGIN)
    assert loaded.plugin.name == "openvino"
    assert loaded.sha256 == files_sha256([path, tmp_path / "m.bin"])


def test_an_ir_is_recognised_and_no_other_xml_nor_onnx(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    assert OpenvinoModel.recognises(path, path.read_bytes()[:4096])
    assert not OpenvinoModel.recognises(path, b"<?xml version='1.0'?><html/>")
    assert not OpenvinoModel.recognises(path, b"")
    assert not OpenvinoModel.recognises(tmp_path / "m.onnx", path.read_bytes()[:4096])


def test_missing_weights_are_one_line(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    (tmp_path / "m.bin").unlink()
    refused(path, InputError, "its weights are in the file 'm.bin', which is missing")


@pytest.mark.parametrize("left", [0, 1, 50, -1])
def test_short_weights_are_one_line(tmp_path: Path, left: int) -> None:
    path = save_linear(tmp_path / "m.xml")
    data = (tmp_path / "m.bin").read_bytes()
    (tmp_path / "m.bin").write_bytes(data[:left])
    refused(path, InputError, f"its data file 'm.bin' has {len(data[:left])} bytes where {len(data)} are needed")


def test_weights_of_another_model_are_one_line(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    save_convolutions(tmp_path / "other.xml")
    (tmp_path / "m.bin").write_bytes((tmp_path / "other.bin").read_bytes())
    size = (tmp_path / "other.bin").stat().st_size
    refused(path, InputError, f"has {size} bytes where the model names 112, so it belongs to another model")


def test_a_folder_of_that_name_is_no_weights(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    (tmp_path / "m.bin").unlink()
    (tmp_path / "m.bin").mkdir()
    refused(path, InputError, "missing or no plain file")


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE net SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        "<!DOCTYPE net>",
    ],
)
def test_a_document_type_is_refused(tmp_path: Path, declared: str) -> None:
    path = save_linear(tmp_path / "m.xml")
    text = path.read_text()
    path.write_text(text.replace('<?xml version="1.0"?>', f'<?xml version="1.0"?>{declared}', 1))
    assert declared in path.read_text()
    refused(path, UntrustedError, "declares a document type")
    with pytest.raises(UntrustedError):
        load_model(str(path), EVERY_PLUGIN)


def altered(path: Path, pattern: str, by: str) -> Path:
    """Change the first place in the text of a model that a pattern fits."""
    text, count = re.subn(pattern, by, path.read_text(), count=1, flags=re.DOTALL)
    assert count == 1
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("pattern", "by", "kind", "words"),
    [
        ("<net ", "<nut ", InputError, "its root is <nut>|mismatched tag"),
        ('version="11"', 'version="7"', InputError, "IR of version 7"),
        ('version="11"', "", InputError, "version is ''"),
        ('offset="0"', 'offset="-1"', InputError, "damaged .*offset is '-1'"),
        ('offset="0"', 'offset="99999999999"', InputError, r"has 112 bytes where 100000000\d+ are needed"),
        ('size="96"', 'size="95"', InputError, "a constant of 24 elements in 95 bytes"),
        ('shape="6, 4"', 'shape="6, -4"', InputError, "a constant of shape 6, -4"),
        ('shape="6, 4"', 'shape="6,400"', InputError, "a constant of 2400 elements in 96 bytes"),
        ('to-layer="2"', 'to-layer="77"', InputError, "an edge from .* to 77:"),
        ('from-port="0"', 'from-port="9"', InputError, "an edge from 0:9"),
        ('layer id="1"', 'layer id="0"', InputError, "two layers 0"),
        ('type="Result"', 'type="Relu"', InputError, "holds no graph with nodes and outputs"),
        ("<layers>", "<sheets>", InputError, "mismatched tag|a layer in <sheets>"),
        ("</net>", "", InputError, "no element found"),
        ("</layers>", "</layers>\x01", InputError, "not well-formed"),
        ('<\\?xml version="1.0"\\?>', '<?xml version="1.0" encoding="utf-16"?>', InputError, "damaged"),
        ('version="opset1"', 'version="acme"', ModelError, r"operator '\w+' \(acme\) is of an extension of OpenVINO"),
        ('type="MatMul"', 'type="Frobnicate"', ModelError, "operator 'Frobnicate' .*is not known to openvino 20"),
    ],
)
def test_damaged_text_is_one_line(tmp_path: Path, pattern: str, by: str, kind: type[AuditError], words: str) -> None:
    refused(altered(save_linear(tmp_path / "m.xml"), pattern, by), kind, words)


def test_text_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    path.write_text("<net version='11'>" + "<a>" * 10_000)
    refused(path, InputError, "more than 64 elements in each other")


def test_a_constant_by_another_name_is_refused(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    path.write_text(path.read_text().replace('type="Const"', 'type="Constant"', 1))
    refused(path, InputError, "a layer of type Constant")


def test_a_chain_of_layers_without_end_is_refused(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    layers = "".join(f'<layer id="{i}" name="r" type="ReLU" version="opset1"/>' for i in range(10, 50_010))
    path.write_text(path.read_text().replace("</layers>", f"{layers}</layers>"))
    refused(path, InputError, "more than 50000 layers in one graph")


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    path = altered(save_linear(tmp_path / "m.xml"), 'version="opset1"', 'version="a&#10;b&#x9b;31m"')
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", InputError, "is empty"),
        (pickle.dumps({"a": 1}), UntrustedError, "is a Python pickle"),
        (b"PK\x03\x04....", InputError, "is a zip archive"),
        (b"<!DOCTYPE html><html>", InputError, "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", InputError, "git lfs pull"),
        (b"\x00\x01\x02 numbers", InputError, "name its .xml file"),
    ],
)
def test_other_files_are_told(tmp_path: Path, content: bytes, kind: type[AuditError], words: str) -> None:
    (tmp_path / "m.xml").write_bytes(content)
    refused(tmp_path / "m.xml", kind, words)


def test_the_weights_named_in_place_of_the_model_lead_to_it(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    refused(tmp_path / "m.bin", InputError, f"name {re.escape(str(path))}")
    refused(tmp_path, InputError, "is a folder; name the model inside it: m.xml")
    refused(tmp_path / "none.xml", InputError, "there is no such file")


def test_onnx_files_keep_their_external_weights_and_metadata(tmp_path: Path) -> None:
    path = onnx_models.write_linear(tmp_path / "m.onnx")
    data = onnx_models.make_external(path)
    model = ready(path, onnx_models.RECORDS)
    assert model.files() == (data.resolve(),)
    assert model.describe().properties["producer_name"] == "tests"
    found = model.predict({"x": onnx_models.RECORDS})
    np.testing.assert_allclose(found, onnx_models.expected_logits(), atol=1e-5)
    data.write_bytes(data.read_bytes()[:-1])
    refused(path, InputError, "its data file 'weights.bin' has 111 bytes where 112 are needed")
    data.unlink()
    refused(path, InputError, "its weights are in the file 'weights.bin', which is missing")


@pytest.mark.parametrize(
    ("location", "kind", "words"),
    [
        ("../weights.bin", UntrustedError, "outside the model's folder"),
        ("/etc/passwd", UntrustedError, "outside the model's folder"),
        ("a\0b", InputError, "which no file can be opened by"),
    ],
)
def test_onnx_weights_elsewhere_are_refused(tmp_path: Path, location: str, kind: type[AuditError], words: str) -> None:
    (tmp_path / "in").mkdir()
    path = onnx_models.write_linear(tmp_path / "in" / "m.onnx")
    onnx_models.make_external(path, location)
    refused(path, kind, words)


def test_onnx_weights_at_an_address_in_memory_are_refused(tmp_path: Path) -> None:
    path = onnx_models.write_linear(tmp_path / "m.onnx")
    onnx_models.make_external(path, "*/_ORT_MEM_ADDR_/*")
    (tmp_path / "*" / "_ORT_MEM_ADDR_").mkdir(parents=True)
    (tmp_path / "*" / "_ORT_MEM_ADDR_" / "*").write_bytes(bytes(4096))
    refused(path, UntrustedError, "an address in memory")


@pytest.mark.parametrize(
    ("written", "by", "kind", "words"),
    [
        (b"\x70\x01", b"\x70\x81\x80\x80\x80\x10", UntrustedError, "outside the model's folder"),
        (b"\x70\x01", b"\xf0\x80\x80\x80\x20\x01", InputError, "is a damaged or truncated ONNX model"),
    ],
    ids=["value", "field"],
)
def test_numbers_that_protocol_buffers_cut_short_hide_no_weights(
    tmp_path: Path, written: bytes, by: bytes, kind: type[AuditError], words: str
) -> None:
    (tmp_path / "in").mkdir()
    path = onnx_models.write_linear(tmp_path / "in" / "m.onnx")
    onnx_models.make_external(path, "../weights.bin")
    model = onnx.load(path, load_external_data=False)
    path.write_bytes(_rewritten(model, written, by))
    refused(path, kind, words)


def _rewritten(model: onnx.ModelProto, written: bytes, by: bytes) -> bytes:
    """Return a model in which the place of its first tensor is written in another way, of another length."""
    tensor: bytes = model.graph.initializer[0].SerializeToString()
    assert tensor.count(written) == 1
    del model.graph.initializer[0]
    graph: bytes = model.graph.SerializeToString() + _field(5, tensor.replace(written, by))
    model.ClearField("graph")
    around: bytes = model.SerializeToString()
    return around + _field(7, graph)


def _field(number: int, content: bytes) -> bytes:
    size = len(content)
    assert size < 2**14
    return bytes([number << 3 | 2, size & 127 | 128, size >> 7]) + content


def test_defaults_of_functions_keep_no_weights_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = onnx_models.write_linear(tmp_path / "in" / "m.onnx")
    onnx_models.make_external(path, "../weights.bin")
    model = onnx.load(path, load_external_data=False)
    function = model.functions.add(name="f", domain="d")
    default = function.attribute_proto.add(name="w", type=onnx.AttributeProto.TENSOR)
    default.t.CopyFrom(model.graph.initializer[0])
    for tensor in model.graph.initializer:
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    path.write_bytes(model.SerializeToString())
    refused(path, UntrustedError, "outside the model's folder")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_onnx_file_is_one_line(tmp_path: Path, share: float) -> None:
    path = onnx_models.write_linear(tmp_path / "m.onnx")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, InputError, "is a damaged or truncated ONNX model")


def test_an_onnx_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = onnx_models.write_linear(tmp_path / "m.onnx", [onnx_models.node("Frob", ["z"], ["p"], domain="acme")], "p")
    refused(path, ModelError, "Frob")


def test_metadata_of_the_model_is_told(tmp_path: Path) -> None:
    x = parameter()
    wanted = json.dumps({"scale": "1/255"})
    path = save(
        tmp_path / "m.xml", [linear(x)], [x], pmcore__preprocessing=wanted, model_info__labels="cat dog", plain="1 < 2"
    )
    properties = load(path).describe().properties
    assert properties["pmcore.preprocessing"] == wanted
    assert (properties["model_info.labels"], properties["plain"]) == ("cat dog", "1 < 2")


def test_metadata_may_have_any_names(tmp_path: Path) -> None:
    x = parameter()
    path = save(tmp_path / "m.xml", [linear(x)], [x], layer="1", body__edges__edge="2", layers__layer__data="3")
    assert "<edge value=" in path.read_text()
    properties = load(path).describe().properties
    assert (properties["layer"], properties["body.edges.edge"], properties["layers.layer.data"]) == ("1", "2", "3")


def test_nested_graphs_are_read(tmp_path: Path) -> None:
    x = parameter()
    branches = []
    for scale in (1.0, 2.0):
        inner = ops.parameter([-1, 6], np.float32)
        branches.append(
            openvino.Model([ops.multiply(inner, ops.constant(np.full((1, 1), scale, np.float32)))], [inner], "b")
        )
    largest = ops.reduce_max(x, ops.constant(np.array([0, 1])), False)
    chosen = ops.if_op(ops.greater(largest, ops.constant(np.float32(0))).output(0))
    for index, name in enumerate(("set_then_body", "set_else_body")):
        getattr(chosen, name)(branches[index])
    chosen.set_input(x.output(0), *(branch.get_parameters()[0] for branch in branches))
    made = chosen.set_output(*(branch.get_results()[0] for branch in branches))
    path = save(tmp_path / "m.xml", [ops.relu(made)], [x])
    assert "<then_body>" in path.read_text()
    model = ready(path)
    np.testing.assert_allclose(model.predict({"x": RECORDS}), np.maximum(RECORDS, 0))
    altered(path, r'(<then_body>.*?)to-layer="\d+"', r'\1to-layer="99"')
    refused(path, InputError, "an edge from .* to 99:")


QUIET = """
import socket, sys
def refuse(*args, **kwargs): raise SystemExit("network")
socket.socket.connect = refuse
from pathlib import Path
import numpy as np
import pmcore_openvino
assert "openvino" not in sys.modules
from pmcore.interfaces import LoadOptions
model = pmcore_openvino.OpenvinoModel.load(Path(sys.argv[1]), LoadOptions())
model.prepare({"x": np.zeros((3, 6), np.float32)})
model.predict({"x": np.zeros((30, 6), np.float32)})
model.layers()
assert "openvino_telemetry" not in sys.modules
"""


def test_nothing_is_printed_sent_or_left_behind(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET, str(path)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=home,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["home", "m.bin", "m.xml"]


FUZZ = """
import os, random, re, sys
from pathlib import Path
import numpy as np
from pmcore.errors import AuditError
from pmcore.interfaces import LoadOptions
from pmcore_openvino import OpenvinoModel
from pmcore_autograd.openvino_importing import import_openvino
import_openvino()

text, data = Path(sys.argv[1]).read_bytes(), Path(sys.argv[1]).with_suffix(".bin").read_bytes()
numbers = list(re.finditer(rb'"-?[0-9]+"', text))
lines = text.splitlines(keepends=True)
VALUES = (b"-1", b"0", b"1", b"7", b"999999999", b"2147483648", b"9223372036854775807", b"99999999999999999999")

def mutant(chance):
    kind = chance.choice(("bytes", "number", "cut", "twice", "without", "weights", "short"))
    changed, weights = bytearray(text), bytearray(data)
    if kind == "bytes":
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(32, 127)
    elif kind == "number":
        place = chance.choice(numbers)
        changed[place.start() + 1 : place.end() - 1] = chance.choice(VALUES)
    elif kind == "cut":
        del changed[chance.randrange(len(changed)) :]
    elif kind == "weights":
        for _ in range(8):
            weights[chance.randrange(len(weights))] = chance.randrange(256)
    elif kind == "short":
        del weights[chance.randrange(len(weights)) :]
    else:
        mixed, place = list(lines), chance.randrange(len(lines))
        if kind == "twice":
            mixed.insert(chance.randrange(len(lines)), mixed[place])
        else:
            del mixed[place]
        changed = bytearray(b"".join(mixed))
    return kind, changed, weights

folder = Path(sys.argv[2])
for seed in range(int(sys.argv[3]), int(sys.argv[4])):
    kind, changed, weights = mutant(random.Random(seed))
    (folder / "m.xml").write_bytes(changed)
    (folder / "m.bin").write_bytes(weights)
    child = os.fork()
    if not child:
        code = 3
        try:
            model = OpenvinoModel.load(folder / "m.xml", LoadOptions(threads=1))
            records = {spec.name: np.zeros((4, 3, 12, 12), spec.dtype) for spec in model.describe().inputs}
            model.prepare(records)
            model.predict(records)
            code = 0
        except AuditError as error:
            code = 1 if str(error).isprintable() else 2
        finally:
            os._exit(code)
    print(seed, kind, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_damage_ends_in_one_line_and_never_in_a_crash(tmp_path: Path) -> None:
    path = save_convolutions(tmp_path / "whole.xml", quantise=True)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(path), str(tmp_path), "0", str(ROUNDS)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    ended = [line.split() for line in done.stdout.splitlines()]
    assert len(ended) == ROUNDS
    assert [line for line in ended if line[2] not in ("0", "1")] == []
    assert sum(line[2] == "1" for line in ended) > ROUNDS // 3
    assert done.stderr == ""


def test_the_runtime_of_a_refused_model_is_not_called(tmp_path: Path) -> None:
    path = save_linear(tmp_path / "m.xml")
    (tmp_path / "m.bin").write_bytes(b"")
    code = (
        "import sys\nfrom pathlib import Path\nfrom pmcore.errors import InputError\n"
        "from pmcore.interfaces import LoadOptions\nfrom pmcore_openvino import OpenvinoModel\n"
        "try:\n    OpenvinoModel.load(Path(sys.argv[1]), LoadOptions())\n"
        "except InputError:\n    sys.exit(3 if 'openvino' in sys.modules else 0)\nsys.exit(4)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0


def test_a_model_may_have_no_weights_at_all(tmp_path: Path) -> None:
    x = parameter()
    openvino.save_model(openvino.Model([openvino.opset13.relu(x)], [x], "t"), tmp_path / "m.xml")
    (tmp_path / "m.bin").unlink(missing_ok=True)
    model = OpenvinoModel.load(tmp_path / "m.xml", LoadOptions())
    model.prepare({"x": RECORDS})
    np.testing.assert_array_equal(model.predict({"x": RECORDS}), np.maximum(RECORDS, 0))
