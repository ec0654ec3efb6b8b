"""Answers of models that do not exist: class scores with a planted margin, and the gradients that belong to them."""

from __future__ import annotations

import numpy as np

from pmcore.outputs import Array, Floats, GradientRequest, HeadInput, Outputs, Scale, Task, Want

CLASSES = 3
FEATURES = 5
"""Width of the simulated last hidden layer."""


def simulate_outputs(
    rng: np.random.Generator,
    task: Task,
    labels: Array,
    margins: Floats,
    want: Want,
    sharpness: float = 1.0,
    classes: int | None = None,
) -> Outputs:
    """Return what a model with one linear layer over `FEATURES` hidden units might answer.

    Parameters
    ----------
    labels : (n,) or (n, k), as the task has them
    margins : (n,) how much better than by chance the model does on each record
    want : the layers and the gradient requests that are answered, whatever their names
    sharpness : factor on the logits; 1e4 saturates every probability
    classes : of a multi-class model; None for `CLASSES`
    """
    noise = rng.normal(size=(len(labels), classes or classes_of(task)))
    if task is Task.REGRESSION:
        noise *= np.exp(-margins[:, None])
        predictions = labels.reshape(len(labels), -1) + noise * sharpness
        residual, scale = 2 * (predictions - labels.reshape(len(labels), -1)), Scale.VALUES
    else:
        targets = one_hot(labels, task, classes)
        signs = 2 * targets - 1 if task is Task.MULTILABEL else targets
        predictions = (noise + margins[:, None] * signs) * sharpness
        residual, scale = probabilities_of(predictions, task) - targets, Scale.LOGITS
    hidden = rng.normal(size=(len(labels), FEATURES))
    return Outputs(
        task=task,
        scale=scale,
        labels=labels,
        predictions=predictions,
        activations=dict.fromkeys(sorted(want.activations), hidden),
        gradients={
            request: reduce_gradients(residual, hidden, request) for request in sorted(want.gradients, key=repr)
        },
        head_input=HeadInput(hidden, bias=True) if want.head_input else None,
    )


def simulate_labels(rng: np.random.Generator, task: Task, n: int, mix: Floats | None = None) -> Array:
    """Return labels as the task has them; `mix` gives the shares of the classes."""
    if task is Task.REGRESSION:
        return rng.normal(size=n)
    if task is Task.MULTILABEL:
        return rng.integers(0, 2, size=(n, CLASSES))
    if task is Task.BINARY:
        return rng.choice(2, size=n, p=None if mix is None else mix[:2] / mix[:2].sum()).astype(np.int64)
    return rng.choice(CLASSES, size=n, p=mix).astype(np.int64)


def classes_of(task: Task) -> int:
    """Return the number of classes that `ModelDescription.classes` would name."""
    return {Task.REGRESSION: 1, Task.BINARY: 2}.get(task, CLASSES)


def one_hot(labels: Array, task: Task, classes: int | None = None) -> Floats:
    """Return the targets of a cross-entropy, shape (n, k); label sets are their own."""
    if task is Task.MULTILABEL:
        return labels.astype(np.float64)
    hot: Floats = np.eye(classes or classes_of(task))[labels]
    return hot


def reduce_gradients(residual: Floats, hidden: Floats, request: GradientRequest) -> Floats:
    """Return the gradient of the loss by the weights and biases of a last layer, reduced as asked.

    Parameters
    ----------
    residual : (n, k) gradient by the outputs of the layer
    hidden : (n, d) its inputs

    Returns
    -------
    Floats
        (n, l) norms or (n, l * size) sketches for l layers, each taken to be this one.
    """
    inputs = np.hstack([hidden, np.ones((len(hidden), 1))])
    gradient = (residual[:, :, None] * inputs[:, None, :]).reshape(len(residual), -1)
    layers = max(len(request.layers), 1)
    if request.reduction == "norm":
        return np.repeat(np.linalg.norm(gradient, ord=request.order, axis=1)[:, None], layers, axis=1)
    directions = np.random.default_rng(request.size).normal(size=(gradient.shape[1], layers * request.size))
    sketch: Floats = np.einsum("np,ps->ns", gradient, directions)
    return sketch


def probabilities_of(logits: Floats, task: Task) -> Floats:
    """Return the probabilities of logits: one by one for label sets, else over the row."""
    if task is Task.MULTILABEL:
        alone: Floats = np.exp(-np.logaddexp(0.0, -logits))
        return alone
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return softmax
