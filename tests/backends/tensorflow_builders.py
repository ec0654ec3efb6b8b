"""Models for the tests of the TensorFlow backend, built in place; harmless ones and hostile ones."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.interfaces import Array, Floats
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from pmcore_tensorflow.starting import keras as start_keras
from pmcore_tensorflow.starting import tensorflow as start_tensorflow

FEATURES = 6
CLASSES = 4
RNG = np.random.default_rng(11)
WEIGHTS = [RNG.normal(size=shape).astype(np.float32) for shape in ((FEATURES, 8), (8, CLASSES))]
BIASES = [RNG.normal(size=size).astype(np.float32) for size in (8, CLASSES)]
RECORDS = RNG.normal(size=(40, FEATURES)).astype(np.float32)
X = {"x": RECORDS}


def framework() -> Any:
    """Return TensorFlow, started as the backend starts it."""
    return start_tensorflow()


def keras() -> Any:
    """Return Keras on TensorFlow."""
    return start_keras()


def expected_logits(scale: float = 1.0, records: Array = RECORDS) -> Floats:
    """Return what the two-layer network of these tests answers, (n, 4) float64, by plain numpy."""
    hidden: Floats = np.maximum(records.astype(np.float64) @ WEIGHTS[0] + BIASES[0], 0.0)
    result: Floats = ((hidden @ WEIGHTS[1] + BIASES[1]) * scale).astype(np.float64)
    return result


def two_layers(activation: Any = None, scale: float = 1.0, units: int = CLASSES, name: str = "scores") -> Any:
    """Return a functional Keras model with the weights of these tests."""
    k = keras()
    first = k.Input((FEATURES,), name="x")
    hidden = k.layers.Dense(8, activation="relu", name="hidden")(first)
    model = k.Model(first, k.layers.Dense(units, activation=activation, name=name)(hidden))
    model.layers[1].set_weights([WEIGHTS[0], BIASES[0]])
    model.layers[2].set_weights([WEIGHTS[1][:, :units] * scale, BIASES[1][:units] * scale])
    return model


def ready(model: TensorflowModel, records: Array = RECORDS) -> TensorflowModel:
    """Return a model that has seen the sample."""
    model.prepare({"x": records})
    return model


def wrapped(model: Any, **options: Any) -> TensorflowModel:
    """Return a Keras model in memory as the backend sees it, ready to answer."""
    return ready(TensorflowModel.wrap(model, TensorflowOptions(**options)))


def loaded(path: Path, **options: Any) -> TensorflowModel:
    """Return a model from a file, ready to answer."""
    return ready(TensorflowModel.load(path, TensorflowOptions(**options)))


def module(compute: Callable[[Any, Any], Any], shape: tuple[int | None, ...] = (None, FEATURES)) -> Any:
    """Return a tf.Module with the weights of these tests that answers with `compute(x, logits)`."""
    tf = framework()

    class Dense(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weights = [tf.Variable(array) for array in (*WEIGHTS, *BIASES)]

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            first, second, bias, last = self.weights
            return compute(x, tf.nn.relu(x @ first + bias) @ second + last)

    return Dense()


def save_module(folder: Path, compute: Callable[[Any, Any], Any], shape: tuple[int | None, ...] = (None, 6)) -> Path:
    """Save such a module as a SavedModel."""
    framework().saved_model.save(module(compute, shape), str(folder))
    return folder


def save_writer(folder: Path, marker: Path) -> Path:
    """Save a SavedModel that writes a file whenever it is asked."""
    tf = framework()

    def compute(x: Any, logits: Any) -> Any:
        tf.io.write_file(str(marker), "written")
        return logits

    return save_module(folder, compute)


def save_python(folder: Path) -> Path:
    """Save a SavedModel that calls Python."""
    tf = framework()
    return save_module(
        folder, lambda x, logits: tf.reshape(tf.numpy_function(lambda a: a, [logits], tf.float32), (-1, 4))
    )


def save_initialiser(folder: Path, marker: Path) -> Path:
    """Save a SavedModel that writes a file when it is loaded."""
    tf = framework()
    from tensorflow.python.trackable.resource import CapturableResource

    class Table(CapturableResource):  # type: ignore[misc]
        def _create_resource(self) -> Any:
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

        def _initialize(self) -> None:
            tf.io.write_file(str(marker), "written")

    answers = module(lambda x, logits: logits)

    class Root(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.answers = answers
            self.table = Table()

        @tf.function(input_signature=[tf.TensorSpec((None, FEATURES), tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            size = tf.raw_ops.LookupTableSizeV2(table_handle=self.table.resource_handle)
            return self.answers(x) + tf.cast(size, tf.float32)

    tf.saved_model.save(Root(), str(folder))
    return folder


def save_lambda(path: Path, marker: Path) -> Path:
    """Save a .keras file with a Lambda whose code writes a file when it runs."""
    k = keras()
    place = str(marker)
    first = k.Input((FEATURES,), name="x")
    layer = k.layers.Lambda(lambda x: (__import__("pathlib").Path(place).touch(), x)[1], name="trick")
    k.Model(first, k.layers.Dense(4)(layer(first))).save(path)
    marker.unlink(missing_ok=True)  # it ran while the network was made
    return path


def rewritten(path: Path, to: Path, change: Mapping[str, bytes | None]) -> Path:
    """Write an archive anew with members replaced, added, or left out (None)."""
    with zipfile.ZipFile(path) as archive:
        members: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    members |= change
    with zipfile.ZipFile(to, "w") as archive:
        for name, payload in members.items():
            if payload is not None:
                archive.writestr(name, payload)
    return to


def config_of(path: Path) -> dict[str, Any]:
    """Return the network that a .keras file describes."""
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("config.json"))
    return found


def with_config(path: Path, to: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Write a .keras file anew with an edited network."""
    config = config_of(path)
    edit(config)
    return rewritten(path, to, {"config.json": json.dumps(config).encode()})


def with_weights(path: Path, to: Path, edit: Callable[[Any], None]) -> Path:
    """Write a .keras file anew with edited weights; `edit` gets the open HDF5 file."""
    import h5py  # type: ignore[import-untyped]

    with zipfile.ZipFile(path) as archive:
        buffer = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(buffer, "r+") as file:
        edit(file)
    return rewritten(path, to, {"model.weights.h5": buffer.getvalue()})
