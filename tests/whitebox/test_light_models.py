"""The nine architectures that the onnx package ships without weights: its constant ones are parameters all the same.

Most weights are made by ConstantOfShape nodes. `pmcore_autograd.load` gives gradients for all of them, and what it
writes back computes the same in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

import pmcore_autograd
from pmcore.interfaces import Array, Floats, GradientRequest
from pmcore_autograd.module import ExportedModule
from pmcore_autograd.per_record import PerRecord
from tests.whitebox.bounds import FORWARD, GRADIENT
from tests.whitebox.exports import answers

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
CLASSES = 1000
PARAMETERS = {
    "bvlc_alexnet": 60_965_224,
    # BatchNorm as Caffe has it, each followed by a scale and a shift: 41 824 channels more, twice, than torchvision's.
    "densenet121": 7_978_856 + 2 * 41_824,
    "inception_v1": 6_998_552,
    "inception_v2": 11_194_984 + 2 * 9_952,
    "resnet50": 25_557_032,
    "shufflenet": 1_393_320,
    "squeezenet": 1_235_496,
    "vgg19": 143_667_240,
    "zfnet512": 87_250_536,
}
IMAGES = np.random.default_rng(4).normal(size=(2, 3, 224, 224)).astype(np.float32)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that goes at once: half a gigabyte of VGG need not stay."""
    with TemporaryDirectory() as name:
        yield Path(name)


def test_every_light_model_of_the_package_is_tested() -> None:
    assert sorted(PARAMETERS) == sorted(path.stem.removeprefix("light_") for path in FOLDER.glob("light_*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_that_are_made_by_nodes_are_parameters(name: str) -> None:
    module, logits = _loaded(FOLDER / f"light_{name}.onnx")
    parameters = dict(module.named_parameters())
    assert sum(value.numel() for value in parameters.values()) == PARAMETERS[name]
    own, runtime = _answers(module), _runtime(module.source, logits)
    assert np.abs(own - runtime).max() <= FORWARD * np.abs(runtime).max()
    # The head has equal weights, which make every class as likely as the others: the gradient by its bias is known.
    norms = _norms(module, IMAGES[:1], np.array([3]))
    assert all(np.isfinite(each).all() for each in norms.values())
    biases = [name for name, value in parameters.items() if value.shape == (CLASSES,)]
    assert len(biases) == 1
    np.testing.assert_allclose(norms[biases[0]], np.sqrt(1 - 1 / CLASSES), rtol=GRADIENT)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_fresh_weights_have_gradients_each_and_are_written_back(name: str, folder: Path) -> None:
    module, logits = _loaded(FOLDER / f"light_{name}.onnx")
    module.reset_parameters(0)
    pmcore_autograd.save(module, folder / "written.onnx")
    own = _answers(module)
    runtime = _runtime(folder / "written.onnx", logits)
    assert np.abs(own - runtime).max() <= FORWARD * np.abs(runtime).max()
    labels = own.argmin(axis=1)
    norms = _norms(module, IMAGES, labels)
    assert [name for name, each in norms.items() if not (np.isfinite(each).all() and (each > 0).all())] == []
    expected = _by_backward_passes(module, labels)
    assert {key: value for key, value in norms.items() if not np.allclose(value, expected[key], rtol=1e-4)} == {}
    np.testing.assert_allclose(_total(norms), _total(expected), rtol=GRADIENT)


def _loaded(path: Path) -> tuple[ExportedModule, str]:
    """Return a model that ends before its softmax, and the name of the tensor that it returns."""
    last = onnx.load(path).graph.node[-1]
    logits: str = last.input[0] if last.op_type == "Softmax" else last.output[0]
    return pmcore_autograd.load(path, [logits]), logits


def _answers(module: torch.nn.Module) -> Array:
    with torch.no_grad():
        logits: Array = torch.cat([_logits(module, image) for image in torch.from_numpy(IMAGES)]).numpy()
    return logits


def _logits(module: torch.nn.Module, image: Tensor) -> Tensor:
    logits: Tensor = module(image[None]).reshape(1, CLASSES)
    return logits


def _runtime(path: Path, logits: str) -> Array:
    model = onnx.load(path, load_external_data=False)
    name = next(value.name for value in model.graph.input if len(value.type.tensor_type.shape.dim) == 4)
    return answers(path, {name: IMAGES}, 1, logits).reshape(len(IMAGES), CLASSES)


def _norms(module: torch.nn.Module, images: Array, labels: Array) -> dict[str, Floats]:
    """Return the norm of each record's gradient by parameter."""
    parameters = dict(module.named_parameters())
    request = GradientRequest(tuple(parameters))
    engine = PerRecord(
        module,
        lambda inputs: module(*inputs.values()).reshape(-1, CLASSES),
        {name: [value] for name, value in parameters.items()},
        batched=False,
    )

    def cotangent(predictions: Array, rows: slice) -> Floats:
        found: Floats = softmax(predictions.astype(np.float64), axis=1)
        found[np.arange(len(found)), labels[rows]] -= 1.0
        return found

    norms = engine.reduce({"image": torch.from_numpy(images)}, cotangent, [request])[request]
    return dict(zip(parameters, norms.T, strict=True))


def _by_backward_passes(module: torch.nn.Module, labels: Array) -> dict[str, Floats]:
    names, values = zip(*module.named_parameters(), strict=True)
    found: dict[str, list[float]] = {name: [] for name in names}
    for image, label in zip(torch.from_numpy(IMAGES), torch.from_numpy(labels), strict=True):
        loss = torch.nn.functional.cross_entropy(_logits(module, image), label[None])
        for name, gradient in zip(names, torch.autograd.grad(loss, values), strict=True):
            found[name].append(float(torch.linalg.vector_norm(gradient, dtype=torch.float64)))
    return {name: np.array(norms) for name, norms in found.items()}


def _total(norms: dict[str, Floats]) -> Floats:
    total: Floats = np.sqrt(np.sum(np.square(list(norms.values())), axis=0))
    return total
