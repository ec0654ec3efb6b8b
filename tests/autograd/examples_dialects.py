"""Examples of quantised operators, and of those that ONNX Runtime and skl2onnx write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pmcore.interfaces import Array
from tests.autograd.example_inputs import RANDOM, f, i, s, x
from tests.autograd.examples import Example

E = Example


def microsofts() -> Iterator[Example]:
    """Yield examples of what ONNX Runtime's optimiser writes."""

    def m(
        kind: str, inputs: tuple[Array | None, ...], attributes: dict[str, Any] | None = None, **more: Any
    ) -> Example:
        return E(kind, inputs, attributes or {}, version=1, dialect="com.microsoft", **more)

    yield m("Gelu", (x(2, 5),))
    yield m("FastGelu", (x(2, 5), x(5)), atol=1e-5)
    yield m("BiasGelu", (x(2, 5), x(5)))
    yield m("QuickGelu", (x(2, 5),), {"alpha": 1.5})
    yield m("FusedMatMul", (x(2, 3, 4), x(2, 5, 4)), {"transB": 1, "alpha": 0.5})
    yield m("FusedMatMul", (x(2, 4, 3), x(4, 5)), {"transA": 1})
    yield m("FusedMatMul", (x(3, 2, 4), x(2, 4, 5)), {"transBatchA": 1})
    yield m("TransposeMatMul", (x(2, 4, 3), x(2, 4, 5)), {"transA": 1, "alpha": 2.0})
    yield m("FusedGemm", (x(3, 4), x(4, 5), x(5)), {"activation": "Relu"})
    yield m("FusedConv", (x(1, 2, 5, 5), x(3, 2, 3, 3), x(3)), {"activation": "LeakyRelu", "activation_params": (0.2,)})
    yield m("FusedConv", (x(1, 2, 5, 5), x(3, 2, 3, 3), x(3)), {"activation": "Clip", "activation_params": (0.0, 6.0)})
    yield m("SkipLayerNormalization", (x(2, 3, 8), x(2, 3, 8), x(8), x(8), x(8)), {"epsilon": 1e-5})
    yield m("SkipSimplifiedLayerNormalization", (x(2, 3, 8), x(2, 3, 8), x(8)), {"epsilon": 1e-5})
    hidden = (x(2, 3, 12), x(12, 36), x(36))
    yield m("Attention", hidden, {"num_heads": 3})
    yield m("Attention", hidden, {"num_heads": 3, "unidirectional": 1})
    yield m("Attention", (*hidden, np.array([[1, 1, 0], [1, 1, 1]], dtype=np.int32)), {"num_heads": 3})
    yield m("Attention", (*hidden, np.array([2, 3], dtype=np.int32)), {"num_heads": 3, "scale": 0.4})
    yield m("MultiHeadAttention", (x(2, 3, 12), x(2, 4, 12), x(2, 4, 12), x(36)), {"num_heads": 3})
    yield m(
        "EmbedLayerNormalization",
        (
            np.array([[1, 2, 0]], dtype=np.int32),
            np.array([[0, 1, 1]], dtype=np.int32),
            x(4, 8),
            x(5, 8),
            x(2, 8),
            x(8),
            x(8),
        ),
        {"epsilon": 1e-5},
        outputs=2,
        smooth=False,
    )
    yield m("MultiHeadAttention", (x(2, 3, 12), x(2, 4, 12), x(2, 4, 12), None, None, x(1, 3, 3, 4)), {"num_heads": 3})
    positions = np.array([[0, 2, 1]], dtype=np.int64)
    yield m("RotaryEmbedding", (x(1, 3, 16), positions, x(4, 4), x(4, 4)), {"num_heads": 2})
    yield m("RotaryEmbedding", (x(1, 2, 3, 8), i(1), x(4, 4), x(4, 4)), {"interleaved": 1})
    yield m("GatherND", (x(2, 3, 4), np.array([[0, 1], [1, -1]])))
    yield m("Trilu", (x(2, 4, 4), s(1, np.int64)))
    yield m("GridSample", (x(1, 2, 5, 4), x(1, 3, 4, 2, low=-1.2, high=1.2)), {"mode": "bilinear"})
    yield m("Inverse", (x(2, 3, 3) + 3 * np.eye(3, dtype=np.float32),), atol=1e-5)
    yield E("SimplifiedLayerNormalization", (x(2, 3, 8), x(8)), {"axis": -1, "epsilon": 1e-6})


def quantised() -> Iterator[Example]:
    """Yield examples of quantised operators."""

    def q(
        kind: str, inputs: tuple[Array | None, ...], attributes: dict[str, Any] | None = None, **more: Any
    ) -> Example:
        return E(kind, inputs, attributes or {}, smooth=False, **more)

    def u8(*shape: int) -> Array:
        return RANDOM.integers(0, 256, shape).astype(np.uint8)

    def i8(*shape: int) -> Array:
        return RANDOM.integers(-128, 128, shape).astype(np.int8)

    zero, seven = s(128, np.uint8), s(-7, np.int8)
    yield q("QuantizeLinear", (3 * x(2, 9), s(0.02), zero))
    yield q("QuantizeLinear", (3 * x(2, 9), s(0.02), seven))
    yield q("QuantizeLinear", (3 * x(2, 9), s(0.02)))
    yield q("QuantizeLinear", (x(2, 3, 4), f(0.02, 0.01, 0.03), np.array([3, 0, 9], dtype=np.uint8)), {"axis": 1})
    yield q("QuantizeLinear", (x(2, 3), s(0.001), s(30_000, np.uint16)), version=21)
    yield q("DequantizeLinear", (u8(2, 5), s(0.02), zero))
    yield q("DequantizeLinear", (i8(2, 3, 4), f(0.02, 0.01, 0.03, 0.5), np.zeros(4, dtype=np.int8)), {"axis": -1})
    yield q("DequantizeLinear", (np.array([5, -900], dtype=np.int32), s(0.02)))
    yield q("DequantizeLinear", (i8(2, 6), x(2, 3), i8(2, 3)), {"axis": 1, "block_size": 2}, version=21)
    yield q("DynamicQuantizeLinear", (x(2, 9),), outputs=3)
    yield q("MatMulInteger", (u8(2, 4), i8(4, 3), s(120, np.uint8), s(3, np.int8)))
    yield q("MatMulInteger", (u8(2, 4), i8(4, 3), None, np.array([1, 2, 3], dtype=np.int8)))
    yield q("ConvInteger", (u8(1, 2, 5, 5), u8(3, 2, 3, 3), s(7, np.uint8)), {"pads": (1, 1, 1, 1)})
    scales = (s(0.02), zero, i8(4, 3), s(0.01), s(0, np.int8), s(0.0973), zero)
    yield q("QLinearMatMul", (u8(2, 4), *scales))
    weights = (i8(3, 2, 3, 3), f(0.01, 0.02, 0.03), np.zeros(3, dtype=np.int8))
    bias = np.array([100, -900, 30], dtype=np.int32)
    yield q("QLinearConv", (u8(1, 2, 5, 5), s(0.02), zero, *weights, s(0.0473), zero, bias), {"pads": (1, 1, 1, 1)})

    def m(
        kind: str, inputs: tuple[Array | None, ...], attributes: dict[str, Any] | None = None, **more: Any
    ) -> Example:
        return q(kind, inputs, attributes, version=1, dialect="com.microsoft", **more)

    ends, ours = (s(0.0473), zero), (u8(2, 3, 4, 4), s(0.02), zero)
    for kind in ("QLinearAdd", "QLinearMul"):
        yield m(kind, (*ours, u8(3, 4, 4), s(0.01), s(9, np.uint8), *ends))
    yield m("QLinearSigmoid", (*ours, s(0.0039), s(0, np.uint8)))
    yield m("QLinearLeakyRelu", (*ours, *ends), {"alpha": 0.2})
    # ONNX Runtime's takes its exponentials from a table of whole numbers: one level off is as near as it comes
    yield m("QLinearSoftmax", (*ours, s(0.0039), s(0, np.uint8)), {"axis": -1, "opset": 13}, atol=1)
    yield m("QLinearGlobalAveragePool", (*ours, s(0.0117), zero), {"channels_last": 0})
    yield m("QLinearAveragePool", (*ours, *ends), {"kernel_shape": (2, 2), "strides": (2, 2)})
    yield m("QGemm", (u8(2, 4), s(0.02), zero, i8(3, 4), s(0.01), s(0, np.int8), bias, *ends), {"transB": 1})
    yield m("QGemm", (u8(2, 4), s(0.02), zero, i8(3, 4), s(0.01), s(0, np.int8), bias), {"transB": 1, "alpha": 0.5})
    yield m("MatMulIntegerToFloat", (u8(2, 4), i8(4, 3), s(0.02), s(0.01), zero, s(2, np.int8), x(3)))
    yield m("DynamicQuantizeMatMul", (x(2, 4), i8(4, 3), s(0.01), s(2, np.int8), x(3)))
    yield m("QuantizeLinear", (x(2, 9), s(0.01), s(5, np.int16)))
    yield m("DequantizeLinear", (u8(2, 5), s(0.02), zero))
    both = (s(0.0213), zero, u8(2, 3), s(0.01), s(3, np.uint8), u8(2, 2), s(0.03), zero)
    yield E("QLinearConcat", both, {"axis": 1}, version=1, dialect="com.microsoft", smooth=False)


def learned() -> Iterator[Example]:
    """Yield examples of what skl2onnx writes."""

    def sk(kind: str, inputs: tuple[Array | None, ...], attributes: dict[str, Any], **more: Any) -> Example:
        return E(kind, inputs, attributes, version=1, dialect="ai.onnx.ml", **more)

    yield sk("Scaler", (x(2, 3),), {"offset": (0.5, -1.0, 2.0), "scale": (2.0, 0.5, 1.5)})
    for norm in ("L1", "L2"):
        yield sk("Normalizer", (x(2, 3),), {"norm": norm})
    yield sk("Normalizer", (x(2, 3, low=0.1),), {"norm": "MAX"})
    missing = x(2, 3)
    missing[0, 1] = np.nan
    yield sk(
        "Imputer",
        (missing,),
        {"imputed_value_floats": (1.0, 2.0, 3.0), "replaced_value_float": float("nan")},
        smooth=False,
    )
    linear = {"coefficients": tuple(float(n) for n in x(9)), "intercepts": (0.1, 0.2, 0.3)}
    yield sk("LinearRegressor", (x(2, 3),), linear | {"targets": 3})
    for post in ("NONE", "SOFTMAX", "LOGISTIC"):
        classes = {"classlabels_ints": (0, 1, 2), "multi_class": 1, "post_transform": post}
        yield sk("LinearClassifier", (x(2, 3),), linear | classes, outputs=2, smooth=False)
    two = {"coefficients": (0.5, -1.0, 2.0), "intercepts": (0.3,), "classlabels_ints": (0, 1)}
    for post in ("NONE", "LOGISTIC"):
        yield sk(
            "LinearClassifier", (x(2, 3),), two | {"post_transform": post, "multi_class": 1}, outputs=2, smooth=False
        )
    yield sk("FeatureVectorizer", (x(2, 3), x(2, 2)), {"inputdimensions": (3, 2)})
    yield sk("Binarizer", (x(2, 3),), {"threshold": 0.2}, smooth=False)
    yield sk("ArrayFeatureExtractor", (x(2, 3), i(2, 0)), {})
    yield sk("OneHotEncoder", (i(0, 2, 1),), {"cats_int64s": (0, 1, 2), "zeros": 1}, smooth=False)
