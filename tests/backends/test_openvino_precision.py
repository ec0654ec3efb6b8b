"""In which precision OpenVINO computes: float32 and read back, or what the device takes by itself, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array, Floats, LoadOptions, Precision, Want
from pmcore_openvino import OpenvinoModel, device
from pmcore_openvino.device import Device, exact_settings, read_back
from tests.backends.openvino_builders import (
    BIAS,
    IMAGES,
    RECORDS,
    WEIGHT,
    constant,
    convolutions,
    openvino,
    ops,
    parameter,
    random_weights,
    ready,
    save,
    save_convolutions,
    save_linear,
    torch_logits,
)

LABELS = np.arange(len(IMAGES)) % 5


def losses(logits: Array) -> Floats:
    found: Floats = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(LABELS)), LABELS]
    return found


def distance(logits: Array) -> float:
    """Return how far the losses of some logits are from torch's."""
    return float(np.abs(losses(logits) - losses(torch_logits(random_weights(), IMAGES))).max())


def lowered(core: Any) -> dict[str, str]:
    """Return settings under which this CPU computes in less than float32, if it can.

    Where bfloat16 is what it takes by itself, none are needed; elsewhere it is asked for it.
    """
    default = core.get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()
    return {} if default == "bf16" else {"INFERENCE_PRECISION_HINT": "bf16"}


def test_float32_is_computed_and_read_back_and_losses_are_those_of_torch(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml"), IMAGES)
    assert model.describe().precision == "float32"
    assert distance(model.predict({"x": IMAGES})) < 1e-5
    outputs = model.ask({"x": IMAGES}, LABELS, Want(predictions=True))
    own = -outputs.log_probabilities[np.arange(len(LABELS)), LABELS]
    assert np.abs(own - losses(torch_logits(random_weights(), IMAGES))).max() < 1e-5


def test_without_the_hint_losses_are_off_and_the_read_back_tells(tmp_path: Path) -> None:
    path = save_convolutions(tmp_path / "m.xml")
    core = openvino.Core()
    exact = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert read_back(exact).is_float32
    assert distance(exact([IMAGES])[0]) < 1e-5
    plain = core.compile_model(path, "CPU", lowered(core))
    found = read_back(plain)
    is_close = distance(plain([IMAGES])[0]) < 1e-5
    assert is_close == found.is_float32, "what is read back does not tell how the losses come out"
    if found.hint != "float32":
        assert found.shown == "bfloat16"
        assert not is_close


def test_a_model_that_did_not_come_up_in_float32_is_not_audited_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_convolutions(tmp_path / "m.xml")
    core = openvino.Core()
    monkeypatch.setattr(device, "_EXACT", lowered(core))
    takes = read_back(core.compile_model(path, "CPU", lowered(core)))
    if takes.is_float32:  # this CPU knows nothing else, so that nothing can be wrong
        assert ready(path, IMAGES).describe().precision == "float32"
        return
    with pytest.raises(
        ModelError, match=r"float32 was asked for, but CPU computes in bfloat16; .*--precision deployed"
    ):
        OpenvinoModel.load(path, LoadOptions())


def test_deployed_is_what_the_device_takes_by_itself_and_is_told(tmp_path: Path) -> None:
    path = save_convolutions(tmp_path / "m.xml")
    model = ready(path, IMAGES, precision=Precision.DEPLOYED)
    compiled = openvino.Core().compile_model(path, "CPU")
    said = model.describe()
    assert said.precision == read_back(compiled).shown
    assert any("in the precision that CPU takes by itself, " + said.precision in note for note in said.notes)
    wanted = compiled([IMAGES])[0]
    np.testing.assert_allclose(model.predict({"x": IMAGES}), wanted, atol=1e-6 + 0.01 * np.abs(wanted).max())
    assert (distance(model.predict({"x": IMAGES})) < 1e-5) == (said.precision == "float32")


def test_weights_kept_in_half_are_computed_with_in_float32(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml", half=True), IMAGES)
    said = model.describe()
    assert said.precision == "float32"
    assert "The file keeps its weights in float16." in said.notes
    half = {name: array.astype(np.float16).astype(np.float32) for name, array in random_weights().items()}
    np.testing.assert_allclose(model.predict({"x": IMAGES}), torch_logits(half, IMAGES), atol=1e-5)
    assert distance(model.predict({"x": IMAGES})) > 1e-5


def test_a_model_in_half_throughout_is_computed_in_float32(tmp_path: Path) -> None:
    x = parameter(dtype=np.float16)
    product = ops.matmul(x, constant(WEIGHT.astype(np.float16)), False, False)
    model = ready(save(tmp_path / "m.xml", [ops.add(product, constant(BIAS.astype(np.float16)[None]))], [x]))
    assert model.describe().inputs[0].dtype == "float16"
    found = model.predict({"x": RECORDS})
    assert found.dtype == np.float32
    wanted = RECORDS.astype(np.float16).astype(np.float64) @ WEIGHT.astype(np.float16) + BIAS.astype(np.float16)
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


def test_a_quantised_model_runs_in_int8_and_says_so(tmp_path: Path) -> None:
    model = ready(save_convolutions(tmp_path / "m.xml", quantise=True), IMAGES)
    said = model.describe()
    assert any("quantised (4 FakeQuantize operations)" in note for note in said.notes)
    assert said.precision == read_back(openvino.Core().compile_model(tmp_path / "m.xml", "CPU", device._EXACT)).shown
    off = distance(model.predict({"x": IMAGES}))
    assert 1e-4 < off < 0.5


def test_weights_of_eight_bits_are_told(tmp_path: Path) -> None:
    whole = np.clip(np.round(WEIGHT * 40), -127, 127).astype(np.int8)
    weight = ops.multiply(ops.convert(constant(whole), "f32"), constant(np.full((1, 4), 1 / 40, np.float32)))
    x = parameter()
    model = ready(save(tmp_path / "m.xml", [ops.matmul(x, weight, False, False)], [x]))
    assert "The file keeps its weights in 8 bits or fewer." in model.describe().notes
    assert model.describe().precision == "float32"
    np.testing.assert_allclose(model.predict({"x": RECORDS}), RECORDS @ (whole / 40.0), atol=1e-5)
    assert sum(layer.parameters for layer in model.layers()) == WEIGHT.size


@pytest.mark.parametrize("text", ["auto", "AUTO", "cpu", "CPU", " Cpu "])
def test_the_cpu_is_taken_and_told(tmp_path: Path, text: str) -> None:
    model = OpenvinoModel.load(save_linear(tmp_path / "m.xml"), LoadOptions(device=text))
    assert model.describe().device == "CPU"


@pytest.mark.parametrize(("text", "name"), [("gpu", "GPU"), ("GPU.1", "GPU.1"), ("gpu:1", "GPU.1"), ("npu", "NPU")])
def test_devices_are_spelt_as_openvino_does(text: str, name: str) -> None:
    assert Device.parse(text).name == name


@pytest.mark.parametrize("text", ["gpu.7", "npu.7"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, text: str) -> None:
    there = ", ".join(openvino.Core().available_devices)
    with pytest.raises(ModelError) as caught:
        OpenvinoModel.load(save_linear(tmp_path / "m.xml"), LoadOptions(device=text))
    assert f"device '{text}' was asked for, but openvino finds only {there};" in str(caught.value)


@pytest.mark.parametrize("text", ["cuda", "cpu.1", "auto:GPU,CPU", "hetero:CPU", "", "gpu.x"])
def test_a_device_of_no_such_name_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="is not known to the openvino backend; use one of auto, cpu, gpu"):
        OpenvinoModel.load(save_linear(tmp_path / "m.xml"), LoadOptions(device=text))


def test_answers_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    x = parameter((-1, 3, 12, 12))
    path = save(tmp_path / "m.xml", [convolutions(x, random_weights())], [x])
    found = [OpenvinoModel.load(path, LoadOptions(threads=threads)).predict({"x": IMAGES}) for threads in (None, 1, 2)]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=2e-7 * np.abs(found[0]).max())


class _Unyielding:
    """Stands for an accelerator that tells its precision and lets nobody set it, as none is at hand."""

    def get_property(self, device: str, name: str) -> dict[str, str]:
        assert (device, name) == ("NPU", "SUPPORTED_PROPERTIES")
        return {"INFERENCE_PRECISION_HINT": "RO", "EXECUTION_MODE_HINT": "RW", "NUM_STREAMS": "RO"}


def test_only_what_a_device_lets_be_set_is_set() -> None:
    assert exact_settings(_Unyielding(), "NPU") == {"EXECUTION_MODE_HINT": "ACCURACY"}
