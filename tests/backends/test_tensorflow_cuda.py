"""The same answers on a GPU. Skipped where there is no device, unless PMCORE_DEVICES names cuda."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pmcore.errors import ModelError
from pmcore.interfaces import Precision
from tests.backends.gpu import NEEDS_CUDA
from tests.backends.tensorflow_builders import X, expected_logits, framework, loaded, two_layers, wrapped

pytestmark = NEEDS_CUDA


@pytest.mark.parametrize("device", ["gpu", "gpu:0", "cuda", "auto"])
def test_a_gpu_answers_as_the_cpu_does(tmp_path: Path, device: str) -> None:
    two_layers("softmax").save(tmp_path / "model.keras")
    two_layers("softmax").export(str(tmp_path / "model"), verbose=False)
    for path in (tmp_path / "model.keras", tmp_path / "model"):
        model = loaded(path, device=device)
        assert (model.describe().device, model.describe().pre_softmax) == ("GPU:0", True)
        np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)


def test_the_cpu_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    two_layers("softmax").save(tmp_path / "model.keras")
    model = loaded(tmp_path / "model.keras", device="cpu")
    assert model.describe().device == "CPU"
    np.testing.assert_allclose(model.predict(X), expected_logits(), atol=1e-5)


def test_tf32_is_off_unless_asked_for() -> None:
    before = framework().config.experimental.tensor_float_32_execution_enabled()
    exact = wrapped(two_layers(scale=100.0), device="gpu").predict(X)
    deployed = wrapped(two_layers(scale=100.0), device="gpu", precision=Precision.DEPLOYED)
    deployed.predict(X)
    assert any("(TF32)" in note for note in deployed.describe().notes)
    np.testing.assert_allclose(exact, expected_logits(100.0), rtol=1e-5, atol=1e-3)
    assert framework().config.experimental.tensor_float_32_execution_enabled() == before


def test_a_model_in_memory_stays_where_it_is() -> None:
    with framework().device("/GPU:0"):
        net = two_layers()
    assert wrapped(net).describe().device == "GPU:0"
    with pytest.raises(ModelError, match="lives on GPU:0"):
        wrapped(net, device="cpu")
