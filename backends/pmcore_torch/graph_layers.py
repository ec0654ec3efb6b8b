"""The layers of an exported program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pmcore.interfaces import Layer
from pmcore.layers import LayerTable
from pmcore_torch.graph_steps import operator_name

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

LAYER = "layer:"
"""Begins the names under which the outputs of layers are asked for."""
_NO_LAYERS_WORDS = "getitem sym_size sym_numel _assert_tensor_metadata _assert_scalar copy_ add_ arange zeros ones full"
_NO_LAYERS = frozenset(_NO_LAYERS_WORDS.split())


def read_layers(module: GraphModule) -> LayerTable:
    """List the operations on the records; a parameter is counted where it is first used."""
    layers: list[Layer] = []
    tensors: list[str] = []
    live: set[str] = set()
    counted: set[str] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder":
            live.add(node.name)
            continue
        sources = [source.name for source in node.all_input_nodes]
        if node.op != "call_function" or live.isdisjoint(sources):
            continue
        live.add(node.name)
        maker = node
        if operator_name(node) == "getitem" and node.args[1] == 0:
            maker = node.all_input_nodes[0]
        kind = operator_name(maker)
        shape = shape_of(node)
        if kind in _NO_LAYERS or shape is None:
            continue
        parameters = 0
        for source in maker.all_input_nodes:
            if source.op == "get_attr" and str(source.target) not in counted:
                counted.add(str(source.target))
                parameters += _parameters(module, str(source.target))
        layers.append(Layer(len(layers), maker.name, kind, shape, parameters))
        tensors.append(f"{LAYER}{node.name}")
    return LayerTable(tuple(layers), tuple(tensors))


def _parameters(module: GraphModule, target: str) -> int:
    import torch

    found: Any = module
    for name in target.split("."):
        found = getattr(found, name, None)
    return found.numel() if isinstance(found, torch.nn.Parameter) else 0


def shape_of(node: Node) -> tuple[int | str | None, ...] | None:
    """Return the shape of a node's value, "batch" or None for what is open; None for what is no tensor."""
    import torch

    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    return tuple(
        size if isinstance(size, int) else "batch" if place == 0 else None for place, size in enumerate(value.shape)
    )
