"""A dense network with ReLU between its layers: its outputs, and the gradient of the loss of each record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pmcore.dense_gradients import DenseGradient
from pmcore.interfaces import Array, Floats, Layer


@dataclass(frozen=True)
class Network:
    """A dense network.

    Parameters
    ----------
    weights : (d, h1), (h1, h2), ... (hl, k), all of one floating-point type, which is computed in
    biases : (h1,), ... (k,)
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Return the type that is computed in."""
        return self.weights[0].dtype

    def astype(self, dtype: str) -> Network:
        """Return the same network in another type."""
        return Network(tuple(w.astype(dtype) for w in self.weights), tuple(b.astype(dtype) for b in self.biases))

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers in order of computation: fc0, relu0, fc1, ... and the last fc, which gives the logits."""
        found: list[Layer] = []
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            shape = ("batch", len(bias))
            found.append(Layer(len(found), f"fc{depth}", "Dense", shape, weight.size + bias.size))
            if depth < len(self.weights) - 1:
                found.append(Layer(len(found), f"relu{depth}", "Relu", shape, 0))
        return tuple(found)

    def outputs(self, x: Array) -> list[Array]:
        """Return the outputs of all layers, each (n, h), in the order of `layers`; the last are the logits."""
        found: list[Array] = []
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the audit, by record
            for weight, bias in zip(self.weights, self.biases, strict=True):
                found.append((found[-1] if found else x) @ weight + bias)
                found.append(np.maximum(found[-1], 0))
        return found[:-1]

    def gradients(self, x: Array, cotangents: Floats) -> dict[str, DenseGradient]:
        """Return layer name -> gradients of the loss of each record, by backpropagation in float64.

        Parameters
        ----------
        x : (n, d) records
        cotangents : (n, k) gradient of the loss of each with respect to its logits (or values)
        """
        exact = self.astype("float64")
        outputs = exact.outputs(x.astype(np.float64))
        errors = cotangents
        found: dict[str, DenseGradient] = {}
        for depth in reversed(range(len(self.weights))):
            inputs = outputs[2 * depth - 1] if depth else x.astype(np.float64)
            found = {f"fc{depth}": DenseGradient(inputs, errors)} | found
            errors = (errors @ exact.weights[depth].T) * (inputs > 0)
        return found
