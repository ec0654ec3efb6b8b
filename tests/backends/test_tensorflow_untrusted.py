"""Models that would do more than compute are refused before anything of them runs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmcore.checksums import files_sha256
from pmcore.errors import AuditError, ExitCode, InputError, UntrustedError
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from tests.backends.tensorflow_builders import (
    BIASES,
    RECORDS,
    WEIGHTS,
    expected_logits,
    framework,
    keras,
    loaded,
    rewritten,
    save_initialiser,
    save_lambda,
    save_module,
    save_python,
    save_writer,
    two_layers,
    with_config,
    with_weights,
)
from tests.core.command import run_apart


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.keras"
    TensorflowModel.write_dense(path, WEIGHTS, BIASES)
    return path


def refusal(path: Path, **options: Any) -> AuditError:
    with pytest.raises(AuditError) as caught:
        TensorflowModel.load(path, TensorflowOptions(**options))
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", ["keras-lambda", "weights", "function", "initialiser", "python"])
def test_hostile_models_leave_nothing_behind_and_end_with_one_line(tmp_path: Path, plain: Path, kind: str) -> None:
    marker = tmp_path / "marker"
    if kind == "keras-lambda":
        model = save_lambda(tmp_path / "model.keras", marker)
    elif kind == "weights":
        model = with_weights(plain, tmp_path / "model.keras", external_link)
    elif kind == "function":
        model = save_writer(tmp_path / "model", marker)
    elif kind == "initialiser":
        model = save_initialiser(tmp_path / "model", marker)
    else:
        model = save_python(tmp_path / "model")
    marker.unlink(missing_ok=True)
    np.savez(tmp_path / "records.npz", x=RECORDS, y=np.arange(len(RECORDS)) % 4)
    ended = run_apart("audit", model, "--members", tmp_path / "records.npz", "--non-members", tmp_path / "records.npz")
    assert not marker.exists()
    assert ended.code == ExitCode.UNTRUSTED
    assert len(ended.complaints) == 1
    assert ended.out == ""
    assert str(model) in ended.err
    named = {
        "keras-lambda": "Lambda",
        "weights": "/etc/passwd",
        "function": "WriteFile",
        "initialiser": "WriteFile",
        "python": "PyFunc",
    }
    assert named[kind] in ended.err


def test_the_initialiser_of_this_test_really_writes(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = save_initialiser(tmp_path / "model", marker)
    marker.unlink(missing_ok=True)
    framework().saved_model.load(str(folder))
    assert marker.exists()


def test_the_lambda_of_this_test_really_writes(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = save_lambda(tmp_path / "model.keras", marker)
    assert not marker.exists()
    keras().saving.load_model(path, safe_mode=False)
    assert marker.exists()


def test_a_model_that_somebody_vouches_for_runs(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = save_writer(tmp_path / "model", marker)
    marker.unlink(missing_ok=True)
    error = refusal(folder)
    said = f"sha256:{files_sha256(sorted(path for path in folder.rglob('*') if path.is_file()))}"
    assert said in str(error)
    assert "operation WriteFile (node 'WriteFile' of function '__inference___call__" in str(error)
    model = loaded(folder, trust_model=said)
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    assert marker.exists()
    assert any("vouched for" in note for note in model.describe().notes)


def test_another_sha256_is_refused(tmp_path: Path) -> None:
    folder = save_module(tmp_path / "model", lambda x, logits: logits)
    assert isinstance(refusal(folder, trust_model=f"sha256:{'0' * 64}"), UntrustedError)
    assert isinstance(refusal(folder, trust_model="yes"), InputError)


def test_what_passes_the_check_carries_a_note(tmp_path: Path) -> None:
    folder = save_module(tmp_path / "model", lambda x, logits: logits)
    assert any("no proof" in note for note in loaded(folder).describe().notes)


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "ReadFile": lambda tf: tf.io.read_file("/etc/hostname"),
    "MatchingFiles": lambda tf: tf.io.matching_files("/etc/*"),
    "PrintV2": lambda tf: tf.print("x", output_stream="file:///dev/null"),
    "SaveV2": lambda tf: tf.raw_ops.SaveV2(
        prefix="/dev/null", tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
    ),
    "RestoreV2": lambda tf: tf.raw_ops.RestoreV2(
        prefix="/dev/null", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
    ),
    "MergeV2Checkpoints": lambda tf: tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=["/dev/null"], destination_prefix="/dev/null"
    ),
    "TextLineDataset": lambda tf: tf.raw_ops.TextLineDataset(
        filenames=["/etc/hostname"], compression_type="", buffer_size=0
    ),
    "WholeFileReaderV2": lambda tf: tf.raw_ops.WholeFileReaderV2(),
    "ImmutableConst": lambda tf: tf.raw_ops.ImmutableConst(
        dtype=tf.float32, shape=[1], memory_region_name="/etc/hostname"
    ),
    "EagerPyFunc": lambda tf: tf.py_function(lambda: 1.0, [], tf.float32),
    "DebugIdentityV2": lambda tf: tf.raw_ops.DebugIdentityV2(input=tf.constant(1.0), debug_urls=["file:///dev/null"]),
    "Timestamp": lambda tf: tf.timestamp(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_beyond_tensors_are_refused_by_name(tmp_path: Path, operation: str) -> None:
    tf = framework()

    def compute(x: Any, logits: Any) -> Any:
        made = OPERATIONS[operation](tf)
        with tf.control_dependencies([tensor for tensor in tf.nest.flatten(made) if tensor is not None]):
            return tf.identity(logits)

    error = refusal(save_module(tmp_path / "model", compute))
    assert isinstance(error, UntrustedError)
    assert f"operation {operation} " in str(error)


@pytest.mark.parametrize("branch", ["If", "While"])
def test_operations_inside_branches_are_found(tmp_path: Path, branch: str) -> None:
    tf = framework()

    def compute(x: Any, logits: Any) -> Any:
        if branch == "If":
            return tf.cond(tf.reduce_sum(x) > 1e9, lambda: _after_reading(tf, logits), lambda: logits)
        return tf.while_loop(lambda i, z: i < 1, lambda i, z: (i + 1, _after_reading(tf, z)), [0, logits])[1]

    error = refusal(save_module(tmp_path / "model", compute))
    assert "operation ReadFile " in str(error)


def _after_reading(tf: Any, logits: Any) -> Any:
    with tf.control_dependencies([tf.io.read_file("/etc/hostname")]):
        return tf.identity(logits)


def edit_graph(folder: Path, edit: Callable[[Any], None]) -> Path:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((folder / "saved_model.pb").read_bytes())
    edit(proto)
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    return folder


@pytest.mark.parametrize("by", ["call", "name of an operation", "object", "bare object", "captured tensor"])
def test_the_functions_that_save_a_model_may_not_be_called_by_it(tmp_path: Path, by: str) -> None:
    folder = save_module(tmp_path / "model", lambda x, logits: logits)

    def call_the_saver(proto: Any) -> None:
        graph = proto.meta_graphs[0].graph_def
        saver = next(f for f in graph.library.function if "traced_save" in f.signature.name)
        body = next(f for f in graph.library.function if "traced" not in f.signature.name)
        objects = proto.meta_graphs[0].object_graph_def.nodes
        if by == "object":
            objects.add().function.concrete_functions.append(saver.signature.name)
        elif by == "bare object":
            objects.add().bare_concrete_function.concrete_function_name = saver.signature.name
        elif by == "captured tensor":
            objects.add().captured_tensor.concrete_function = saver.signature.name
        elif by == "call":
            node = body.node_def.add(name="sly", op="StatefulPartitionedCall")
            node.attr["f"].func.name = saver.signature.name
        else:  # a function stands before an operation of the same name
            for node in graph.node:
                if node.attr["f"].func.name == saver.signature.name:
                    node.attr["f"].func.name = "Relu"
            saver.signature.name = "Relu"

    error = refusal(edit_graph(folder, call_the_saver))
    assert isinstance(error, UntrustedError)
    assert "outside the functions by which the model is saved" in str(error)


def test_functions_that_tensorflow_may_swap_for_a_saver_are_refused(tmp_path: Path) -> None:
    folder = save_module(tmp_path / "model", lambda x, logits: logits)

    def swap(proto: Any) -> None:
        for function in proto.meta_graphs[0].graph_def.library.function:
            function.attr["api_implements"].s = b"same"

    assert isinstance(refusal(edit_graph(folder, swap)), UntrustedError)


def test_assets_and_models_of_tensorflow_1_are_refused(tmp_path: Path) -> None:
    first = save_module(tmp_path / "a", lambda x, logits: logits)
    edit_graph(first, lambda proto: proto.meta_graphs[0].asset_file_def.add(filename="/etc/passwd"))
    assert "asset files" in str(refusal(first))
    second = save_module(tmp_path / "b", lambda x, logits: logits)
    edit_graph(second, lambda proto: proto.meta_graphs[0].ClearField("object_graph_def"))
    assert "TensorFlow 1" in str(refusal(second))


def first_layer(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["config"]["layers"][1]
    return found


def named(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: first_layer(config).update(changes)


def setting(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda config: first_layer(config)["config"].update(changes)


FUNCTION = {"class_name": "function", "module": "builtins", "config": "system", "registered_name": "os>system"}
CONFIGS: dict[str, Callable[[dict[str, Any]], None]] = {
    "custom package": named(registered_name="mine>Dense"),
    "another module": named(module="os", class_name="system"),
    "a module of keras": named(module="keras.utils", class_name="get_file"),
    "an inner module of keras": named(module="keras.src.utils.file_utils", class_name="get_file"),
    "a layer through another module": named(module="keras.src.layers.core.lambda_layer", class_name="Dense"),
    "no module": lambda config: first_layer(config).pop("module"),
    "lambda": named(class_name="Lambda"),
    "torch": named(class_name="TorchModuleWrapper"),
    "SavedModel as a layer": named(class_name="TFSMLayer", config={"filepath": "/x"}),
    "jax": named(class_name="JaxLayer"),
    "marshalled code": setting(activation={"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}),
    "a function of another module": setting(
        activation={"class_name": "function", "module": "os", "config": "system", "registered_name": "system"}
    ),
    "a registered function": setting(activation=FUNCTION),
    "a type": setting(activation={"class_name": "__typespec__", "spec_name": "x", "module": "os", "config": []}),
    "vocabulary from a file": named(class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
    "class by a path": named(class_name="../Dense"),
    "nested compile": named(compile_config={"loss": {"class_name": "Loss", "module": "mine", "config": {}}}),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_networks_that_name_more_than_keras_own_parts_are_refused(tmp_path: Path, plain: Path, name: str) -> None:
    path = with_config(plain, tmp_path / "model.keras", CONFIGS[name])
    assert isinstance(refusal(path), UntrustedError)


def test_custom_losses_do_not_matter(tmp_path: Path, plain: Path) -> None:
    custom = {"loss": {"class_name": "Mine", "module": "mine", "config": {}, "registered_name": "mine>Mine"}}
    path = with_config(plain, tmp_path / "model.keras", lambda config: config.update(compile_config=custom))
    np.testing.assert_allclose(loaded(path).predict({"x": RECORDS}), expected_logits(), atol=1e-5)


def test_registered_code_of_this_process_is_not_taken_from_a_file(tmp_path: Path) -> None:
    k = keras()

    @k.saving.register_keras_serializable("mine")
    class Own(k.layers.Dense):  # type: ignore[misc, name-defined]
        pass

    first = k.Input((6,))
    k.Model(first, Own(4)(first)).save(tmp_path / "model.keras")
    error = refusal(tmp_path / "model.keras")
    assert isinstance(error, UntrustedError)
    assert "mine>Own" in str(error)


def external_link(file: Any) -> None:
    import h5py  # type: ignore[import-untyped]

    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: Any) -> None:
    import h5py

    file["elsewhere"] = h5py.SoftLink("/layers")


def external_storage(file: Any) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", shape=(6, 8), dtype="f4", external=[("/etc/passwd", 0, 192)])


def virtual(file: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout(shape=(6, 8), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(6, 8))
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_virtual_dataset("0", layout)


@pytest.mark.parametrize("edit", [external_link, soft_link, external_storage, virtual])
def test_weights_that_point_elsewhere_are_refused(tmp_path: Path, plain: Path, edit: Callable[[Any], None]) -> None:
    assert isinstance(refusal(with_weights(plain, tmp_path / "model.keras", edit)), UntrustedError)


def test_weights_that_claim_more_than_they_hold_are_refused(tmp_path: Path, plain: Path) -> None:
    def inflate(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars"].create_dataset("0", shape=(2**20, 2**20), dtype="f4", chunks=(16, 16))

    assert "claim" in str(refusal(with_weights(plain, tmp_path / "model.keras", inflate)))


def test_members_that_are_no_part_of_a_model_are_refused(tmp_path: Path, plain: Path) -> None:
    for name in ("assets/layers/x/vocabulary.txt", "../outside", "model.weights.npz", "data.pkl"):
        assert isinstance(refusal(rewritten(plain, tmp_path / "model.keras", {name: b"x"})), UntrustedError)


def test_archives_that_explode_or_repeat_members_are_refused(tmp_path: Path, plain: Path) -> None:
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", bytes(2**28 + 2**20))
        archive.writestr("model.weights.h5", b"x")
    assert "would unpack" in str(refusal(bomb))
    twice = tmp_path / "twice.keras"
    twice.write_bytes(plain.read_bytes())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("config.json", "{}")
    assert "2 files config.json" in str(refusal(twice))


def test_the_old_form_of_keras_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("absl.logging.warning", lambda *_: None)
        two_layers().save(tmp_path / "model.h5")
    error = refusal(tmp_path / "model.h5")
    assert isinstance(error, UntrustedError)
    assert "save it as model.keras" in str(error)
