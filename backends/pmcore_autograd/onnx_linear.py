"""Linear models of ai.onnx.ml written as products and sums, so that their numbers are tensors like others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array
from pmcore_autograd.graph import Node
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    from onnx import NodeProto

LINEAR = frozenset({"LinearClassifier", "LinearRegressor"})
COEFFICIENTS, INTERCEPTS = "coefficients", "intercepts"
BEFORE = "_before_transform"
"""What the name of a classifier's output is given for its scores before their transform."""
_OPSET = 13


@dataclass
class Rewritten:
    """What stands in the place of linear nodes.

    Parameters
    ----------
    nodes : in order
    constants : name -> value
    layers : name of a tensor -> the tensor by which the layer is called
    attributes : name of a constant -> the node that held it as an attribute
    """

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)


def is_linear(node: Node) -> bool:
    """Tell whether a node is a linear model."""
    return node.dialect == "ai.onnx.ml" and node.kind in LINEAR


def is_linear_proto(node: NodeProto) -> bool:
    """Tell whether a node of a file is a linear model."""
    return node.domain == "ai.onnx.ml" and node.op_type in LINEAR


def held_in(node_name: str, first_output: str) -> str:
    """Return by which name the constants of a linear node are called."""
    return node_name or first_output


def rewrite(node: Node, found: Rewritten) -> None:
    """Add what a linear node does to what stands in the place of such nodes."""
    title = held_in(node.name, node.outputs[0] if node.outputs else "")
    coefficients, intercepts = _numbers(node)
    product, scores = f"{title}.product", _scores_name(node, title)
    weight, bias = f"{title}.{COEFFICIENTS}", f"{title}.{INTERCEPTS}"
    found.constants[weight] = coefficients
    made = [
        Node("Cast", node.inputs[:1], (f"{title}.input",), {"to": 1}, title, version=_OPSET),
        Node("MatMul", (f"{title}.input", weight), (product if intercepts is not None else scores,), {}, title),
    ]
    if intercepts is not None:
        found.constants[bias] = intercepts
        made.append(Node("Add", (product, bias), (scores,), {}, title, version=_OPSET))
    if node.kind == "LinearClassifier":
        made += _ending(node, scores, found, title)
    found.nodes += made
    layer = next(filter(None, node.outputs), "")
    found.layers.update((name, layer) for step in made for name in step.outputs)


def _scores_name(node: Node, title: str) -> str:
    if node.kind == "LinearRegressor":
        return _transformless(node).outputs[0]
    made = node.outputs[1] if len(node.outputs) > 1 else ""
    return f"{made}{BEFORE}" if made else f"{title}{BEFORE}"


def _transformless(node: Node) -> Node:
    if node.attributes.get("post_transform", "NONE") != "NONE":
        raise _refusal(node, "its transform is not known here")
    return node


def _ending(node: Node, scores: str, found: Rewritten, title: str) -> list[Node]:
    """Return what makes labels and transformed scores of the scores."""
    transform = node.attributes.get("post_transform", "NONE")
    kind = {"NONE": "Identity", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}.get(str(transform))
    made: list[Node] = []
    if kind is None:
        made.append(Node(str(transform), (scores,), (node.outputs[1],), {}, title, node.dialect, node.version))
    elif len(node.outputs) > 1 and node.outputs[1]:
        attributes = {"axis": 1} if kind == "Softmax" else {}
        made.append(Node(kind, (scores,), (node.outputs[1],), attributes, title, version=_OPSET))
    labels = _listed(node, "classlabels_ints", (int,))
    if node.outputs[0] and labels:
        found.constants[f"{title}.labels"] = np.array(labels, dtype=np.int64)
        best = f"{title}.best"
        made.append(Node("ArgMax", (scores,), (best,), {"axis": 1, "keepdims": 0}, title, version=_OPSET))
        made.append(Node("Gather", (f"{title}.labels", best), (node.outputs[0],), {"axis": 0}, title, version=_OPSET))
    elif node.outputs[0]:
        made.append(Node(node.kind, (scores,), (node.outputs[0],), {}, title, node.dialect, node.version))
    return made


def _numbers(node: Node) -> tuple[Array, Array | None]:
    """Return the coefficients as a matrix of features x targets, and the intercepts, one per target."""
    flat, added = (_listed(node, name, (int, float)) for name in (COEFFICIENTS, INTERCEPTS))
    if node.kind == "LinearRegressor":
        targets = _whole(node.attributes.get("targets", 1))
    else:
        labels = _listed(node, "classlabels_ints", (int,)) or _listed(node, "classlabels_strings", (str,))
        targets = len(added) or len(labels)
        if targets == 1 and len(labels) == 2:
            raise _refusal(node, "it answers for two classes by one score")
    if targets < 1 or not flat or len(flat) % targets or len(added) not in (0, targets):
        raise ModelError(f"{node.title}: its coefficients do not fit {targets} targets; export the model again")
    if not node.inputs or not node.inputs[0] or not any(node.outputs):
        raise ModelError(f"{node.title}: lacks inputs or outputs; export the model again")
    with np.errstate(over="ignore"):
        weights, biases = np.array(flat, dtype=np.float32), np.array(added, dtype=np.float32)
    return weights.reshape(targets, -1).T.copy(), biases if added else None


def _listed(node: Node, name: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """Return an attribute that holds a list, () where there is none.

    Raises
    ------
    InputError
        It holds something else.
    """
    found = node.attributes.get(name, ())
    if not isinstance(found, tuple) or not all(isinstance(value, kinds) for value in found):
        raise InputError(f"{node.title}: is damaged (its {name} are not what they should be); export the model again")
    return found


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _refusal(node: Node, why: str) -> Unsupported:
    return Unsupported(f"{node.title}: {why} - no gradients of this file")
