"""Writes a dense network as a .keras file, so that demos and checks need no training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pmcore.interfaces import Array
from pmcore_tensorflow.starting import keras, unnoticed


def write_dense(path: Path, weights: Sequence[Array], biases: Sequence[Array]) -> None:
    """Write Dense layers with ReLU between them, from input "x" (n, d) to "logits" (n, k).

    Parameters
    ----------
    weights : (d, h1), (h1, h2), ... (hl, k)
    biases : (h1,), ... (k,)
    """
    module = keras()
    last = len(weights) - 1
    with unnoticed():
        tensor = first = module.Input((weights[0].shape[0],), dtype="float32", name="x")
        for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            layer = module.layers.Dense(
                weight.shape[1],
                activation=None if index == last else "relu",
                kernel_initializer="zeros",  # draws nothing from anybody's random numbers
                name="logits" if index == last else f"fc{index}",
                dtype="float32",
            )
            tensor = layer(tensor)
            layer.set_weights([np.asarray(weight, dtype=np.float32), np.asarray(bias, dtype=np.float32)])
        module.Model(first, tensor, name="dense").save(path)
