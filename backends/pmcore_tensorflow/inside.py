"""What can be had of the inside of a model: its layers and what they compute, its last layer, its gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pmcore.errors import AuditError, ModelError
from pmcore_tensorflow.device import Device
from pmcore_tensorflow.differentiation import Differentiation
from pmcore_tensorflow.layers import KerasLayers, Tap, read_layers
from pmcore_tensorflow.linear import LastLayer
from pmcore_tensorflow.network import Network
from pmcore_tensorflow.parameters import keras_parameters, quantised, saved_parameters
from pmcore_tensorflow.signatures import Signature
from pmcore_tensorflow.starting import tensorflow
from pmcore_tensorflow.trace import Program, trace


class Inside:
    """A model that is looked into; what was read or traced is kept.

    Parameters
    ----------
    output : the name of the output that holds the predictions
    """

    def __init__(self, source: Network | Signature, output: str, device: Device, path: Path) -> None:
        self._source = source
        self._output = output
        self._device = device
        self._path = path
        self._deeper: dict[tuple[str, ...], Program] = {}

    @cached_property
    def layers(self) -> KerasLayers:
        """Return the layers of a functional or sequential Keras model; none for any other."""
        return read_layers(self._source.model) if isinstance(self._source, Network) else KerasLayers()

    @cached_property
    def differentiation(self) -> Differentiation:
        """Return how the model is differentiated."""
        source = self._source
        if isinstance(source, Network):
            parameters = keras_parameters(source.model, self.layers)
            return Differentiation(parameters, source.precision, quantised(source.model))
        return Differentiation(saved_parameters(source.function), source.precision)

    def taps(self, layers: Sequence[str]) -> dict[str, Tap]:
        """Return where the outputs of layers stand, by the names or indices that were given."""
        return {name: self.layers.tap(name, self._path) for name in layers}

    def program(self, taps: Mapping[str, Tap]) -> Program:
        """Return a program that gives these layers beside the predictions; kept until others are wanted."""
        if not isinstance(self._source, Network):
            raise AuditError(f"{self._path}: is a SavedModel, whose layers are not known")
        key = tuple(sorted(taps))
        found = self._deeper.get(key)
        if found is None:
            names = tensors(taps)
            body = self._source.body({names[name]: tap for name, tap in taps.items()})
            found = trace(tensorflow(), body, self._source.specs, self._output, self._device, self._path)
            self._deeper = {key: found}
        return found


def tensors(layers: Iterable[str]) -> dict[str, str]:
    """Return the names by which programs give the outputs of layers, apart from those of other tensors."""
    return {name: f"layer {name}" for name in layers}


def last_layer(program: Program, tensor: str) -> LastLayer:
    """Return the dense layer that the predictions leave.

    Raises
    ------
    ModelError
        There is none, or its input cannot be read.
    """
    reason = no_last_layer(program, tensor)
    if program.last is None or reason is not None:
        raise ModelError(f"{program.path}: the input of the last layer cannot be had: {reason}")
    return program.last


def no_last_layer(program: Program, tensor: str) -> str | None:
    """Return why what enters the last layer cannot be had, in one phrase, or None.

    Parameters
    ----------
    tensor : the predictions, as the program calls them
    """
    if program.last is None:
        return "the model does not end in a dense layer whose input can be read"
    if tensor != program.head.tensors[0]:
        return "its predictions are read behind an activation, not as its dense layer gives them"
    return None
