"""The parameters of a model that its gradient is taken with respect to, and the layers that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pmcore_tensorflow.layers import KerasLayers, variables_of


@dataclass(frozen=True)
class Parameters:
    """Variables, each once, and by layer the places of those that it is the first to use.

    Parameters
    ----------
    variables : tf.Variable of a floating type
    layers : name -> places in `variables`, in the order of the layer
    """

    variables: tuple[Any, ...]
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def places(self, layer: str | None) -> tuple[int, ...]:
        """Return the places of a layer's parameters, or of all for None."""
        return tuple(range(len(self.variables))) if layer is None else self.layers[layer]


def keras_parameters(model: Any, layers: KerasLayers) -> Parameters:
    """Return the parameters of a Keras model, those of its layers first."""
    variables: list[Any] = []
    places = {name: _added(variables, own) for name, own in layers.variables.items()}
    seen = {id(variable) for own in layers.variables.values() for variable in own}
    _added(variables, variables_of(model, seen))
    return Parameters(tuple(variables), places)


def saved_parameters(function: Any) -> Parameters:
    """Return the parameters of a function of a SavedModel; which layers they belong to it does not tell."""
    found = {id(v): v for v in function.variables if v.trainable and v.dtype.is_floating}
    return Parameters(tuple(found.values()))


def quantised(model: Any) -> str | None:
    """Return the name of a layer of a Keras model whose weights are integers, or None."""
    for layer in model._flatten_layers():
        if getattr(layer, "quantization_mode", None) is not None:
            return str(layer.name)
    return None


def _added(variables: list[Any], own: Sequence[Any]) -> tuple[int, ...]:
    """Append what Keras variables are for TensorFlow, and return the places that they got."""
    start = len(variables)
    variables.extend(variable.value for variable in own)
    return tuple(range(start, len(variables)))
