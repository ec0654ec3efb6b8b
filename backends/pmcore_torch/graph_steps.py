"""The operations of an exported program, as steps."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pmcore_torch.steps import Step, ordered

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node


def read_steps(module: GraphModule, fixed: Collection[str]) -> dict[str, Step]:
    """Return the steps of a program by the names of its nodes.

    Parameters
    ----------
    fixed : the inputs that are constants
    """
    found: dict[str, Step] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            found[node.name] = _step(node, live=node.name not in fixed)
        elif node.op == "get_attr":
            found[node.name] = _constant(module, node)
        elif node.op == "call_function":
            found[node.name] = _call(node, found)
    return found


def operator_name(node: Node) -> str:
    """Return the name of the operator that a node calls, "" for anything else."""
    if node.op != "call_function":
        return ""
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet or node.target, "__name__", ""))


def _call(node: Node, found: dict[str, Step]) -> Step:
    def named(value: Any) -> Any:
        from torch.fx import Node

        if isinstance(value, Node):
            return found.get(value.name)
        return [named(part) for part in value] if isinstance(value, tuple | list) else value

    schema = getattr(node.target, "_schema", None)
    given = [named(value) for value in node.args]
    arguments = ordered(schema, given, {key: named(value) for key, value in node.kwargs.items()})
    reads = (found[source.name] for source in node.all_input_nodes if source.name in found)
    return _step(node, operator_name(node), arguments, live=any(step.live for step in reads))


def _step(node: Node, operator: str = "", arguments: tuple[Any, ...] = (), *, live: bool) -> Step:
    import torch

    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return Step(operator, arguments, node.name, live, floating=False)
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Step(operator, arguments, node.name, live, shape, value.is_floating_point())


def _constant(module: GraphModule, node: Node) -> Step:
    import torch

    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part, None)
    if not isinstance(value, torch.Tensor):
        return Step("", name=node.name, floating=False)
    trained = isinstance(value, torch.nn.Parameter)
    return Step("", (), node.name, False, tuple(value.shape), value.is_floating_point(), value, trained)
