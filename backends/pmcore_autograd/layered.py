"""The parameters of a graph by the layers that a backend lists, a bias with the product that it is added to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore.layers import LayerTable
from pmcore_autograd.slots import Role, slots_of

if TYPE_CHECKING:
    import torch

    from pmcore_autograd.graph import Graph
    from pmcore_autograd.module import ExportedModule


def by_layer(module: ExportedModule, table: LayerTable) -> dict[str, list[torch.Tensor]]:
    """Return layer -> its parameters; what no layer of the table owns stands under the tensor that it makes.

    Exporters write a linear layer as a product and a sum, or as one operator. Where the table counts no parameters of a
    sum, what is added there belongs to the product that the sum reads.
    """
    names = dict(zip(table.tensors, (layer.name for layer in table.layers), strict=True))
    counted = {layer.name for layer in table.layers if layer.parameters}
    found: dict[str, list[torch.Tensor]] = {layer.name: [] for layer in table.layers}
    parameters = dict(module.named_parameters())
    products = _products_before_sums(module.graph)
    for name, tensor in module.owners.items():
        layer = names.get(tensor, tensor)
        before = names.get(products.get(tensor, ""))
        if before is not None and layer not in counted:
            layer = before
        found.setdefault(layer, []).append(parameters[name])
    return found


def _products_before_sums(graph: Graph) -> dict[str, str]:
    """Return what a sum makes -> what a product with weights makes, which it reads."""
    found: dict[str, str] = {}
    products: set[str] = set()
    for node in graph.nodes:
        made = next(filter(None, node.outputs), "")
        if any(slot.role is Role.WEIGHT for slot in slots_of(node.dialect).entering.get(node.kind, {}).values()):
            products.add(made)
        elif node.kind == "Add":
            found.update((made, name) for name in node.inputs if name in products)
    return found
