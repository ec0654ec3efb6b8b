"""The operations of a frozen TorchScript program, as steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pmcore_torch.script_layers import folded
from pmcore_torch.steps import Step

if TYPE_CHECKING:
    import torch


def read_steps(graph: Any, parameters: Mapping[str, torch.Tensor], wanted: Any) -> Step:
    """Return a value of a program as a step; the names of steps are the places of their nodes.

    Parameters
    ----------
    parameters : those of the module, before it was frozen
    wanted : the value
    """
    found = {value.debugName(): Step("", live=True) for value in list(graph.inputs())[1:]}
    for place, node in enumerate(graph.nodes()):
        if node.kind() == "prim::Constant":
            found[node.output().debugName()] = _constant(node.output(), parameters)
            continue
        namespace, _, name = node.kind().partition("::")
        operator = name if namespace in ("aten", "prim") else node.kind()
        arguments = tuple(_argument(value, found) for value in _reads(node))
        live = any(step.live for step in Step(operator, arguments).sources)
        step = Step(operator, arguments, str(place), live)
        for value in node.outputs():
            found[value.debugName()] = step
        if name.endswith("_") and namespace == "aten" and arguments:
            found[next(node.inputs()).debugName()] = step  # who reads it later reads what was made of it
    return found.get(wanted.debugName(), Step(""))


def _reads(node: Any) -> Iterator[Any]:
    """Yield what a node reads, within its blocks too."""
    yield from node.inputs()
    for block in node.blocks():
        for inner in block.nodes():
            yield from _reads(inner)
        yield from block.outputs()


def _argument(value: Any, found: dict[str, Step]) -> Any:
    """Return a value that a node reads: tensors and what is made of them as steps, plain constants as they are."""
    step = found.get(value.debugName())
    if step is None or (step.constant is None and value.node().kind() == "prim::Constant"):
        return value.toIValue() if value.node().kind() == "prim::Constant" else None
    return step


def _constant(value: Any, parameters: Mapping[str, torch.Tensor]) -> Step:
    """Return a constant of a program; the parameter that it was before freezing, where it was one."""
    import torch

    held = value.toIValue() if value.type().kind() == "TensorType" else None
    if not isinstance(held, torch.Tensor):
        return Step("", floating=False)
    own = folded(value.debugName(), held, parameters)
    shape, floating = tuple(held.shape), held.is_floating_point()
    return Step("", (), "", False, shape, floating, held if own is None else parameters[own], own is not None)
