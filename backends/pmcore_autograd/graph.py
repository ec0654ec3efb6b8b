"""A neutral graph: nodes, constants, inputs and outputs, whatever format it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pmcore.interfaces import Array


@dataclass(frozen=True)
class Node:
    """One operation.

    Parameters
    ----------
    kind : the operator's name in its own format, such as "Conv" or "Convolution"
    inputs : names of tensors; "" where an optional input is absent
    outputs : names of tensors; "" where an optional output is not wanted
    attributes : name -> int, float, str, a tuple of these, or a numpy array
    name : the node's own name, for messages and for files that are written back; may be ""
    dialect : "onnx", "ai.onnx.ml", "com.microsoft", ... or "openvino"
    version : opset version of the dialect by which the operator is defined
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    dialect: str = "onnx"
    version: int = 0

    @property
    def title(self) -> str:
        """Return how messages call the node, such as ``Conv '/features/0/Conv'``."""
        return f"{self.kind} {(self.name or next(filter(None, self.outputs), ''))!r}"


@dataclass(frozen=True)
class Graph:
    """Operations in order of computation.

    Parameters
    ----------
    nodes : each reads only inputs, constants and what earlier nodes made
    constants : tensor name -> value; weights among them
    inputs : names of the tensors that are fed
    outputs : names of the tensors that are returned
    types : name of an input -> its numpy type, such as "float32"
    shapes : name of an input or output -> its shape; a number, a symbol or None for each dimension
    layers : name of a tensor -> the tensor by which the file's layer is called that it belongs to, where a reader
        put several nodes in the place of one
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int | str | None, ...]] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
