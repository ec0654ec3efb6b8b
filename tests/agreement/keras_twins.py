"""The networks once more in Keras, with the weights that PyTorch trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pmcore.interfaces import Array
from tests.agreement.networks import CLASSES, WIDTH, Transformer, trained

EPSILON = 1e-5
"""Of PyTorch's norms; Keras' own default is 1e-3."""


def keras_twin(name: str) -> Any:
    """Return the Keras model that computes what the PyTorch network computes; images have channels last."""
    weights = {key: value.detach().numpy() for key, value in trained(name).state_dict().items()}
    return _TWINS[name](weights)


def _mlp(w: dict[str, Array]) -> Any:
    import keras

    net = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(96, activation="relu"),
            keras.layers.Dense(48, activation="relu"),
            keras.layers.Dense(CLASSES),
        ]
    )
    for layer, index in zip(net.layers, (0, 2, 4), strict=True):
        layer.set_weights([w[f"layers.{index}.weight"].T, w[f"layers.{index}.bias"]])
    return net


def _cnn(w: dict[str, Array]) -> Any:
    import keras

    layers = keras.layers
    image = keras.Input((WIDTH, WIDTH, 1))
    first = layers.Conv2D(12, 3, padding="same")
    norm, norm2 = (layers.BatchNormalization(epsilon=EPSILON) for _ in range(2))
    second = layers.Conv2D(24, 3, padding="same", use_bias=False)
    head = layers.Dense(CLASSES)
    x = layers.MaxPooling2D()(layers.ReLU()(norm(first(image))))
    x = layers.ReLU()(norm2(second(x)))
    net = keras.Model(image, head(layers.GlobalAveragePooling2D()(x)))
    first.set_weights([w["first.weight"].transpose(2, 3, 1, 0), w["first.bias"]])
    second.set_weights([w["second.weight"].transpose(2, 3, 1, 0)])
    for layer, key in ((norm, "norm"), (norm2, "norm2")):
        layer.set_weights([w[f"{key}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
    head.set_weights([w["head.weight"].T, w["head.bias"]])
    return net


def _transformer(w: dict[str, Array]) -> Any:
    import keras

    layers, size = keras.layers, Transformer.SIZE
    rows = keras.Input((WIDTH, WIDTH))
    embed = layers.EinsumDense("ntw,we->nte", output_shape=(WIDTH, size), bias_axes="te")
    x = embed(rows)
    fillings = [(embed, [w["embed.weight"].T, w["embed.bias"] + w["place"]])]
    for block in ("first", "second"):
        x, more = _block(x, w, block)
        fillings += more
    norm, head = layers.LayerNormalization(epsilon=EPSILON), layers.Dense(CLASSES)
    net = keras.Model(rows, head(layers.GlobalAveragePooling1D()(norm(x))))
    fillings += [(norm, [w["norm.weight"], w["norm.bias"]]), (head, [w["head.weight"].T, w["head.bias"]])]
    for layer, values in fillings:
        layer.set_weights(values)
    return net


def _block(x: Any, w: dict[str, Array], block: str) -> tuple[Any, list[tuple[Any, list[Array]]]]:
    import keras

    layers, size, heads = keras.layers, Transformer.SIZE, Transformer.HEADS
    norm, norm2 = (layers.LayerNormalization(epsilon=EPSILON) for _ in range(2))
    attention = layers.MultiHeadAttention(heads, size // heads)
    up, down = layers.Dense(2 * size, activation="gelu"), layers.Dense(size)
    inner = norm(x)
    x = layers.Add()([x, attention(inner, inner)])
    x = layers.Add()([x, down(up(norm2(x)))])
    projections: list[Array] = []
    for kernel, bias in zip(
        w[f"{block}.qkv.weight"].reshape(3, size, size), w[f"{block}.qkv.bias"].reshape(3, size), strict=True
    ):
        projections += [kernel.T.reshape(size, heads, -1), bias.reshape(heads, -1)]
    out = [w[f"{block}.out.weight"].T.reshape(heads, -1, size), w[f"{block}.out.bias"]]
    return x, [
        (norm, [w[f"{block}.norm.weight"], w[f"{block}.norm.bias"]]),
        (norm2, [w[f"{block}.norm2.weight"], w[f"{block}.norm2.bias"]]),
        (attention, [*projections, *out]),
        (up, [w[f"{block}.up.weight"].T, w[f"{block}.up.bias"]]),
        (down, [w[f"{block}.down.weight"].T, w[f"{block}.down.bias"]]),
    ]


_TWINS: dict[str, Callable[[dict[str, Array]], Any]] = {"mlp": _mlp, "cnn": _cnn, "transformer": _transformer}
