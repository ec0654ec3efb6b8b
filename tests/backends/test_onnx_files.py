"""What is no ONNX model is refused in one line; what is one is never changed."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from pmcore.backend import load_model
from pmcore.errors import AuditError, InputError, ModelError, UntrustedError
from pmcore.installed import PluginPolicy
from pmcore_onnx import OnnxModel
from tests.backends.builders import RECORDS, expected_logits, load, make_external, node, ready, write, write_linear

SOFTMAX = [node("Softmax", ["z"], ["p"], axis=1)]


class Trap:
    """Runs code when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


BAD: dict[str, tuple[bytes, type[AuditError], str]] = {
    "empty": (b"", InputError, "is empty"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", InputError, "git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html></html>", InputError, "web page"),
    "json": (b'{"a": 1}', InputError, "JSON"),
    "xml": (b"<?xml version='1.0'?><net/>", InputError, "XML"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, InputError, "HDF5"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 20, InputError, "gzip"),
    "pickle": (b"\x80\x04\x95", UntrustedError, "pickle"),
    "noise": (b"\xff" * 100, InputError, "not an ONNX model"),
    "text": (b"hello, world", InputError, "not an ONNX model"),
    "broken zip": (b"PK\x03\x04" + b"\0" * 30, InputError, "zip archive"),
    "only a version": (b"\x08\x08", InputError, "truncated"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    content, kind, words = BAD[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(kind) as caught:
        load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "m.onnx")


def test_a_folder_is_refused_and_the_model_inside_it_named(tmp_path: Path) -> None:
    write_linear(tmp_path / "inner.onnx")
    with pytest.raises(InputError, match=r"is a folder.*inner\.onnx"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_model_is_refused(tmp_path: Path, share: float) -> None:
    path = write_linear(tmp_path / "m.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="truncated"):
        load(path)


def test_names_that_are_no_text_are_damage(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", [node("Softmax", ["z"], ["prob"], axis=1)], "prob")
    path.write_bytes(path.read_bytes().replace(b"prob", b"pr\xffb"))
    with pytest.raises(InputError, match="damaged"):
        load(path)


def test_a_renamed_pickle_is_not_unpickled(tmp_path: Path) -> None:
    path, marker = tmp_path / "m.onnx", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Trap(marker)))
    with pytest.raises(UntrustedError, match="export the model"):
        load(path)
    assert not marker.exists()


def test_a_torch_checkpoint_is_refused_as_untrusted(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    with pytest.raises(UntrustedError, match="PyTorch checkpoint"):
        load(path)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", [node("Frobnicate", ["z"], ["y"])], "y")
    with pytest.raises(ModelError, match=r"m\.onnx: operator 'Frobnicate' \(opset 17\) is not known"):
        load(path)


def test_an_invalid_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", [node("Relu", ["nowhere"], ["y"])], "y")
    with pytest.raises(ModelError, match="nowhere") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert ".cc" not in str(caught.value)


def test_an_opset_of_the_future_is_refused_without_source_paths(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, {}, {"y": ["n", 6]}, opset=99)
    with pytest.raises(ModelError, match="Opset 99") as caught:
        load(path)
    assert ".h:" not in str(caught.value)


@pytest.mark.parametrize("ending", [False, True])
def test_external_data_is_read_with_and_without_an_edit(tmp_path: Path, ending: bool) -> None:
    path = write_linear(tmp_path / "m.onnx", SOFTMAX if ending else [], "p" if ending else "z")
    make_external(path)
    model = ready(path)
    assert model.describe().pre_softmax is ending
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    assert model.activations({"x": RECORDS}, ["head"])["head"].shape == (9, 4)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "weights.bin"]


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    make_external(path).unlink()
    with pytest.raises(InputError, match=r"m\.onnx.*'weights\.bin', which is missing"):
        load(path)


def test_short_external_data_is_named(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    file = make_external(path)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"'weights\.bin' has 111 bytes where 112 are needed"):
        load(path)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "a/../../weights.bin", ""])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = write_linear(folder / "m.onnx")
    make_external(path, location).replace(tmp_path / "weights.bin")
    with pytest.raises(UntrustedError, match="outside the model's folder"):
        load(path)


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = write_linear(folder / "m.onnx")
    moved = make_external(path).replace(tmp_path / "weights.bin")
    (folder / "weights.bin").symlink_to(moved)
    with pytest.raises(UntrustedError, match="outside the model's folder"):
        load(path)


def test_the_file_is_never_changed(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", SOFTMAX, "p")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    model = ready(path)
    model.layers()
    model.activations({"x": RECORDS}, ["0"])
    model.close()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_model_is_recognised_by_suffix_and_by_content(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model")
    assert OnnxModel.recognises(path, path.read_bytes()[:4096])
    assert OnnxModel.recognises(Path("m.ONNX"), b"")
    assert not OnnxModel.recognises(Path("m.npz"), b"PK\x03\x04")
    assert not OnnxModel.recognises(Path("m.pt"), b"\x80\x04\x95")
    assert load(path).describe().classes == 4


def test_metadata_is_shown(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    model = onnx.load(path)
    entry = model.metadata_props.add()
    entry.key, entry.value = "mean", "0.5"
    path.write_bytes(model.SerializeToString())
    assert load(path).describe().properties == {"mean": "0.5", "producer_name": "tests"}


def test_the_fingerprint_covers_external_weights(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    weights = make_external(path)
    before = load_model(str(path), PluginPolicy()).sha256
    changed = bytearray(weights.read_bytes())
    changed[0] ^= 1
    weights.write_bytes(bytes(changed))
    assert load_model(str(path), PluginPolicy()).sha256 != before
