"""Activations of every layer that is listed, in every form in which networks are shipped, against torch's own hooks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier
from torch import nn

from pmcore.interfaces import Array, LoadOptions, Model
from pmcore_onnx import OnnxModel
from pmcore_openvino import OpenvinoModel
from pmcore_torch import TorchModel
from pmcore_torch.options import TorchOptions
from tests.backends.builders import make_external
from tests.backends.last_layer_cases import CLASSES, FEATURES, RECORDS, export

FORMS = ["legacy", "dynamo", "legacy through openvino", "dynamo through openvino", "exported", "module", "traced"]
RECURRENT = np.random.default_rng(3).normal(size=(5, 7, FEATURES)).astype(np.float32)
CPU = LoadOptions(device="cpu")


class Encoder(nn.Module):
    """Attention over embedded tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.hidden = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.hidden(self.table(x))[:, 0])
        return logits


class Recurrent(nn.Module):
    """An LSTM or a GRU, of which the last step is read."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.recurrent = kind(FEATURES, 8, batch_first=True)
        self.hidden = nn.Tanh()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.hidden(self.recurrent(x)[0][:, -1]))
        return logits


class Branches(nn.Module):
    """Convolutions whose channels are split, swapped and added."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.hidden = nn.MaxPool2d(2)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.body(x))
        left, right = first.chunk(2, 1)
        logits: torch.Tensor = self.head(self.hidden(torch.cat([right, left], 1) + first).mean((2, 3)))
        return logits


MADE: dict[str, tuple[Callable[[], nn.Module], Array]] = {
    "encoder": (Encoder, np.random.default_rng(4).integers(0, 30, (5, 7))),
    "lstm": (lambda: Recurrent(nn.LSTM), RECURRENT),
    "gru": (lambda: Recurrent(nn.GRU), RECURRENT),
    "branches": (Branches, np.random.default_rng(4).normal(size=(5, 3, 8, 8)).astype(np.float32)),
}


@cache
def network(name: str) -> nn.Module:
    """Return a network without two equal tensors, which exporters would make one of."""
    torch.manual_seed(1)
    made = MADE[name][0]().eval()
    with torch.no_grad():
        for value in made.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return made


def opened(name: str, form: str, folder: Path) -> Model:
    net, records = network(name), MADE[name][1]
    example = torch.from_numpy(records[:2])
    if form == "module":
        return TorchModel.wrap(net, TorchOptions())
    if form == "traced":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(net, example, check_trace=False).save(str(folder / "m.pt"))  # type: ignore[no-untyped-call]
        return TorchModel.load(folder / "m.pt", TorchOptions(device="cpu"))
    if form == "exported":
        program = torch.export.export(net, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        torch.export.save(program, folder / "m.pt2")
        return TorchModel.load(folder / "m.pt2", TorchOptions(device="cpu"))
    path = export(net, folder / "m.onnx", dynamo="dynamo" in form, records=records)
    return OpenvinoModel.load(path, CPU) if "openvino" in form else OnnxModel.load(path, CPU)


def hooked(name: str) -> Array:
    """Return what the hidden layer of a network puts out, by a hook of torch."""
    kept: list[torch.Tensor] = []
    hook = network(name).get_submodule("hidden").register_forward_hook(lambda *call: kept.append(call[2]))
    with torch.no_grad():
        network(name)(torch.from_numpy(MADE[name][1]))
    hook.remove()
    found: Array = kept[0].numpy()
    return found


def fits(declared: tuple[int | str | None, ...] | None, shape: tuple[int, ...]) -> bool:
    """Tell whether a shape is what a layer declares."""
    if declared is None:
        return True
    pairs = zip(declared, shape, strict=False)
    return len(declared) == len(shape) and all(not isinstance(size, int) or size == found for size, found in pairs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MADE)
def test_every_layer_that_is_listed_can_be_had(tmp_path: Path, name: str, form: str) -> None:
    model, records = opened(name, form, tmp_path), MADE[name][1]
    inputs = {model.describe().inputs[0].name: records}
    model.prepare(inputs)
    layers = model.layers()
    fused = {"hidden.layers.0.self_attn.out_proj"}  # attention in evaluation multiplies by its weight without it
    names = [layer.name for layer in layers if layer.name not in fused]
    assert len(set(names)) == len(names)
    together = model.activations(inputs, names)
    for layer in layers:
        if layer.name in names:
            assert fits(layer.shape, together[layer.name].shape), layer
    for text, wanted in (("-1", names[-1]), ("0", names[0])):
        np.testing.assert_allclose(model.activations(inputs, [text])[text], together[wanted], rtol=1e-5, atol=1e-5)
    for wanted in (names[0], names[len(names) // 2]):
        np.testing.assert_allclose(model.activations(inputs, [wanted])[wanted], together[wanted], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(together[names[-1]], model.predict(inputs), atol=1e-5)
    expected = hooked(name)
    near = [np.abs(a - expected).max() for a in together.values() if a.shape == expected.shape]
    assert min(near) < 1e-5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MADE)
def test_the_parameters_of_the_layers_are_those_of_the_network(tmp_path: Path, name: str, form: str) -> None:
    found = sum(layer.parameters for layer in opened(name, form, tmp_path).layers())
    assert found == sum(value.numel() for value in network(name).parameters())


@pytest.mark.parametrize("form", [form for form in FORMS if form != "traced"])
def test_shapes_are_told_where_the_form_has_them(tmp_path: Path, form: str) -> None:
    model = opened("branches", form, tmp_path)
    model.prepare({model.describe().inputs[0].name: MADE["branches"][1]})
    assert all(layer.shape is not None and len(layer.shape) in (2, 4) for layer in model.layers())


@pytest.mark.parametrize("external", [False, True])
def test_nodes_without_names_are_called_by_what_they_make(tmp_path: Path, external: bool) -> None:
    import onnx

    path = export(network("branches"), tmp_path / "m.onnx", dynamo=False, records=MADE["branches"][1])
    stripped = onnx.load(path)
    for node in stripped.graph.node:
        node.ClearField("name")
    path.write_bytes(stripped.SerializeToString())
    if external:
        make_external(path)
    model = OnnxModel.load(path, CPU)
    names = [layer.name for layer in model.layers()]
    assert all(names)
    inputs = {"x": MADE["branches"][1]}
    found = model.activations(inputs, names)
    expected = hooked("branches")
    assert any(a.shape == expected.shape and np.allclose(a, expected, atol=1e-5) for a in found.values())


def test_hidden_layers_of_a_scikit_learn_export_are_those_of_plain_numpy(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    estimator: Any = MLPClassifier((9, 7), max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(RECORDS, np.arange(len(RECORDS)) % CLASSES)
        (tmp_path / "m.onnx").write_bytes(to_onnx(estimator, RECORDS[:1]).SerializeToString())
    model = OnnxModel.load(tmp_path / "m.onnx", CPU)
    inputs = {model.describe().inputs[0].name: RECORDS}
    relus = [layer.name for layer in model.layers() if layer.kind == "Relu"]
    found = model.activations(inputs, relus)
    value = RECORDS.astype(np.float64)
    for name, weight, bias in zip(relus, estimator.coefs_, estimator.intercepts_, strict=False):
        value = np.maximum(value @ weight + bias, 0)
        np.testing.assert_allclose(found[name], value, atol=1e-5)
    assert len(relus) == 2
