"""Biases that stand in a sum behind a product, as exporters write linear layers that are not one operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pmcore_onnx.graph import Graph, attribute, reads

if TYPE_CHECKING:
    from onnx import NodeProto

Shape = tuple[int | str | None, ...]
_PLACES = {"MatMul": 2, "FusedMatMul": 2, "Gemm": 2, "Conv": 2, "ConvTranspose": 2}
"""Products -> the place at which they would have a bias of their own, behind their weights."""
_IMAGES = frozenset({"Conv", "ConvTranspose"})


def products_of_biases(graph: Graph, shapes: Mapping[str, Shape | None]) -> dict[str, str]:
    """Return what a sum makes -> what the product makes that it adds a bias to.

    A bias is one number for each output of a product with weights that has no other, and nobody else reads what the
    product makes.

    Parameters
    ----------
    shapes : of the tensors, as far as they are known
    """
    readers = Counter(name for node in graph.nodes for name in reads(node))
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type != "Add" or len(node.input) != 2 or not node.output:
            continue
        for product, bias in (tuple(node.input), tuple(reversed(node.input))):
            maker = graph.producers.get(product)
            if maker is None or bias in graph.live or product not in graph.live or readers[product] != 1:
                continue
            axis, given = _axis(graph, maker, shapes), _shape(graph, bias, shapes)
            if axis is not None and given is not None and _spans(given, axis, _outputs(graph, maker, axis, shapes)):
                found[node.output[0]] = product
    return found


def _axis(graph: Graph, node: NodeProto, shapes: Mapping[str, Shape | None]) -> int | None:
    """Return the axis of a product's outputs, counted from the end, or None where a bias would be none of it."""
    place = _PLACES.get(node.op_type)
    if place is None or len(node.input) < 2 or node.input[1] in graph.live or any(node.input[place:]):
        return None
    if node.op_type not in _IMAGES:
        return -1
    weight = _shape(graph, node.input[1], shapes)
    return None if weight is None else 1 - len(weight)


def _shape(graph: Graph, name: str, shapes: Mapping[str, Shape | None]) -> Shape | None:
    tensor = graph.constants.get(name)
    return shapes.get(name) if tensor is None else tuple(tensor.dims)


def _outputs(graph: Graph, node: NodeProto, axis: int, shapes: Mapping[str, Shape | None]) -> int | None:
    """Return how many outputs a product has; its weights tell where no shape was inferred."""
    shape, weight = shapes.get(node.output[0]), _shape(graph, node.input[1], shapes)
    size = shape[axis] if shape is not None and len(shape) >= -axis else None
    if size is None and weight and node.op_type != "ConvTranspose":
        turned = attribute(node, "transB")
        first = node.op_type == "Conv" or (turned is not None and bool(turned.i))
        size = weight[0 if first else -1]
    return size if isinstance(size, int) else None


def _spans(shape: Shape, axis: int, size: int | None) -> bool:
    """Tell whether a constant has one number for each place along an axis, and no other axis."""
    if size is None or len(shape) < -axis or shape[axis] != size:
        return False
    return all(other == 1 for place, other in enumerate(shape) if place != len(shape) + axis)
