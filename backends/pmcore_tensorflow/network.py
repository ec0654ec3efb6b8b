"""A Keras model as it stands: its inputs, its precision, and how it is called."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import TensorSpec
from pmcore_tensorflow.device import explained
from pmcore_tensorflow.layers import Tap, network_of, tapped
from pmcore_tensorflow.starting import keras, unnoticed
from pmcore_tensorflow.trace import Answer, Body, array_type

_BUILD = "call it on a few records and load its weights first"


@dataclass(frozen=True)
class Network:
    """A Keras model, the arrays that it takes, and how they are given to it.

    Parameters
    ----------
    structure : what the model takes: one place, a list or a dictionary of places, each None
    """

    keras: Any
    model: Any
    specs: tuple[TensorSpec, ...]
    structure: Any

    def body(self, taps: Mapping[str, Tap] | None = None) -> Body:
        """Return how the model computes with symbolic tensors, its layers too; always as in inference.

        What layers would keep from a call, such as losses and the states of stateful ones, they do not.
        """

        def compute(inputs: Sequence[Any]) -> Answer:
            packed = self.keras.tree.pack_sequence_as(self.structure, list(inputs))
            layers: dict[str, Any] = {}
            with self.keras.StatelessScope():
                if taps:
                    layers = tapped(self.keras, self.model, packed, taps)
                    answer = layers.pop("")
                else:
                    answer = self.model(packed, training=False)
            return Answer(self._named(answer), layers)

        return compute

    @property
    def home(self) -> str:
        """Return the device on which the weights are, such as "CPU:0"."""
        for variable in self.model.variables:
            place = str(getattr(variable.value, "device", ""))
            if "GPU:" in place:
                return place[place.index("GPU:") :]
        return "CPU:0"

    @property
    def precision(self) -> str:
        """Return the precision that the layers are declared to have, such as "float32" or "mixed_float16"."""
        names = {layer.dtype_policy.name for layer in self.model._flatten_layers() if layer.weights}
        return ", ".join(sorted(names - {"float32"})) or "float32"

    def sha256(self) -> str:
        """Return a SHA-256 of the kinds of layers, their activations, and all weights; names are left out."""
        digest = hashlib.sha256()
        for layer in self.model._flatten_layers():
            activation = getattr(getattr(layer, "activation", None), "__name__", "")
            digest.update(f"{type(layer).__name__} {activation}\n".encode())
        for variable in self.model.variables:
            array = np.ascontiguousarray(self.keras.ops.convert_to_numpy(variable.value))
            digest.update(f"{array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _named(self, answer: Any) -> dict[str, Any]:
        """Return outputs by name: as the network names them, by the keys of a dictionary, or by number."""
        if isinstance(answer, Mapping):
            return {str(key): answer[key] for key in answer}
        tensors = self.keras.tree.flatten(answer)
        network = network_of(self.model)
        names = list(getattr(network, "output_names", None) or ())
        if len(names) != len(tensors) or len(set(names)) != len(names):
            names = ["output"] if len(tensors) == 1 else [f"output_{index}" for index in range(len(tensors))]
        return dict(zip(names, tensors, strict=True))


def is_keras_model(found: object) -> bool:
    """Tell a Keras model without importing Keras."""
    module = sys.modules.get("keras")
    return module is not None and hasattr(module, "Model") and isinstance(found, module.Model)


def read_network(model: Any, path: Path) -> Network:
    """Read what a Keras model takes.

    A model that is no network of layers (a subclass with a `call` of its own) tells the shapes that it was built
    with; its inputs are taken for float32, which Keras makes integers of where a layer wants them.

    Raises
    ------
    InputError
        The model has no weights yet.
    ModelError
        Its inputs cannot be told.
    """
    module = keras()
    if not getattr(model, "built", False):
        raise InputError(f"{path}: is not built, so it has no weights yet; {_BUILD}")
    network = network_of(model)
    if network is not None:
        tensors = module.tree.flatten(network.input)
        specs = tuple(
            TensorSpec(tensor.name, tuple(tensor.shape), array_type(tensor.dtype, tensor.name, path))
            for tensor in tensors
        )
        return Network(module, model, specs, network.input)
    return _subclassed(module, model, path)


def load_network(path: Path) -> Network:
    """Load a .keras file that was checked.

    Raises
    ------
    ModelError
        Keras does not take it.
    """
    module = keras()
    remedy = "save it again with the Keras that is installed here, or install the one that it was made with"
    with explained(path, "Keras does not take the model", remedy), unnoticed():
        model = module.saving.load_model(str(path.absolute()), compile=False, safe_mode=True)
        if not isinstance(model, module.Model):
            raise ModelError(f"{path}: holds a {type(model).__name__}, not a model; save a keras.Model")
    return read_network(model, path)


def _subclassed(module: Any, model: Any, path: Path) -> Network:
    built = dict(model.get_build_config() or {})
    shapes = built.get("shapes_dict") or ({"x": built["input_shape"]} if built.get("input_shape") else {})
    if len(shapes) == 1:
        shapes = next(iter(shapes.values()))
    if not shapes:
        raise ModelError(f"{path}: does not tell what it takes; {_BUILD}, or make it of layers between keras.Input")
    if not _is_shape(shapes) and isinstance(shapes, Mapping):
        names = [str(key) for key in sorted(shapes)]
        flat = [shapes[key] for key in sorted(shapes)]
        structure: Any = dict.fromkeys(names)
    elif _is_shape(shapes):
        names, flat, structure = ["x"], [shapes], None
    else:
        names = [f"x{index}" for index in range(len(shapes))]
        flat, structure = list(shapes), [None] * len(shapes)
    if not all(map(_is_shape, flat)):
        raise ModelError(f"{path}: takes nested inputs, which cannot be told; make it of layers between keras.Input")
    specs = tuple(TensorSpec(name, (None, *shape[1:]), "float32") for name, shape in zip(names, flat, strict=True))
    return Network(module, model, specs, structure)


def _is_shape(found: Any) -> bool:
    return isinstance(found, list | tuple) and all(size is None or isinstance(size, int) for size in found)
