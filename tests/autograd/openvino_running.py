"""Small OpenVINO models and what the runtime answers about them, for the tests of their differentiable copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from pmcore.interfaces import Array
from pmcore_autograd.graph import Graph
from pmcore_autograd.openvino_importing import import_openvino
from pmcore_autograd.openvino_names import name_tensors
from pmcore_autograd.openvino_reader import read_graph
from pmcore_autograd.operators import find

openvino: Any = import_openvino()
ops: Any = openvino.opset15
RNG = np.random.default_rng(5)

Build: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One operation on parameters.

    Parameters
    ----------
    build : parameters -> node
    arrays : what is fed, one per parameter; floats are asked for gradients
    differentiable : whether its gradients are checked
    tolerance : relative to the greatest answer
    """

    name: str
    build: Build
    arrays: Sequence[Array] = field(default_factory=lambda: (floats(2, 3, 4),))
    differentiable: bool = True
    tolerance: float = 1e-5

    def __repr__(self) -> str:
        return self.name

    @property
    def model(self) -> Any:
        """Return the model of the one operation."""
        parameters = [ops.parameter(list(array.shape), array.dtype) for array in self.arrays]
        made = self.build(*parameters)
        outputs = made.outputs() if isinstance(made, openvino.Node) and made.get_type_name() != "MaxPool" else [made]
        return openvino.Model(outputs, parameters)


def floats(*shape: int, low: float = -2.0, high: float = 2.0) -> Array:
    """Return random float32 numbers."""
    return RNG.uniform(low, high, size=shape).astype(np.float32)


def constant(value: Any, dtype: Any = np.float32) -> Any:
    """Return a constant node."""
    return ops.constant(np.asarray(value, dtype=dtype))


def runtime_answers(model: Any, arrays: Sequence[Array]) -> list[Array]:
    """Return what OpenVINO computes in float32."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    result = compiled(list(arrays))
    return [np.array(result[i]) for i in range(len(compiled.outputs))]


def graph_of(model: Any) -> Graph:
    """Return all of what a model computes, whole numbers too."""
    names = name_tensors(model)
    return read_graph(model, [names.of(result.input_value(0)) for result in model.get_results()])


def run(graph: Graph, feeds: Sequence[torch.Tensor], kind: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Return the outputs of a graph, its operators called one after the other."""
    known: dict[str, torch.Tensor | None] = {"": None}
    known |= {name: _floating(torch.from_numpy(np.array(value)), kind) for name, value in graph.constants.items()}
    known |= dict(zip(graph.inputs, feeds, strict=True))
    for node in graph.nodes:
        operator = find(node)
        assert operator is not None, node.kind
        made = operator(node, [known[name] for name in node.inputs])
        known |= dict(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=False))
    found = [known[name] for name in graph.outputs]
    assert all(value is not None for value in found)
    return [value for value in found if value is not None]


def check_forward(case: Case) -> None:
    """Compare an operation with the runtime's own."""
    model = case.model
    expected = runtime_answers(model, case.arrays)
    found = run(graph_of(model), [torch.from_numpy(array) for array in case.arrays])
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert tuple(mine.shape) == theirs.shape
        assert mine.is_floating_point() == (theirs.dtype.kind == "f")
        scale = max(1.0, float(np.abs(theirs[np.isfinite(theirs)].astype(np.float64)).max(initial=0.0)))
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=0, atol=case.tolerance * scale)


def check_backward(case: Case) -> None:
    """Compare the gradients of an operation with differences of its answers, in float64."""
    graph = graph_of(case.model)
    feeds = [_floating(torch.from_numpy(array), torch.float64) for array in case.arrays]
    for feed in feeds:
        feed.requires_grad_(feed.is_floating_point())

    def answers(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(value for value in run(graph, given, torch.float64) if value.is_floating_point())

    assert torch.autograd.gradcheck(answers, feeds, nondet_tol=0.0)


def _floating(value: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    return value.to(kind) if value.is_floating_point() else value
