"""ONNX graphs that end in a linear layer, however that is written, and graphs that do not quite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, TensorProto

from pmcore.interfaces import Array
from tests.backends.builders import BIAS, CLASSES, WEIGHT, node


def matmul(*following: NodeProto) -> list[NodeProto]:
    """Return MatMul from "x" and what follows it."""
    return [node("MatMul", ["x", "w"], ["y"]), *following]


WEIGHTS: dict[str, Array] = {"w": WEIGHT, "wt": WEIGHT.T.copy(), "b": BIAS, "one": np.array([1.0], np.float32)}
ACCEPTED: dict[str, tuple[Sequence[NodeProto], dict[str, Array], bool]] = {
    "MatMul": (matmul(node("Identity", ["y"], ["z"])), {}, False),
    "MatMul, Add": (matmul(node("Add", ["b", "y"], ["z"])), {}, True),
    "Sub": (matmul(node("Sub", ["y", "b"], ["z"])), {}, True),
    "scalar": (matmul(node("Add", ["y", "one"], ["z"])), {}, False),
    "times one": (matmul(node("Mul", ["one", "y"], ["v"]), node("Div", ["v", "one"], ["z"])), {}, False),
    "transposed weight": (
        [node("Transpose", ["wt"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["z"])],
        {},
        False,
    ),
    "reshaped weight": (
        [node("Reshape", ["flat", "shape"], ["t"]), node("Gemm", ["x", "t", "b"], ["z"])],
        {"flat": WEIGHT.reshape(6, 2, 2), "shape": np.array([0, CLASSES])},
        True,
    ),
    "half weight": (
        [node("Cast", ["h"], ["t"], to=TensorProto.FLOAT), node("MatMul", ["x", "t"], ["z"])],
        {"h": WEIGHT.astype(np.float16)},
        False,
    ),
    "shaped": (
        matmul(
            node("Unsqueeze", ["y", "axis"], ["a"]),
            node("Transpose", ["a"], ["c"], perm=[0, 2, 1]),
            node("Cast", ["c"], ["d"], to=TensorProto.FLOAT),
            node("Dropout", ["d"], ["e"]),
            node("Flatten", ["e"], ["f"]),
            node("Add", ["f", "b"], ["z"]),
        ),
        {"axis": np.array([1])},
        True,
    ),
    "fused": ([node("FusedMatMul", ["x", "wt"], ["z"], domain="com.microsoft", transB=1)], {}, False),
    "bias twice": (
        [node("Gemm", ["x", "w", "b"], ["y"]), node("Add", ["y", "c"], ["z"])],
        {"c": BIAS * 2},
        True,
    ),
}
SCALE: dict[str, Array] = {"s": np.array(0.1, np.float32), "zero": np.array(0, np.int8)}
LEFT_OUT: dict[str, tuple[Sequence[NodeProto], dict[str, Array], str]] = {
    "alpha": ([node("Gemm", ["x", "w", "b"], ["z"], alpha=2.0)], {}, "scaled by a constant that is not 1"),
    "beta": (
        [node("Gemm", ["x", "w", "b"], ["z"], beta=0.5)],
        {},
        "scaled by a constant that is not 1|bias of .* is computed",
    ),
    "a scale per class": (matmul(node("Mul", ["y", "b"], ["z"])), {}, "scaled by a constant that is not 1"),
    "bias by feature": (
        [node("Gemm", ["x", "w", "c"], ["z"])],
        {"c": np.ones((9, 1), np.float32)},
        r"a constant of shape \[9,1\] is added, not one number for each of 4 columns",
    ),
    "bias on the wrong axis": (
        matmul(node("Add", ["y", "c"], ["z"])),
        {"c": np.ones((CLASSES, 1), np.float32)},
        r"a constant of shape \[4,1\] is added",
    ),
    "offsets per record": (
        matmul(node("Add", ["y", "c"], ["z"])),
        {"c": np.ones((9, CLASSES), np.float32)},
        r"a constant of shape \[9,4\] is added",
    ),
    "a constant minus": (matmul(node("Sub", ["b", "y"], ["z"])), {}, "come from Sub(tract)?, not from a linear layer"),
    "quantised weight": (
        [node("DequantizeLinear", ["q", "s", "zero"], ["t"]), node("MatMul", ["x", "t"], ["z"])],
        {"q": (WEIGHT * 10).astype(np.int8), **SCALE},
        "the weight of the last linear layer is quantised",
    ),
    "computed weight": (
        [node("Mul", ["w", "s"], ["t"]), node("MatMul", ["x", "t"], ["z"])],
        SCALE,
        "the weight of the last linear layer is computed from other tensors",
    ),
    "weight on the left": (
        [
            node("Transpose", ["x"], ["xt"], perm=[1, 0]),
            node("MatMul", ["wt", "xt"], ["y"]),
            node("Transpose", ["y"], ["z"], perm=[1, 0]),
        ],
        {},
        "come from Transpose, not from a linear layer",
    ),
    "bias of the records": (
        [node("Slice", ["x", "from", "to", "axes"], ["c"]), node("Gemm", ["x", "w", "c"], ["z"])],
        {"from": np.array([0]), "to": np.array([CLASSES]), "axes": np.array([1])},
        "what the last linear layer adds depends on the records|come from Add, not",
    ),
    "shared bias": (
        [node("Gemm", ["x", "w", "b"], ["y"]), node("Add", ["y", "b"], ["z"])],
        {},
        "used elsewhere in the model too",
    ),
    "no layer": ([node("Identity", ["x"], ["z"])], {}, "the predictions are no output of a linear layer"),
    "group convolution": (
        [
            node("Reshape", ["x", "image"], ["i"]),
            node("Conv", ["i", "k"], ["y"], group=2),
            node("Flatten", ["y"], ["z"]),
        ],
        {"image": np.array([-1, 6, 1, 1]), "k": np.ones((CLASSES, 3, 1, 1), np.float32)},
        "come from (a convolution with groups, padding or dilation|GroupConvolution)",
    ),
    "stacked matrices": (
        [
            node("Reshape", ["x", "three"], ["i"]),
            node("MatMul", ["i", "k"], ["y"]),
            node("Flatten", ["y"], ["z"]),
        ],
        {"three": np.array([-1, 1, 6]), "k": WEIGHT[None]},
        "MatMul of turned or stacked matrices",
    ),
}
