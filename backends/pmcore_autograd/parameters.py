"""What is known of the parameters of a graph: what each is, who uses it, and where it stands in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.graph import Graph, Node
from pmcore_autograd.slots import Role

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Origin:
    """Where a parameter or a buffer stands in the file.

    Parameters
    ----------
    tensor : its name there
    dtype : numpy name of its type there
    made_by : the node whose result it is, where it is no constant of the file
    read_by : first output of the only node that is to read it, and the place of the input, where others read the same
        tensor of the file as something else
    """

    tensor: str
    dtype: str
    made_by: Node | None = None
    read_by: tuple[str, int] | None = None


@dataclass(frozen=True)
class Parameter:
    """A tensor that training changes.

    Parameters
    ----------
    tensor : its name in the graph
    role : what it is where it first enters an operator
    owner : the first output of the first node on the records that uses it
    into : the first output of the operator that it first enters as a parameter
    fan_in : how many numbers each number of that operator's result adds up; 0 where that means nothing
    """

    tensor: str
    role: Role
    owner: str
    into: str
    fan_in: int
    origin: Origin


@dataclass(frozen=True)
class Buffer:
    """A tensor that training measures."""

    tensor: str
    role: Role
    origin: Origin


@dataclass(frozen=True)
class Cut:
    """A graph taken apart.

    Parameters
    ----------
    graph : without constants and what made parameters of constants
    parameters, buffers : in the order in which the records meet them
    values : name of a constant, a parameter or a buffer -> its value, weights of half precision widened
    surrogate : whether something rounds, so that gradients are those of what stands in for it
    widened : whether weights were of half precision
    working : precision of the weights, float32 or float64
    """

    graph: Graph
    parameters: tuple[Parameter, ...]
    buffers: tuple[Buffer, ...]
    values: Mapping[str, torch.Tensor]
    surrogate: bool
    widened: bool
    working: torch.dtype
