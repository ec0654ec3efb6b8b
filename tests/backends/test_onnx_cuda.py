"""The same answers on CUDA. Skipped where there is no device, unless PMCORE_DEVICES names cuda."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pmcore.errors import ModelError
from pmcore.interfaces import LoadOptions, Precision
from pmcore_onnx import OnnxModel
from tests.backends.builders import RECORDS, expected_logits, node, write_linear
from tests.backends.gpu import NEEDS_CUDA

SOFTMAX = [node("Softmax", ["z"], ["p"], axis=1)]

pytestmark = NEEDS_CUDA


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "auto"])
def test_cuda_answers_as_the_cpu_does(tmp_path: Path, device: str) -> None:
    model = OnnxModel.load(write_linear(tmp_path / "m.onnx", SOFTMAX, "p"), LoadOptions(device=device))
    model.prepare({"x": RECORDS})
    said = model.describe()
    assert (said.device, said.pre_softmax) == ("CUDA:0", True)
    np.testing.assert_allclose(model.predict({"x": RECORDS.astype(np.float64)}), expected_logits(), atol=1e-5)
    assert model.activations({"x": RECORDS}, ["head"])["head"].shape == (9, 4)


def test_tf32_is_off_unless_asked_for(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx", scale=100.0)
    exact = OnnxModel.load(path, LoadOptions(device="cuda")).predict({"x": RECORDS})
    deployed = OnnxModel.load(path, LoadOptions(device="cuda", precision=Precision.DEPLOYED))
    deployed.predict({"x": RECORDS})
    assert "(TF32)" in deployed.describe().notes[-1]
    np.testing.assert_allclose(exact, expected_logits(100.0), atol=1e-3)


def test_a_device_number_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="device 'cuda:63' was asked for") as caught:
        OnnxModel.load(write_linear(tmp_path / "m.onnx"), LoadOptions(device="cuda:63"))
    assert "\n" not in str(caught.value)
