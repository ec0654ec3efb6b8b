"""Keras networks of many kinds for the tests of gradients, and their gradients by a tape, one record at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pmcore.interfaces import Array, Floats
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from tests.backends.tensorflow_builders import framework, keras

CLASSES = 3
N = 7
LABELS = np.arange(N) % CLASSES


def dense(dtype: str) -> Any:
    k = keras()
    first = k.Input((6,), dtype=dtype, name="x")
    hidden = k.layers.Dense(8, activation="tanh", dtype=dtype, name="hidden")(first)
    bare = k.layers.Dense(5, use_bias=False, activation="relu", dtype=dtype, name="bare")(hidden)
    return k.Model(first, k.layers.Dense(CLASSES, dtype=dtype, name="scores")(bare))


def convolutional(dtype: str) -> Any:
    k = keras()
    layers = k.layers
    first = k.Input((8, 8, 2), dtype=dtype, name="x")
    tensor = layers.Conv2D(4, 3, padding="same", dtype=dtype, name="conv")(first)
    tensor = layers.ReLU(dtype=dtype)(layers.BatchNormalization(dtype=dtype, name="norm")(tensor))
    deeper = layers.DepthwiseConv2D(3, strides=2, padding="same", dtype=dtype, name="depthwise")(tensor)
    deeper = layers.Conv2D(6, 1, use_bias=False, dtype=dtype, name="pointwise")(deeper)
    aside = layers.Conv2D(6, 1, strides=2, dtype=dtype, name="aside")(tensor)
    tensor = layers.MaxPooling2D(2, dtype=dtype)(layers.Add(dtype=dtype)([deeper, aside]))
    tensor = layers.GlobalAveragePooling2D(dtype=dtype)(tensor)
    return k.Model(first, layers.Dense(CLASSES, dtype=dtype, name="scores")(tensor))


def grouped(dtype: str) -> Any:
    """Return a network with a convolution that Keras calls as a function of its own."""
    k = keras()
    first = k.Input((4, 4, 4), dtype=dtype, name="x")
    tensor = k.layers.Conv2D(6, 3, groups=2, dtype=dtype, name="conv")(first)
    tensor = k.layers.Flatten(dtype=dtype)(tensor)
    return k.Model(first, k.layers.Dense(CLASSES, dtype=dtype, name="scores")(tensor))


def recurrent(dtype: str) -> Any:
    k = keras()
    words = k.Input((5,), dtype="int32", name="x")
    tensor = k.layers.Embedding(9, 4, mask_zero=True, dtype=dtype, name="embedding")(words)
    tensor = k.layers.LSTM(3, return_sequences=True, dtype=dtype, name="memory")(tensor)
    tensor = k.layers.GRU(4, dtype=dtype, name="gated")(tensor)
    return k.Model(words, k.layers.Dense(CLASSES, dtype=dtype, name="scores")(tensor))


def attention(dtype: str) -> Any:
    k = keras()
    layers = k.layers
    first = k.Input((4, 6), dtype=dtype, name="x")
    tensor = layers.MultiHeadAttention(2, 3, dtype=dtype, name="attention")(first, first)
    tensor = layers.LayerNormalization(dtype=dtype, name="norm")(layers.Add(dtype=dtype)([tensor, first]))
    tensor = layers.Dense(5, activation="gelu", dtype=dtype, name="wide")(tensor)
    tensor = layers.GlobalAveragePooling1D(dtype=dtype)(tensor)
    return k.Model(first, layers.Dense(CLASSES, dtype=dtype, name="scores")(tensor))


def bag_of_words(dtype: str) -> Any:
    k = keras()
    words = k.Input((5,), dtype="int32", name="x")
    tensor = k.layers.Embedding(9, 4, dtype=dtype, name="embedding")(words)
    tensor = k.layers.GlobalAveragePooling1D(dtype=dtype)(tensor)
    return k.Model(words, k.layers.Dense(CLASSES, dtype=dtype, name="scores")(tensor))


def tied(dtype: str) -> Any:
    k = keras()
    first = k.Input((6,), dtype=dtype, name="x")
    shared = k.layers.Dense(6, activation="tanh", dtype=dtype, name="shared")
    twice = k.Sequential([k.Input((6,), dtype=dtype), k.layers.Dense(6, dtype=dtype, name="inner")], name="twice")
    tensor = twice(shared(twice(shared(first))))
    return k.Model(first, k.layers.Dense(CLASSES, dtype=dtype, name="scores")(tensor))


def two_inputs(dtype: str) -> Any:
    k = keras()
    left, right = k.Input((6,), dtype=dtype, name="a"), k.Input((2, 3), dtype=dtype, name="b")
    flat = k.layers.Flatten(dtype=dtype)(right)
    both = k.layers.Concatenate(dtype=dtype)([k.layers.Dense(4, dtype=dtype, name="left")(left), flat])
    return k.Model([left, right], k.layers.Dense(CLASSES, dtype=dtype, name="scores")(both))


def normalised(dtype: str) -> Any:
    """Return a network with an operation that TensorFlow can vectorise by a loop alone."""
    k, tf = keras(), framework()

    class Response(k.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, tensor: Any) -> Any:
            return tf.cast(tf.nn.local_response_normalization(tf.cast(tensor, tf.float32)), tensor.dtype)

    first = k.Input((4, 4, 2), dtype=dtype, name="x")
    tensor = Response(dtype=dtype)(k.layers.Conv2D(3, 3, dtype=dtype, name="conv")(first))
    tensor = k.layers.Flatten(dtype=dtype)(tensor)
    return k.Model(first, k.layers.Dense(CLASSES, dtype=dtype, name="scores")(tensor))


NETWORKS: Mapping[str, Callable[[str], Any]] = {
    "dense": dense,
    "convolutional": convolutional,
    "grouped": grouped,
    "recurrent": recurrent,
    "attention": attention,
    "bag of words": bag_of_words,
    "tied": tied,
    "two inputs": two_inputs,
    "normalised": normalised,
}


def made(name: str, dtype: str = "float32") -> Any:
    """Return a network with weights that nothing is symmetric in, its running statistics too.

    It is sure of nothing: the gradients of a tape lose their digits where the probability of a class is nearly 1.
    """
    net = NETWORKS[name](dtype)
    rng = np.random.default_rng(3)
    for variable in net.variables:
        if variable.dtype.startswith("float"):
            values = rng.normal(size=variable.shape) * 0.4
            variable.assign(values**2 + 0.5 if variable.name == "moving_variance" else values)
    return net


def records(net: Any, n: int = N) -> dict[str, Array]:
    """Return n made-up records for a network."""
    rng = np.random.default_rng(4)
    found: dict[str, Array] = {}
    for tensor in net.inputs:
        shape = (n, *tensor.shape[1:])
        whole = tensor.dtype == "int32"
        found[tensor.name] = rng.integers(0, 9, shape) if whole else rng.normal(size=shape).astype(tensor.dtype)
    return found


def ready(net: Any, given: Mapping[str, Array], **options: Any) -> TensorflowModel:
    """Return a network as the backend sees it, which has seen the records."""
    model = TensorflowModel.wrap(net, TensorflowOptions(**options))
    model.prepare(given)
    return model


def parameters(net: Any) -> dict[str, list[Any]]:
    """Return the variables of the layers of a network, those of networks within it too, each once."""
    found: dict[str, list[Any]] = {}
    seen: set[int] = set()
    for layer in net.layers:
        inner = getattr(layer, "layers", None)
        for part, name in [(one, f"{layer.name}/{one.name}") for one in inner] if inner else [(layer, layer.name)]:
            own = [v for v in part.weights if "moving" not in v.name and v.dtype.startswith("float")]
            kept = [v for v in own if id(v) not in seen]
            seen.update(map(id, kept))
            if kept:
                found[name] = kept
    return found


def by_tape(net: Any, given: Mapping[str, Array], labels: Array = LABELS) -> dict[str, list[Floats]]:
    """Return layer -> the gradients of the cross-entropy of each record by its parameters, each (n, ...)."""
    tf = framework()
    variables = parameters(net)
    found: dict[str, list[list[Floats]]] = {name: [[] for _ in own] for name, own in variables.items()}
    for i, label in enumerate(labels):
        with tf.GradientTape() as tape:
            scores = net([given[tensor.name][i : i + 1] for tensor in net.inputs], training=False)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([label], scores)
        gradients = tape.gradient(loss, {name: [v.value for v in own] for name, own in variables.items()})
        for name, own in gradients.items():
            for place, gradient in enumerate(own):
                found[name][place].append(np.asarray(tf.convert_to_tensor(gradient), dtype=np.float64))
    return {name: [np.stack(rows) for rows in own] for name, own in found.items()}
