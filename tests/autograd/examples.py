"""Small graphs of one operator each, as exporters write them, with inputs: what the tests of operators run through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pmcore.interfaces import Array
from pmcore_autograd.graph import Node


@dataclass(frozen=True)
class Example:
    """An operator, its attributes and its inputs.

    Parameters
    ----------
    kind : the operator
    inputs : arrays; None where an optional input is absent. The first depends on the records, the others are weights
    attributes : of the node
    version : of the operator set
    dialect : whose operator it is
    outputs : how many outputs the node has
    smooth : whether its first output has a gradient that differences show
    runtime : whether ONNX Runtime can compute it
    fixed : places of real inputs that are settings and have no gradient
    atol : how closely it must agree with ONNX Runtime, besides a relative 1e-4
    """

    kind: str
    inputs: tuple[Array | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    version: int = 17
    dialect: str = "onnx"
    outputs: int = 1
    smooth: bool = True
    runtime: bool = True
    fixed: tuple[int, ...] = ()
    atol: float = 2e-6

    @property
    def title(self) -> str:
        """Return a name that tells examples apart."""
        described = [f"{name}={_short(value)}" for name, value in self.attributes.items()]
        shapes = "x".join(str(value.ndim) for value in self.inputs if value is not None)
        return "-".join([f"{self.kind}{self.version}", shapes, *described])

    @property
    def node(self) -> Node:
        """Return the node of the neutral graph."""
        names = tuple("" if value is None else f"i{place}" for place, value in enumerate(self.inputs))
        made = tuple(f"o{place}" for place in range(self.outputs))
        return Node(self.kind, names, made, self.attributes, "", self.dialect, self.version)

    @property
    def model(self) -> onnx.ModelProto:
        """Return the graph as an ONNX file would hold it."""
        node, domain = self.node, "" if self.dialect == "onnx" else self.dialect
        proto = helper.make_node(self.kind, node.inputs, node.outputs, domain=domain, **_written(self.attributes))
        first = self.inputs[0]
        assert first is not None
        fed = [helper.make_tensor_value_info("i0", helper.np_dtype_to_tensor_dtype(first.dtype), first.shape)]
        weights = [
            numpy_helper.from_array(value, f"i{place}")
            for place, value in enumerate(self.inputs)
            if place and value is not None
        ]
        made = [onnx.ValueInfoProto(name=name) for name in node.outputs]
        graph = helper.make_graph([proto], "example", fed, made, weights)
        sets = {"": 17} | {domain: self.version}
        imports = [helper.make_opsetid(name, version) for name, version in sets.items()]
        return helper.make_model(graph, opset_imports=imports, ir_version=9)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "array"
    return (
        "x".join(str(part) for part in value)
        if isinstance(value, Sequence) and value and not isinstance(value, str)
        else str(value)
    )


def _written(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for name, v in attributes.items()}
