"""The same answers on CUDA. Skipped where there is no device, unless PMCORE_DEVICES names cuda."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pmcore.errors import ModelError
from pmcore.interfaces import Precision
from pmcore_torch import TorchModel
from pmcore_torch.options import TorchOptions
from tests.backends.gpu import NEEDS_CUDA
from tests.backends.torch_builders import RECORDS, expected_logits, export, images, load, script, small, softmax_net

pytestmark = NEEDS_CUDA


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "auto"])
@pytest.mark.parametrize("write", [export, script])
def test_cuda_answers_as_the_cpu_does(tmp_path: Path, device: str, write: object) -> None:
    assert callable(write)
    model = load(write(softmax_net(), tmp_path / "m.pt2"), device=device)
    model.prepare({"x": RECORDS})
    said = model.describe()
    assert (said.device, said.pre_softmax) == ("CUDA:0", True)
    np.testing.assert_allclose(model.predict({"x": RECORDS.astype(np.float64)}), expected_logits(), atol=1e-5)
    assert model.activations({"x": RECORDS}, ["0"])["0"].shape == (9, 4)


def test_a_module_stays_on_the_cpu_and_a_copy_is_asked_on_cuda() -> None:
    module = small()
    model = TorchModel.wrap(module, TorchOptions(device="cuda"))
    model.prepare({"x": images()})
    assert {value.device.type for value in module.parameters()} == {"cpu"}
    with torch.no_grad():
        expected = module(torch.tensor(images())).numpy()
    np.testing.assert_allclose(model.predict({"x": images()}), expected, atol=1e-4)


def test_tf32_is_off_unless_asked_for() -> None:
    layer = torch.nn.Linear(512, 4)
    records = np.random.default_rng(0).normal(size=(64, 512)).astype(np.float32) * 100
    with torch.no_grad():
        expected = layer.double()(torch.tensor(records).double()).numpy()
    layer.float()
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        exact = TorchModel.wrap(layer, TorchOptions(device="cuda")).predict({"x": records})
        deployed = TorchModel.wrap(layer, TorchOptions(device="cuda", precision=Precision.DEPLOYED))
        rounded = deployed.predict({"x": records})
        assert "(TF32)" in deployed.describe().notes[-1]
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    np.testing.assert_allclose(exact, expected, atol=1e-3)
    assert np.abs(rounded - expected).max() > np.abs(exact - expected).max()


def test_a_device_number_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="device 'cuda:63' was asked for") as caught:
        load(export(softmax_net(), tmp_path / "m.pt2"), device="cuda:63")
    assert "\n" not in str(caught.value)
