"""Examples of arithmetic, activation functions and matrix products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.autograd.example_inputs import f, s, x
from tests.autograd.examples import Example

E = Example


def elementwise() -> Iterator[Example]:
    """Yield examples of arithmetic and elementary functions."""
    for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"):
        yield E(kind, (x(2, 3, 4), x(3, 4)))
        yield E(kind, (x(2, 3, 4), x(3, 1)))
    for kind in ("Add", "Mul"):
        yield E(kind, (x(2, 3, 4, 2), x(3)), {"broadcast": 1, "axis": 1}, version=6, runtime=False)
    yield E("Pow", (x(2, 3, low=0.5, high=2.0), s(2.0)))
    yield E("Pow", (x(2, 3), s(2, np.int64)))
    yield E("Pow", (x(2, 3, low=0.5, high=2.0), x(2, 3)))
    yield E("Mod", (x(2, 3, low=0.5, high=5.0), f(1.5, -2.0, 3.0)), {"fmod": 1})
    for kind in ("Abs", "Neg", "Exp", "Sin", "Cos", "Sinh", "Cosh", "Tanh", "Atan", "Asinh", "Erf", "Sigmoid"):
        yield E(kind, (x(2, 5),))
    for kind in ("Log", "Sqrt", "Reciprocal"):
        yield E(kind, (x(2, 5, low=0.3, high=3.0),))
    for kind in ("Acos", "Asin", "Atanh", "Tan"):
        yield E(kind, (x(2, 5, low=-0.9, high=0.9),))
    yield E("Acosh", (x(2, 5, low=1.6, high=3.0),))
    for kind in ("Ceil", "Floor", "Round", "Sign"):
        yield E(kind, (x(2, 5),), smooth=False)
    yield E("Clip", (x(2, 9), s(-0.5), s(0.7)), fixed=(1, 2))
    yield E("Clip", (x(2, 9), s(0.0)), fixed=(1,))
    yield E("Clip", (x(2, 9), None, s(0.1)), fixed=(2,))
    yield E("Clip", (x(2, 9),), {"min": -0.3, "max": 0.4}, version=6)
    yield E("Where", (x(2, 3) > 0, x(2, 3), x(3)), smooth=False)


def activations() -> Iterator[Example]:
    """Yield examples of activation functions."""
    for kind in ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "HardSigmoid", "ThresholdedRelu"):
        yield E(kind, (3 * x(2, 7),))
    for kind in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "HardSigmoid"):
        yield E(kind, (3 * x(2, 7),), {"alpha": 0.35})
    yield E("Selu", (x(2, 7),), {"alpha": 1.2, "gamma": 0.8})
    yield E("HardSwish", (4 * x(2, 7),))
    yield E("Mish", (3 * x(2, 7),), version=18)
    yield E("Gelu", (3 * x(2, 7),), version=20)
    yield E("Gelu", (3 * x(2, 7),), {"approximate": "tanh"}, version=20)
    yield E("Shrink", (2 * x(2, 7),), {"bias": 0.2, "lambd": 0.4})
    yield E("PRelu", (x(2, 3, 4, 4), x(3, 1, 1)))
    yield E("PRelu", (x(2, 3), x(3)))
    for kind in ("Softmax", "LogSoftmax"):
        yield E(kind, (x(2, 3, 4),))
        yield E(kind, (x(2, 3, 4),), {"axis": 1})
        yield E(kind, (x(2, 3, 4),), {"axis": 1}, version=11)
        yield E(kind, (x(2, 3, 4),), {"axis": -1}, version=11)
        yield E(kind, (x(2, 3, 4),), version=11)
    yield E("Hardmax", (x(2, 3, 4),), {"axis": 1}, smooth=False)
    yield E("Hardmax", (x(2, 3, 4),), {"axis": 1}, version=11, smooth=False)


def products() -> Iterator[Example]:
    """Yield examples of matrix products."""
    yield E("MatMul", (x(2, 3, 4), x(4, 5)))
    yield E("MatMul", (x(2, 3, 4), x(2, 4, 5)))
    yield E("MatMul", (x(2, 4), x(4)))
    yield E("Gemm", (x(3, 4), x(5, 4), x(5)), {"transB": 1})
    yield E("Gemm", (x(3, 4), x(4, 5), x(1, 5)), {"alpha": 0.5, "beta": 2.0})
    yield E("Gemm", (x(4, 3), x(4, 5)), {"transA": 1})
    yield E("Gemm", (x(3, 4), x(5, 4), s(0.5)), {"transB": 1, "alpha": 2.0})
    yield E("Gemm", (x(3, 4), x(4, 5), x(5)), {"broadcast": 1}, version=6, runtime=False)
    yield E("Einsum", (x(2, 3, 4), x(2, 4, 5)), {"equation": "bij, bjk -> bik"})
    yield E("Einsum", (x(2, 3, 4),), {"equation": "...ij->...ji"})
    yield E("Det", (x(2, 3, 3),))
