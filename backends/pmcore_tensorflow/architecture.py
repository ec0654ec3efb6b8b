"""What is trained: networks after the description in the target's file, with fresh weights."""

from __future__ import annotations

import contextlib
import json
import random
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import InputError
from pmcore_tensorflow.archive import CONFIG, check_archive
from pmcore_tensorflow.device import explained
from pmcore_tensorflow.layers import network_of
from pmcore_tensorflow.network import Network, load_network, read_network
from pmcore_tensorflow.parameters import quantised
from pmcore_tensorflow.starting import unnoticed

_SEED = "seed"
_WEIGHTS = {
    f"{name}_initializer" for name in ("kernel", "recurrent", "depthwise", "pointwise", "embeddings", "query", "value")
}
_ALL_ALIKE = {"Zeros", "Ones", "Constant"}
"""Initialisers that give each unit of a layer the same weights."""


@dataclass(frozen=True, eq=False)
class KerasArchitecture:
    """The architecture of a target.

    Parameters
    ----------
    network : the target itself
    description : its layers and settings, as its file has them
    compiled : the optimiser that it was compiled with, as its file has it, or None
    """

    path: Path
    network: Network
    description: Mapping[str, Any]
    compiled: Any

    def fresh(self, seed: int) -> Network:
        """Return a network with fresh weights, the same for the same seed, whatever seeds the file tells.

        Weights that training does not change are those of the target.
        """
        keras = self.network.keras
        text = json.dumps(_reseeded(self.description, np.random.default_rng(seed)))
        with explained(self.path, "Keras does not make its layers anew", "train with a command of your own"):
            with unnoticed(), _seeded(keras, seed):
                model = keras.models.model_from_json(text)
                _keep(self.network.model, model)
            return read_network(model, self.path)


def read_architecture(path: Path) -> KerasArchitecture:
    """Read the architecture of a .keras file, as carefully as the backend does.

    Raises
    ------
    InputError
        It is damaged, or no network that can be trained.
    UntrustedError
        Loading it could run code.
    ModelError
        Keras does not take it.
    """
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        description = json.loads(archive.read(CONFIG))
    compiled = description.pop("compile_config", None)
    network = load_network(path)
    obstacle = _obstacle(network)
    if obstacle is not None:
        raise InputError(f"{path}: {obstacle}")
    optimiser = compiled.get("optimizer") if isinstance(compiled, dict) else None
    return KerasArchitecture(path, network, description, optimiser)


def _obstacle(network: Network) -> str | None:
    model = network.model
    if network_of(model) is None:
        return "is no network of layers - train with a command of your own"
    integers = quantised(model)
    if integers is not None:
        return f"the weights of its layer {integers} are whole numbers - give the network that it was made from"
    if not model.trainable_variables:
        return "all of its layers are frozen, or have no weights - unfreeze what was trained and save it again"
    sizes = [spec.shape[0] for spec in network.specs if spec.shape and spec.shape[0] is not None]
    if sizes:
        return f"takes {sizes[0]} records at a time and no fewer - save it with an open batch: keras.Input(shape)"
    return None


@contextlib.contextmanager
def _seeded(keras: Any, seed: int) -> Iterator[None]:
    """Let everything that draws random numbers in the block do so by a seed; put Python's and numpy's back."""
    before, arrays = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(arrays)


def _reseeded(found: Any, draws: np.random.Generator) -> Any:
    """Return a description whose seeds are other ones: with those of the file all references would start alike."""
    if isinstance(found, list):
        return [_reseeded(value, draws) for value in found]
    if not isinstance(found, dict):
        return found
    return {key: _one_reseeded(key, value, draws) for key, value in found.items()}


def _one_reseeded(key: str, value: Any, draws: np.random.Generator) -> Any:
    if key == _SEED and type(value) is int:
        return int(draws.integers(2**31))
    if key in _WEIGHTS and isinstance(value, dict) and value.get("class_name") in _ALL_ALIKE:
        # Layers that were made to be filled: trained from there, all their units would stay the same.
        return {"module": "keras.initializers", "class_name": "GlorotUniform", "config": {"seed": None}}
    return _reseeded(value, draws)


def _keep(target: Any, model: Any) -> None:
    """Give a model those weights of the target that training does not change."""
    pairs = zip(*(found._flatten_layers(include_self=False) for found in (target, model)), strict=True)
    for old, new in pairs:
        if not old.trainable or hasattr(old, "adapt"):
            held: dict[str, Any] = {}
            old.save_own_variables(held)
            if held:
                new.load_own_variables(held)
