"""Weights written back into IR: OpenVINO runs the new file as the module computes, and nothing but numbers changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pmcore_autograd
from pmcore.errors import AuditError, InputError, ModelError
from pmcore.interfaces import Array
from pmcore_autograd.module import ExportedModule
from tests.autograd.openvino_networks import CNN, ENCODER, GRU, LSTM, MLP, MOBILE, Network, loss
from tests.autograd.openvino_running import constant, floats, openvino, ops, runtime_answers


def facts(path: Path) -> list[tuple[Any, ...]]:
    """Return every node of a file but for the numbers of its constants."""
    nodes = openvino.Core().read_model(path).get_ordered_ops()
    return [
        (
            node.get_type_name(),
            node.get_friendly_name(),
            str(node.get_attributes()),
            [str(output.get_element_type()) + str(output.get_partial_shape()) for output in node.outputs()],
            [sorted(output.get_names()) for output in node.outputs()],
        )
        for node in nodes
    ]


def trained(path: Path, records: Array) -> ExportedModule:
    """Return the module of a file after some steps of training."""
    module = pmcore_autograd.load(path)
    descent = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(3):
        descent.zero_grad()
        torch.autograd.backward(loss(module(torch.from_numpy(records))))
        descent.step()
    return module


def answers(path: Path, records: Array) -> Array:
    return runtime_answers(openvino.Core().read_model(path), [records])[0]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("network", [MLP, CNN, MOBILE, ENCODER, LSTM, GRU], ids=repr)
def test_the_runtime_computes_with_the_new_weights(network: Network, half: bool, tmp_path: Path) -> None:
    source, saved = tmp_path / "source.xml", tmp_path / "saved.xml"
    network.save(source, half)
    records = network.records()
    module = trained(source, records)
    before = answers(source, records)
    pmcore_autograd.save(module, saved)
    found, expected = answers(saved, records), module(torch.from_numpy(records)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-2 if half else 1e-5) * np.abs(expected).max())
    assert np.abs(found - before).max() > 1e-3
    assert facts(saved) == facts(source)
    again = pmcore_autograd.load(saved)
    for name, value in module.named_parameters():
        narrow = value.half().float() if half and value.dtype == torch.float32 else value
        kept = again.get_parameter(name)
        assert torch.equal(kept, value) or torch.equal(kept, narrow), name


def test_a_file_may_be_written_over_itself(tmp_path: Path) -> None:
    path = CNN.save(tmp_path / "cnn.xml")
    module = trained(path, CNN.records())
    expected = module(torch.from_numpy(CNN.records())).detach().numpy()
    pmcore_autograd.save(module, path, overwrite=True)
    np.testing.assert_allclose(answers(path, CNN.records()), expected, rtol=0, atol=1e-5)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cnn.bin", "cnn.xml"]


def _batch_norm(version: int) -> Any:
    made = openvino.opset1 if version == 1 else openvino.opset5
    x = ops.parameter([-1, 3, 2, 2], np.float32, name="x")
    shared = constant([0.5, 1.5, 1.0])
    normal = made.batch_norm_inference(x, constant([1.0, 2.0, 3.0]), shared, constant([0.1, 0.2, 0.3]), shared, 1e-3)
    return openvino.Model([ops.reduce_mean(normal, constant([2, 3], np.int64))], [x])


@pytest.mark.parametrize("version", [1, 5])
def test_running_statistics_are_written_beside_a_weight_that_shares_their_numbers(version: int, tmp_path: Path) -> None:
    source, saved = tmp_path / "source.xml", tmp_path / "saved.xml"
    openvino.save_model(_batch_norm(version), source, compress_to_fp16=False)
    module = pmcore_autograd.load(source)
    assert len(list(module.buffers())) == 2
    assert len(list(module.parameters())) == 2
    with torch.no_grad():
        for place, value in enumerate((*module.parameters(), *module.buffers())):
            value.mul_(2.0 + place)
    pmcore_autograd.save(module, saved)
    records = floats(4, 3, 2, 2)
    expected = module(torch.from_numpy(records)).detach().numpy()
    np.testing.assert_allclose(answers(saved, records), expected, rtol=0, atol=1e-5)


def _integers(kind: str, zero: bool) -> Any:
    rng = np.random.default_rng(2)
    low, high = {"i8": (-128, 128), "u8": (0, 256), "i4": (-8, 8), "u4": (0, 16)}[kind]
    whole = rng.integers(low, high, size=(5, 8))
    whole[:, 0], whole[:, 1] = low, high - 1
    from pmcore_autograd.openvino_constants import constant_node

    kept = constant_node(whole.astype(np.int8 if kind[0] == "i" or kind == "u4" else np.uint8), kind)
    weight = ops.convert(kept, "f32")
    if zero:
        weight = ops.subtract(weight, constant(np.full((5, 1), (low + high) // 2)))
    x = ops.parameter([-1, 8], np.float32, name="x")
    scaled = ops.multiply(weight, constant(np.linspace(0.01, 0.02, 5)[:, None]))
    return openvino.Model([ops.matmul(x, scaled, False, True)], [x])


def _levels() -> Any:
    x = ops.parameter([-1, 8], np.float32, name="x")
    ends = [constant([[end]]) for end in (-1.0, 1.0, -1.0, 1.0)]
    return openvino.Model([ops.matmul(x, ops.fake_quantize(constant(floats(5, 8) / 2), *ends, 255), False, True)], [x])


@pytest.mark.parametrize(
    "make",
    [
        lambda: _integers("i8", False),
        lambda: _integers("u8", True),
        lambda: _integers("i4", True),
        lambda: _integers("u4", True),
        _levels,
    ],
    ids=["i8", "u8", "i4", "u4", "levels"],
)
def test_rounded_weights_are_put_back_on_the_nearest_level(make: Callable[[], Any], tmp_path: Path) -> None:
    source, saved = tmp_path / "source.xml", tmp_path / "saved.xml"
    openvino.save_model(make(), source, compress_to_fp16=False)
    module = pmcore_autograd.load(source)
    (weight,) = module.parameters()
    assert module.surrogate
    assert weight.numel() == 40
    with torch.no_grad():
        weight.mul_(0.9)
    pmcore_autograd.save(module, saved)
    (kept,) = pmcore_autograd.load(saved).parameters()
    step = torch.from_numpy(np.diff(np.unique(np.abs(kept.detach().numpy())))).max()
    assert 0 < (kept - weight).abs().max() <= step
    assert facts(saved) == facts(source)
    with torch.no_grad():
        weight.mul_(4.0)
    with pytest.raises(ModelError, match=r"weights of .* are larger than its scales reach"):
        pmcore_autograd.save(module, tmp_path / "beyond.xml")


def test_what_cannot_be_written_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    path = MLP.save(tmp_path / "mlp.xml", half=True)
    module = pmcore_autograd.load(path)
    with pytest.raises(InputError, match="is there already"):
        pmcore_autograd.save(module, path)
    with pytest.raises(InputError, match=r"name an \.xml file"):
        pmcore_autograd.save(module, tmp_path / "new.onnx")
    (tmp_path / "other.bin").write_bytes(b"of another model")
    with pytest.raises(InputError, match=r"other\.bin: is there already"):
        pmcore_autograd.save(module, tmp_path / "other.xml")
    with torch.no_grad():
        next(module.parameters()).fill_(1e6)
    with pytest.raises(ModelError, match="float16 cannot hold"):
        pmcore_autograd.save(module, tmp_path / "new.xml")
    CNN.save(path)
    with pytest.raises(InputError, match="is not the file any more that the module was loaded from"):
        pmcore_autograd.save(module, tmp_path / "new.xml")
    path.unlink()
    with pytest.raises(AuditError, match="there is no such file"):
        pmcore_autograd.save(module, tmp_path / "new.xml")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mlp.bin", "other.bin"]
