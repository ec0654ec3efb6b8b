"""How TensorFlow is started and asked: devices, silence, what is left as it was, and failures in one line."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory
from pmcore.interfaces import Precision
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from tests.backends.tensorflow_builders import (
    BIASES,
    CLASSES,
    RECORDS,
    WEIGHTS,
    X,
    expected_logits,
    framework,
    keras,
    loaded,
    module,
    save_module,
    two_layers,
    wrapped,
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.keras"
    TensorflowModel.write_dense(path, WEIGHTS, BIASES)
    return path


def apart(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


START = """
import os, random, socket, sys
import numpy as np
from pathlib import Path
def watch(event, arguments):
    assert event not in ("socket.connect", "socket.getaddrinfo"), arguments
sys.addaudithook(watch)
import pmcore_tensorflow
assert not {"tensorflow", "keras", "h5py"} & sys.modules.keys()
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
SET = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "ABSL_MIN_LOG_LEVEL", "GLOG_minloglevel",
       "ENABLE_RUNTIME_UPTIME_TELEMETRY")
environment, state = dict(os.environ), random.getstate()
np.random.seed(5)
model = TensorflowModel.load(Path(sys.argv[1]), TensorflowOptions(threads=1))
records = np.ones((3, 6), dtype=np.float32)
model.prepare({"x": records})
answer = model.predict({"x": records})
assert all(os.environ.get(k) == environment.get(k) for k in SET) and random.getstate() == state
assert np.random.random() == np.random.RandomState(5).random_sample()
import keras, tensorflow
assert keras.backend.backend() == "tensorflow"
assert tensorflow.config.threading.get_intra_op_parallelism_threads() == 1
assert model.describe().notes == (), model.describe().notes
"""


def test_starting_is_silent_offline_and_changes_nothing(plain: Path) -> None:
    code = START.replace("sys.argv[1]", repr(str(plain)))
    done = apart(code, KERAS_BACKEND="torch")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_keras_on_another_framework_is_refused_in_one_line(plain: Path, tmp_path: Path) -> None:
    folder = save_module(tmp_path / "model", lambda x, z: z)
    code = f"""
import keras, numpy as np
from pathlib import Path
from pmcore.errors import ModelError
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
net = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
assert TensorflowModel.wraps(net)
for ask in (lambda: TensorflowModel.wrap(net, TensorflowOptions()),
            lambda: TensorflowModel.load(Path({str(plain)!r}), TensorflowOptions())):
    try:
        ask()
    except ModelError as error:
        print(error)
saved = TensorflowModel.load(Path({str(folder)!r}), TensorflowOptions())
print(saved.predict({{"x": np.ones((2, 6), np.float32)}}).shape)
"""
    done = apart(code, KERAS_BACKEND="torch")
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all("Keras computes with torch in this process" in line for line in lines[:2])
    assert lines[2] == "(2, 4)"  # a SavedModel needs no Keras


@pytest.mark.parametrize("device", ["auto", "cpu", "CPU"])
def test_the_device_that_runs_is_described(plain: Path, device: str) -> None:
    if device == "auto" and framework().config.list_physical_devices("GPU"):
        assert loaded(plain, device=device).describe().device == "GPU:0"
    else:
        assert loaded(plain, device=device).describe().device == "CPU"


@pytest.mark.parametrize("device", ["gpu:7", "cuda:7"])
def test_a_device_that_is_not_there_is_an_error(plain: Path, device: str) -> None:
    with pytest.raises(ModelError, match=f"device '{device}' was asked for, but TensorFlow sees"):
        loaded(plain, device=device)


@pytest.mark.parametrize("device", ["npu", "cpu:1", "gpu:", "gpu:x"])
def test_an_unknown_device_is_an_error(plain: Path, device: str) -> None:
    with pytest.raises(InputError, match="is not known to the tensorflow backend"):
        loaded(plain, device=device)


def test_threads_that_come_too_late_are_told(plain: Path) -> None:
    tf = framework()
    tf.constant(1.0)  # TensorFlow runs from here on
    other = tf.config.threading.get_intra_op_parallelism_threads() + 1
    assert any("keeps its threads" in note for note in loaded(plain, threads=other).describe().notes)
    with pytest.raises(InputError, match="threads 0 cannot be had"):
        loaded(plain, threads=0)


def test_global_switches_are_put_back(plain: Path) -> None:
    tf = framework()
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    policy, seeds = keras().config.dtype_policy().name, random.getstate()
    for precision in Precision:
        model = loaded(plain, precision=precision)
        np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)
        assert model.describe().precision == "float32"
    assert tf.config.experimental.tensor_float_32_execution_enabled() == before
    assert (keras().config.dtype_policy().name, random.getstate()) == (policy, seeds)


def test_records_of_another_shape_are_refused_in_one_line(plain: Path) -> None:
    model = loaded(plain)
    with pytest.raises(ModelError, match="input 'x' takes 6 along axis 1 and was given 5"):
        model.predict({"x": RECORDS[:, :5]})
    with pytest.raises(ModelError, match="input 'x' takes 2 dimensions and was given 3"):
        model.predict({"x": RECORDS[:, None]})


def test_a_failing_operation_is_one_line(tmp_path: Path) -> None:
    tf = framework()

    def compute(x: Any, logits: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less(x, 100.0, message="too large\nto be read")]):
            return tf.identity(logits)

    model = loaded(save_module(tmp_path / "model", compute))
    with pytest.raises(ModelError) as caught:
        model.predict({"x": RECORDS * 1e6})
    assert "\n" not in str(caught.value)
    assert "TensorFlow failed" in str(caught.value)


def test_memory_that_runs_out_is_told_as_such(tmp_path: Path) -> None:
    tf = framework()

    def compute(x: Any, logits: Any) -> Any:
        size = tf.cast(tf.shape(x)[0], tf.int64) * 2**40
        return logits + tf.reduce_max(tf.fill([size], x[0, 0]))

    with pytest.raises(OutOfMemory):
        TensorflowModel.load(save_module(tmp_path / "model", compute), TensorflowOptions()).predict(X)


def test_unbuilt_models_are_refused_with_advice() -> None:
    k = keras()
    with pytest.raises(InputError, match="is not built, so it has no weights yet; call it on a few records"):
        wrapped(k.Sequential([k.layers.Dense(4)]))


def test_only_keras_models_are_wrapped() -> None:
    assert not TensorflowModel.wraps(module(lambda x, z: z))
    assert not TensorflowModel.wraps(np.ones(3))
    assert TensorflowModel.wraps(two_layers())


def test_a_closed_model_says_so(plain: Path) -> None:
    model = loaded(plain)
    model.close()
    with pytest.raises(AuditError, match="was closed"):
        model.predict(X)


def test_models_are_told_apart_by_what_they_compute_with() -> None:
    first, same, other = (TensorflowModel.wrap(two_layers(scale=s), TensorflowOptions()) for s in (1.0, 1.0, 2.0))
    assert first.sha256() is not None
    named = TensorflowModel.wrap(two_layers("softmax"), TensorflowOptions())
    assert first.sha256() == same.sha256()
    assert len({first.sha256(), other.sha256(), named.sha256()}) == 3


def test_files_are_recognised(plain: Path, tmp_path: Path) -> None:
    folder = save_module(tmp_path / "model", lambda x, z: z)
    assert TensorflowModel.recognises(plain, plain.read_bytes()[:4096])
    assert TensorflowModel.recognises(Path("renamed"), plain.read_bytes()[:4096])
    assert TensorflowModel.recognises(folder, b"")
    assert not TensorflowModel.recognises(tmp_path, b"")
    assert not TensorflowModel.recognises(Path("model.onnx"), b"\x08\x07")


FILES: dict[str, tuple[bytes | None, str]] = {
    "empty.keras": (b"", "is empty"),
    "text.keras": (b"hello world", "is not a .keras file"),
    "missing.keras": (None, "no such file"),
    "torn.keras": (b"PK\x03\x04torn", "damaged .keras file"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_model_is_named(tmp_path: Path, name: str) -> None:
    payload, said = FILES[name]
    if payload is not None:
        (tmp_path / name).write_bytes(payload)
    with pytest.raises(InputError, match=said):
        loaded(tmp_path / name)


def test_a_renamed_model_is_told_its_name(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(plain.read_bytes())
    with pytest.raises(InputError, match=r"let its name end in \.keras"):
        loaded(tmp_path / "model.zip")


def test_a_saved_model_is_named_by_its_folder_and_needs_its_numbers(tmp_path: Path) -> None:
    folder = save_module(tmp_path / "model", lambda x, z: z)
    with pytest.raises(InputError, match="name the folder"):
        loaded(folder / "saved_model.pb")
    numbers = folder / "variables" / "variables.index"
    kept = numbers.read_bytes()
    numbers.unlink()
    with pytest.raises(InputError, match=r"variables/variables\.index"):
        loaded(folder)
    numbers.write_bytes(kept)
    for payload in (b"", b"\xff" * 100):
        (folder / "saved_model.pb").write_bytes(payload)
        with pytest.raises(InputError, match=r"saved_model\.pb"):
            loaded(folder)
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pbtxt").write_text("")
    with pytest.raises(InputError, match=r"holds no saved_model\.pb"):
        loaded(folder)


def test_every_file_of_a_saved_model_counts(tmp_path: Path) -> None:
    folder = save_module(tmp_path / "model", lambda x, z: z)
    names = [path.relative_to(folder).as_posix() for path in loaded(folder).files()]
    assert names == sorted(names)
    assert {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"} <= set(names)


def test_a_models_own_scaling_is_part_of_it() -> None:
    k = keras()
    first = k.Input((6,), name="x")
    scaled = k.layers.Rescaling(0.5, offset=1.0)(first)
    normal = k.layers.Normalization(mean=np.full(6, 0.25), variance=np.full(6, 4.0))(scaled)
    model = wrapped(k.Model(first, two_layers()(normal)))
    expected = expected_logits(records=((RECORDS * 0.5 + 1.0) - 0.25) / 2.0)
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-5)
    assert model.describe().classes == CLASSES
