"""Fresh values for the parameters of a graph, each in a way that suits what it is, the same ones for the same seed."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.ordering import live_tensors
from pmcore_autograd.parameters import Parameter
from pmcore_autograd.slots import Role

if TYPE_CHECKING:
    import torch

_SLOPE = 0.25
_OFFSETS = 0.02
_RECTIFIERS = frozenset({"Relu", "LeakyRelu", "PRelu", "Clip", "Clamp", "Elu", "ReLU", "PReLU", "HardSwish", "HSwish"})
_BETWEEN = frozenset({"Add", "BatchNormalization", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Multiply", "Mul"})
_STEPS = 6


def fresh(parameter: Parameter, shape: torch.Size, rectified: bool, random: torch.Generator) -> torch.Tensor:
    """Return a first value for a parameter, in float64 on the CPU.

    Parameters
    ----------
    rectified : whether a ReLU or the like follows the weight, which halves the variance that it must make up for

    References
    ----------
    He, Zhang, Ren, Sun. Delving Deep into Rectifiers. ICCV 2015 (weights before rectifiers).
    Glorot, Bengio. Understanding the difficulty of training deep feedforward neural networks. AISTATS 2010.
    """
    import torch

    def uniform(bound: float) -> torch.Tensor:
        return (2 * torch.rand(shape, generator=random, dtype=torch.float64) - 1) * bound

    def normal(deviation: float) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64) * deviation

    role, wide = parameter.role, sum(size > 1 for size in shape) > 1
    if role is Role.WEIGHT:
        return uniform(sqrt((6.0 if rectified else 3.0) / max(parameter.fan_in, 1)))
    if role is Role.RECURRENT:
        return uniform(1.0 / sqrt(max(parameter.fan_in, 1)))
    if role is Role.TABLE:
        return normal(1.0 / sqrt(max(shape[-1] if shape else 1, 1)))
    if role is Role.ADDED and wide:
        return normal(_OFFSETS)
    if role is Role.SLOPE:
        return torch.full(shape, _SLOPE, dtype=torch.float64)
    one = role in (Role.SCALE, Role.FACTOR, Role.VARIANCE)
    return torch.full(shape, float(one), dtype=torch.float64)


def before_rectifiers(graph: Graph) -> frozenset[str]:
    """Return the tensors that go, with constants added or multiplied at most, into a ReLU or the like."""
    live = live_tensors(graph.nodes, graph.inputs)
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    made = (name for node in graph.nodes for name in node.outputs[:1] if name)
    return frozenset(name for name in made if _meets_rectifier(name, readers, live))


def _meets_rectifier(name: str, readers: dict[str, list[Node]], live: frozenset[str]) -> bool:
    for _ in range(_STEPS):
        behind = readers.get(name, [])
        if len(behind) != 1 or not behind[0].outputs:
            return False
        if behind[0].kind in _RECTIFIERS:
            return True
        if behind[0].kind not in _BETWEEN or sum(read in live for read in behind[0].inputs) > 1:
            return False
        name = behind[0].outputs[0]
    return False
