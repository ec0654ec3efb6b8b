"""Every backend is asked, and loaded, from several threads at once, and nothing of the process stays changed."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pmcore.interfaces import Array, Capability, LoadOptions, Model
from pmcore_onnx import OnnxModel
from pmcore_openvino import OpenvinoModel
from pmcore_sklearn import SklearnModel
from pmcore_tensorflow import TensorflowModel
from pmcore_torch import TorchModel

BACKENDS = [OnnxModel, OpenvinoModel, SklearnModel, TensorflowModel, TorchModel]
RECORDS = np.random.default_rng(4).normal(size=(40, 6)).astype(np.float32)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.__name__)
def backend(request: pytest.FixtureRequest) -> type[Model]:
    found: type[Model] = request.param
    return found


def test_answers_are_the_same_from_several_threads(backend: type[Model], tmp_path: Path) -> None:
    model = _model(backend, tmp_path)
    expected = model.predict({"x": RECORDS})
    layers = [layer.name for layer in model.layers()] if Capability.ACTIVATIONS in model.capabilities else []
    hidden = {name: model.activations({"x": RECORDS}, [name])[name] for name in layers[-2:]}

    def ask(turn: int) -> Array:
        if not hidden or turn % 3 == 0:
            return model.predict({"x": RECORDS}) - expected
        name = list(hidden)[turn % len(hidden)]
        return model.activations({"x": RECORDS}, [name])[name] - hidden[name]

    with ThreadPoolExecutor(4) as pool:
        differences = [np.abs(difference).max() for difference in pool.map(ask, range(24))]
    assert max(differences) < 1e-5


def test_models_are_loaded_in_several_threads_and_the_process_stays_as_it_was(
    backend: type[Model], tmp_path: Path
) -> None:
    path = _written(backend, tmp_path)
    backend.load(path, LoadOptions(device="cpu")).close()  # the framework itself is imported once
    before = _process()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: backend.load(path, LoadOptions(device="cpu")), range(8)))
    assert _process() == before
    answers = [model.predict({"x": RECORDS}) for model in models]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def _model(backend: type[Model], folder: Path) -> Model:
    model = backend.load(_written(backend, folder), LoadOptions(device="cpu"))
    model.prepare({"x": RECORDS})
    return model


def _written(backend: type[Model], folder: Path) -> Path:
    rng = np.random.default_rng(5)
    path = folder / f"dense{backend.suffixes[0]}"
    weights = [rng.normal(size=size).astype(np.float32) for size in ((6, 8), (8, 3))]
    backend.write_dense(path, weights, [rng.normal(size=size).astype(np.float32) for size in (8, 3)])
    return path


def _process() -> tuple[object, ...]:
    """Return what loading a model may turn aside for a while."""
    files: list[object] = []
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            found = os.fstat(descriptor)
            files.append((found.st_dev, found.st_ino))
    return sys.stdout, sys.stderr, *files, list(warnings.filters), logging.root.manager.disable
