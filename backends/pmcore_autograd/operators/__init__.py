"""The operators of exported graphs, written in torch: one table, looked up by dialect and kind.

An operator is a function ``(node, values) -> tensor or tuple of tensors``. `values` holds one tensor per input of the
node, None for an absent one, and the result one per output (a node may want fewer than an operator makes). Tensors that
depend on the records may be batched by ``torch.func.vmap``, so nothing is read out of them by ``item``, ``tolist`` or a
branch on their values, and nothing is changed in place. What an operator needs as numbers (shapes, axes, repeats) comes
from values that are constant; `numbers` reads these and refuses others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from pmcore_autograd.graph import Node
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    import torch

Values: TypeAlias = "Sequence[torch.Tensor | None]"
Operator: TypeAlias = "Callable[[Node, Values], torch.Tensor | tuple[torch.Tensor, ...]]"

_TABLES = {
    "onnx": "onnx_table",
    "ai.onnx.ml": "learning",
    "ai.onnx.preview": "preview",
    "com.microsoft": "microsoft",
    "openvino": "openvino",
}


@dataclass(frozen=True)
class Known:
    """An operator and what it understands.

    Parameters
    ----------
    operator : what computes a node
    attributes : names of the attributes that it honours, separated by blanks; a node with another one is refused
    """

    operator: Operator
    attributes: str = ""


def find(node: Node) -> Operator | None:
    """Return what computes a node, or None where its operator is not known.

    Raises
    ------
    Unsupported
        where the operator is known, but not with an attribute that the node carries
    """
    known = table(node.dialect).get(node.kind)
    if known is None:
        return None
    strange = set(node.attributes).difference(known.attributes.split())
    if strange:
        raise Unsupported(f"{node.title}: the attribute {min(strange)!r} is not known here - no gradients of this file")
    return known.operator


def table(dialect: str) -> Mapping[str, Known]:
    """Return the known operators of a dialect by kind; none for a dialect that is not known."""
    name = _TABLES.get(dialect)
    if name is None:
        return {}
    operators: Mapping[str, Known] = import_module(f"{__name__}.{name}").TABLE
    return operators
