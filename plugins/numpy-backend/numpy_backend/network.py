"""A dense network with ReLU between its layers: its outputs, and the gradient of the loss of each record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pmcore.interfaces import Array, Floats, Layer, Task


@dataclass(frozen=True)
class LayerGradient:
    """The gradient of every record's loss with respect to one layer, in two factors: it is never written out.

    Record i has the gradient ``outer(inputs[i], errors[i])`` of the weight and ``errors[i]`` of the bias.

    Parameters
    ----------
    inputs : (n, d) what enters the layer
    errors : (n, h) gradient of the loss with respect to what leaves it
    """

    inputs: Floats
    errors: Floats

    def norms(self, order: float) -> Floats:
        """Return norms over weight and bias together, shape (n,): of an outer product they are products of norms."""
        ones = np.ones((len(self.inputs), 1))
        with_bias = np.hstack([self.inputs, ones])
        found: Floats = np.linalg.norm(with_bias, order, axis=1) * np.linalg.norm(self.errors, order, axis=1)
        return found


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

    def gradients(self, x: Array, labels: Array, task: Task) -> dict[str, LayerGradient]:
        """Return layer name -> gradients of the loss of each record, by backpropagation in float64.

        The loss is pmcore's: cross-entropy, summed over the labels for multi-label; the squared error for regression.
        """
        exact = self.astype("float64")
        outputs = exact.outputs(x.astype(np.float64))
        errors = loss_gradient(outputs[-1], labels, task)
        found: dict[str, LayerGradient] = {}
        for depth in reversed(range(len(self.weights))):
            inputs = outputs[2 * depth - 1] if depth else x.astype(np.float64)
            found[f"fc{depth}"] = LayerGradient(inputs, errors)
            errors = (errors @ exact.weights[depth].T) * (inputs > 0)
        return found


def loss_gradient(logits: Floats, labels: Array, task: Task) -> Floats:
    """Return the gradient of the loss of each record with respect to its logits (or values), shape (n, k)."""
    targets = labels.reshape(len(labels), -1)
    if task is Task.REGRESSION:
        errors: Floats = 2.0 * (logits - targets)
    elif task is Task.MULTILABEL or logits.shape[1] == 1:
        errors = sigmoid(logits) - targets
    else:
        errors = softmax(logits) - (targets == np.arange(logits.shape[1]))
    return errors


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z)) without overflow."""
    e = np.exp(-np.abs(z))
    found: Array = np.where(z >= 0, 1, e) / (1 + e)
    return found


def softmax(z: Array) -> Array:
    """Return softmax over the last axis without overflow."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    found: Array = e / e.sum(axis=-1, keepdims=True)
    return found
