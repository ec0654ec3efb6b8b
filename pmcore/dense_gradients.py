"""Gradients of dense layers record by record, kept in two factors: norms and sketches of what is never written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pmcore.cotangents import Cotangents
from pmcore.interfaces import Floats, GradientRequest
from pmcore.sketches import parameter_sketch


@dataclass(frozen=True)
class DenseGradient:
    """The gradient of every record's loss with respect to one dense layer.

    That of record i is ``outer(inputs[i], errors[i])`` for the weight and ``errors[i]`` for the bias.

    Parameters
    ----------
    inputs : (n, d) what enters the layer
    errors : (n, h) gradient of the loss with respect to what leaves it
    bias : whether the layer has one
    transposed : whether its weight is kept as (h, d), on which sketches depend, and not as (d, h)
    """

    inputs: Floats
    errors: Floats
    bias: bool = True
    transposed: bool = False

    def norms(self, order: float) -> Floats:
        """Return norms over weight and bias together, shape (n,): of an outer product they are products of norms."""
        entering = np.hstack([self.inputs, np.ones((len(self.inputs), 1))]) if self.bias else self.inputs
        found: Floats = np.linalg.norm(entering, order, axis=1) * np.linalg.norm(self.errors, order, axis=1)
        return found

    def sketches(self, size: int, position: int = 0) -> Floats:
        """Return sketches of weight and bias, added up, shape (n, size).

        Parameters
        ----------
        position : of the weight among the parameters that are sketched together; the bias follows it
        """
        rows, columns = (self.errors, self.inputs) if self.transposed else (self.inputs, self.errors)
        weight = parameter_sketch((rows.shape[1], columns.shape[1]), size, position)
        found = weight.of_products(rows, columns)
        if self.bias:
            bias = parameter_sketch((self.errors.shape[1],), size, position + 1)
            found = found + bias.of_matrices(self.errors[:, :, None])
        return found


def reduced(
    layers: Mapping[str, DenseGradient], requests: Sequence[GradientRequest], cotangents: Cotangents
) -> dict[GradientRequest, Floats]:
    """Return what `Model.gradients` returns.

    Parameters
    ----------
    layers : name -> gradient of each layer with parameters, in order; all other layers have none
    cotangents : from whose directions the gradients were propagated
    """
    return {request: cotangents.restored(_reduced(layers, request)) for request in requests}


def _reduced(layers: Mapping[str, DenseGradient], request: GradientRequest) -> Floats:
    if request.reduction == "sketch":
        return _sketches(layers, request)
    norms = {name: layer.norms(request.order) for name, layer in layers.items()}
    if not request.layers:
        found: Floats = np.linalg.norm(np.stack(list(norms.values()), axis=1), request.order, axis=1, keepdims=True)
        return found
    return np.stack([norms.get(name, np.zeros(_records(layers))) for name in request.layers], axis=1)


def _sketches(layers: Mapping[str, DenseGradient], request: GradientRequest) -> Floats:
    if request.layers:
        nothing = np.zeros((_records(layers), request.size))
        return np.hstack(
            [layers[name].sketches(request.size) if name in layers else nothing for name in request.layers]
        )
    total = np.zeros((_records(layers), request.size))
    position = 0  # all parameters are counted as those of one layer
    for layer in layers.values():
        total += layer.sketches(request.size, position)
        position += 2 if layer.bias else 1
    return total


def _records(layers: Mapping[str, DenseGradient]) -> int:
    return len(next(iter(layers.values())).errors)
