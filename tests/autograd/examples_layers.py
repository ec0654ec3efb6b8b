"""Examples of the layers of networks: convolution, pooling, normalisation, recurrence, attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.autograd.example_inputs import x
from tests.autograd.examples import Example

E = Example


def convolutions() -> Iterator[Example]:
    """Yield examples of convolutions."""
    yield E("Conv", (x(2, 3, 7, 6), x(4, 3, 3, 3), x(4)), {"pads": (1, 1, 1, 1), "strides": (2, 2)})
    yield E("Conv", (x(1, 4, 7, 6), x(4, 1, 3, 3)), {"group": 4, "pads": (0, 1, 2, 0)})
    yield E("Conv", (x(1, 4, 7, 6), x(6, 2, 3, 3), x(6)), {"group": 2, "dilations": (2, 2), "kernel_shape": (3, 3)})
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield E("Conv", (x(1, 2, 7, 6), x(3, 2, 3, 2)), {"auto_pad": mode, "strides": (2, 3)})
    yield E("Conv", (x(2, 3, 9), x(4, 3, 3), x(4)), {"pads": (2, 0)})
    yield E("Conv", (x(1, 2, 4, 5, 4), x(2, 2, 2, 3, 2)), {"pads": (1, 1, 0, 1, 1, 0)})
    yield E("ConvTranspose", (x(1, 3, 4, 5), x(3, 2, 3, 3), x(2)), {"strides": (2, 2), "pads": (1, 1, 1, 1)})
    yield E("ConvTranspose", (x(1, 4, 4, 5), x(4, 2, 3, 3)), {"group": 2, "output_padding": (1, 1), "strides": (2, 2)})
    yield E("ConvTranspose", (x(1, 2, 4, 5), x(2, 2, 3, 3)), {"strides": (2, 2), "pads": (1, 0, 0, 2)})
    yield E("ConvTranspose", (x(1, 2, 4, 5), x(2, 2, 3, 3)), {"strides": (2, 2), "output_shape": (8, 10)})
    yield E("ConvTranspose", (x(1, 2, 4, 5), x(2, 2, 3, 3)), {"strides": (2, 2), "auto_pad": "SAME_UPPER"})
    yield E("ConvTranspose", (x(1, 2, 4, 5), x(2, 2, 3, 3)), {"strides": (2, 2), "auto_pad": "SAME_LOWER"})
    yield E("ConvTranspose", (x(2, 3, 5), x(3, 2, 3)), {"dilations": (2,)})
    yield E(
        "DeformConv",
        (x(1, 2, 5, 5), x(3, 2, 3, 3), 0.3 * x(1, 36, 5, 5), x(3), x(1, 18, 5, 5)),
        {"pads": (1, 1, 1, 1), "offset_group": 2},
        version=19,
        smooth=False,
    )


def pools() -> Iterator[Example]:
    """Yield examples of pooling."""
    for kind in ("MaxPool", "AveragePool", "LpPool"):
        yield E(kind, (x(2, 3, 7, 6),), {"kernel_shape": (3, 2), "strides": (2, 2)})
        yield E(kind, (x(2, 3, 7, 6),), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)})
        yield E(kind, (x(2, 3, 7, 6),), {"kernel_shape": (2, 2), "pads": (1, 0, 0, 1)})
        yield E(kind, (x(2, 3, 7, 6),), {"kernel_shape": (3, 3), "strides": (2, 2), "auto_pad": "SAME_UPPER"})
        yield E(kind, (x(2, 3, 7, 6),), {"kernel_shape": (2, 2), "strides": (2, 2), "auto_pad": "SAME_LOWER"})
    for kind in ("MaxPool", "AveragePool"):
        yield E(kind, (x(2, 3, 9),), {"kernel_shape": (3,), "strides": (2,)})
        yield E(kind, (x(1, 2, 5, 4, 5),), {"kernel_shape": (2, 2, 2), "strides": (2, 1, 2)})
        yield E(kind, (x(1, 2, 8, 7),), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1})
        yield E(
            kind, (x(1, 2, 8, 7),), {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1, "pads": (1, 1, 1, 1)}
        )
    yield E("MaxPool", (x(1, 2, 8, 7),), {"kernel_shape": (2, 3), "dilations": (2, 2)})
    yield E("MaxPool", (x(2, 3, 6, 6),), {"kernel_shape": (2, 2), "strides": (2, 2), "pads": (1, 0, 1, 1)}, outputs=2)
    yield E("MaxPool", (x(2, 3, 6, 6),), {"kernel_shape": (2, 2), "storage_order": 1}, outputs=2)
    for ceil in (0, 1):
        attributes = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "ceil_mode": ceil}
        yield E("AveragePool", (x(1, 2, 8, 7),), attributes | {"count_include_pad": 1})
    yield E("AveragePool", (x(1, 2, 8, 7),), {"kernel_shape": (2, 3), "dilations": (2, 2)}, version=19)
    yield E("LpPool", (x(1, 2, 8, 7),), {"kernel_shape": (2, 2), "p": 3})
    for kind in ("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"):
        yield E(kind, (x(2, 3, 4, 5),))


def normalisations() -> Iterator[Example]:
    """Yield examples of normalisation."""
    batch = (x(3), x(3), x(3), x(3, low=0.5, high=2.0))
    yield E("BatchNormalization", (x(2, 3, 4, 4), *batch), {"epsilon": 1e-3})
    yield E("BatchNormalization", (x(2, 3), *batch))
    yield E("BatchNormalization", (x(2, 3, 4), *batch), version=9)
    yield E("BatchNormalization", (x(2, 3, 4), *batch), version=7)
    yield E("LayerNormalization", (x(2, 3, 4), x(4), x(4)))
    yield E("LayerNormalization", (x(2, 3, 4), x(3, 4)), {"axis": 1, "epsilon": 1e-3})
    yield E("LayerNormalization", (x(2, 3, 4), x(4), x(4)), {"axis": -1}, outputs=3)
    yield E("InstanceNormalization", (x(2, 3, 4, 4), x(3), x(3)), {"epsilon": 1e-3})
    yield E("GroupNormalization", (x(2, 4, 3, 3), x(2), x(2)), {"num_groups": 2}, version=18)
    yield E("GroupNormalization", (x(2, 4, 3, 3), x(4), x(4)), {"num_groups": 2}, version=21)
    yield E("RMSNormalization", (x(2, 3, 4), x(4)), version=23)
    yield E("LRN", (x(2, 6, 3, 3),), {"size": 5, "alpha": 0.1, "beta": 0.6, "bias": 1.5})
    yield E("LRN", (x(2, 3, 3, 3),), {"size": 3})
    yield E("LpNormalization", (x(2, 3, 4),), {"axis": 1, "p": 2})
    yield E("LpNormalization", (x(2, 3, 4),), {"p": 1})
    yield E("MeanVarianceNormalization", (x(2, 3, 4, 4),))
    yield E("MeanVarianceNormalization", (x(2, 3, 4, 4),), {"axes": (2, 3)})


def recurrences() -> Iterator[Example]:
    """Yield examples of recurrent layers: sequences of 5, batches of 2, 3 features, hidden size 4."""
    for kind, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for direction, count in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            weights = (x(count, 4 * gates, 3), x(count, 4 * gates, 4), x(count, 8 * gates))
            states = (x(count, 2, 4), x(count, 2, 4)) if kind == "LSTM" else (x(count, 2, 4),)
            outputs = 3 if kind == "LSTM" else 2
            attributes: dict[str, Any] = {"hidden_size": 4, "direction": direction}
            yield E(kind, (x(5, 2, 3), *weights, None, *states), attributes, outputs=outputs)
            yield E(kind, (x(5, 2, 3), *weights[:2]), attributes, outputs=outputs)
            lengths = np.array([5, 2], dtype=np.int32)
            yield E(kind, (x(5, 2, 3), *weights, lengths, *states), attributes | {"clip": 0.9}, outputs=outputs)
    gru = (x(1, 12, 3), x(1, 12, 4), x(1, 24))
    yield E("GRU", (x(5, 2, 3), *gru), {"hidden_size": 4, "linear_before_reset": 1}, outputs=2)
    names = ("HardSigmoid", "Softsign")
    yield E("GRU", (x(5, 2, 3), *gru), {"hidden_size": 4, "activations": names, "activation_alpha": (0.3,)}, outputs=2)
    lstm = (x(1, 16, 3), x(1, 16, 4), x(1, 32), None, x(1, 2, 4), x(1, 2, 4), x(1, 12))
    yield E("LSTM", (x(5, 2, 3), *lstm), {"hidden_size": 4}, outputs=3)
    yield E("LSTM", (x(5, 2, 3), *lstm[:3]), {"hidden_size": 4, "input_forget": 1}, outputs=3)
    yield E("RNN", (x(5, 2, 3), x(1, 4, 3), x(1, 4, 4)), {"hidden_size": 4, "activations": ("Relu",)}, outputs=2)


def attentions() -> Iterator[Example]:
    """Yield examples of attention."""
    yield E("Attention", (x(2, 3, 4, 8), x(2, 3, 5, 8), x(2, 3, 5, 8)), version=23)
    yield E("Attention", (x(2, 4, 12), x(2, 5, 6), x(2, 5, 6)), {"q_num_heads": 4, "kv_num_heads": 2}, version=23)
    yield E("Attention", (x(2, 3, 4, 8), x(2, 3, 4, 8), x(2, 3, 4, 8)), {"is_causal": 1}, version=23)
    yield E("Attention", (x(2, 3, 4, 8), x(2, 3, 5, 8), x(2, 3, 5, 8), x(4, 5)), {"scale": 0.3}, version=23)
    mask = np.tril(np.ones((4, 5), dtype=bool))
    yield E("Attention", (x(2, 3, 4, 8), x(2, 3, 5, 8), x(2, 3, 5, 8), mask), version=23)
    yield E("RotaryEmbedding", (x(2, 3, 4, 8), x(2, 4, 4), x(2, 4, 4)), version=23)
