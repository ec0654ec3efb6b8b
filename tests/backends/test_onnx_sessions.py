"""Devices, threads, failures of the runtime, and what importing the backend costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory
from pmcore.interfaces import Array, LoadOptions
from pmcore_onnx import OnnxModel
from tests.backends.builders import RECORDS, expected_logits, load, node, write, write_linear
from tests.backends.gpu import CUDA


def test_importing_the_backend_imports_no_framework() -> None:
    code = "import sys, pmcore_onnx; print([m for m in ('onnx', 'onnxruntime') if m in sys.modules])"
    path = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, check=True)
    assert done.stdout.strip() == "[]"


def test_the_device_that_runs_is_reported(tmp_path: Path) -> None:
    said = load(write_linear(tmp_path / "m.onnx")).describe()
    assert (said.device, said.precision) == ("CPU", "float32")
    assert said.runtime == f"onnxruntime {onnxruntime.__version__}"


def test_the_telemetry_of_the_runtime_is_switched_off_before_a_session_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    start = onnxruntime.InferenceSession.__init__

    def started(self: object, *given: object, **options: object) -> None:
        calls.append("session")
        start(self, *given, **options)

    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append("off"))
    monkeypatch.setattr(onnxruntime.InferenceSession, "__init__", started)
    load(write_linear(tmp_path / "m.onnx"))
    assert calls == ["off", "session"]


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:x", "", "auto:0"])
def test_an_unknown_device_is_refused_with_the_list(tmp_path: Path, device: str) -> None:
    with pytest.raises(InputError, match="auto, cpu, cuda, cuda:N, tensorrt"):
        OnnxModel.load(write_linear(tmp_path / "m.onnx"), LoadOptions(device=device))


@pytest.mark.skipif(CUDA, reason="has a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_a_device_that_does_not_come_up_is_an_error(
    tmp_path: Path, device: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=rf"device '{device.split(':')[0]}.*was asked for.*--device cpu") as caught:
        OnnxModel.load(write_linear(tmp_path / "m.onnx"), LoadOptions(device=device))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_tensorrt_is_refused_where_it_would_round_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with pytest.raises(ModelError, match=r"'tensorrt:0' was asked for, but (rounds .* TF32|.* built without it)"):
        OnnxModel.load(write_linear(tmp_path / "m.onnx"), LoadOptions(device="tensorrt"))


@pytest.mark.skipif(CUDA, reason="has a CUDA device")
def test_auto_falls_back_to_the_cpu_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = OnnxModel.load(write_linear(tmp_path / "m.onnx"), LoadOptions())
    assert model.describe().device == "CPU"
    assert capfd.readouterr() == ("", "")


def test_threads_reach_the_runtime(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    model = OnnxModel.load(path, LoadOptions(device="cpu", threads=1))
    np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
    with pytest.raises(InputError, match="threads 0"):
        OnnxModel.load(path, LoadOptions(threads=0))


def test_too_large_a_batch_is_out_of_memory(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Mul", ["s", "many"], ["t"]),
        node("ConstantOfShape", ["t"], ["c"]),
        node("ReduceSum", ["c", "axes"], ["r"], keepdims=1),
        node("Add", ["x", "r"], ["z"]),
    ]
    weights = {"many": np.array([10**8, 10**6]), "axes": np.array([0, 1])}
    path = write(tmp_path / "m.onnx", nodes, weights, {"z": ["n", 6]})
    with pytest.raises(OutOfMemory) as caught:
        load(path).predict({"x": RECORDS})
    assert "\n" not in str(caught.value)
    assert ".cc" not in str(caught.value)


def test_a_failure_of_the_runtime_is_one_line(tmp_path: Path) -> None:
    nodes = [node("Gather", ["x", "far"], ["z"], axis=1)]
    path = write(tmp_path / "m.onnx", nodes, {"far": np.array([0, 99])}, {"z": ["n", 2]}, {"x": ["n", "d"]})
    with pytest.raises(ModelError, match="out of") as caught:
        load(path).predict({"x": RECORDS})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ".cc" not in str(caught.value)


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    model = load(write_linear(tmp_path / "m.onnx"))
    model.close()
    with pytest.raises(AuditError, match="was closed"):
        model.predict({"x": RECORDS})


def test_half_precision_runs_and_is_widened(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("Softmax", ["z"], ["p"], axis=1)]
    weights = {"w": np.eye(6, dtype=np.float16)}
    half = TensorProto.FLOAT16
    model = load(write(tmp_path / "m.onnx", nodes, weights, {"p": ["n", 6]}, input_type=half, output_type=half))
    model.prepare({"x": RECORDS})
    answer = model.predict({"x": RECORDS})
    assert answer.dtype == np.float32
    assert (model.describe().precision, model.describe().pre_softmax) == ("float16", True)
    np.testing.assert_allclose(answer, RECORDS, atol=2e-3)
    with pytest.raises(InputError, match="that do not fit"):
        model.predict({"x": RECORDS * 1e6})


def test_a_quantised_model_runs_as_it_is(tmp_path: Path) -> None:
    step = np.float32(1 / 32)
    nodes = [
        node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        node("DequantizeLinear", ["w", "step", "zero"], ["v"]),
        node("MatMul", ["d", "v"], ["z"], name="fc"),
        node("Softmax", ["z"], ["p"], axis=1),
    ]
    quantised = np.round(np.eye(6) / step).astype(np.int8)
    weights: dict[str, Array] = {"step": np.array(step), "zero": np.array(0, np.int8), "w": quantised}
    model = load(write(tmp_path / "m.onnx", nodes, weights, {"p": ["n", 6]}))
    model.prepare({"x": RECORDS})
    assert (model.describe().precision, model.describe().pre_softmax) == ("int8 (QDQ)", True)
    np.testing.assert_allclose(model.predict({"x": RECORDS}), np.round(RECORDS / step) * step, atol=2e-2)
    assert {layer.name: layer.parameters for layer in model.layers()}["fc"] == 36
