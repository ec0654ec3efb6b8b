"""Editing a graph: other outputs, scores before a classifier's transform, a free batch dimension."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pmcore.errors import ModelError
from pmcore.interfaces import Array
from pmcore_onnx.graph import Graph, attribute, reads

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

_LIMIT = 2**31 - 1
"""Bytes that protobuf can hold in one message."""


@dataclass(frozen=True)
class Edit:
    """What is to be different from the file.

    Parameters
    ----------
    outputs : tensors that the edited model returns, in this order; what none of them needs is left out
    raw : a classifier's score tensor to be had without its transform, under the name `scores`
    scores : see `raw`
    free_batch : the fixed batch size that is to become free, or None
    """

    outputs: tuple[str, ...]
    raw: str | None = None
    scores: str | None = None
    free_batch: int | None = None


def is_as_it_stands(graph: Graph, edit: Edit) -> bool:
    """Tell whether the file itself already returns everything that an edit wants."""
    there = {value.name for value in graph.model.graph.output}
    return edit.raw is None and edit.free_batch is None and there.issuperset(edit.outputs)


def edited(model: ModelProto, edit: Edit, path: Path) -> bytes:
    """Edit a model that was read from a file, in place, and return its bytes; external weights stay out.

    Raises
    ------
    ModelError
        The model with its inline weights is too large to be handed over as bytes.
    """
    if edit.raw is not None and edit.scores is not None:
        _add_raw_scores(model, edit.raw, edit.scores)
    _set_outputs(model, edit.outputs)
    _prune(model)
    if edit.free_batch is not None:
        _free_batch(model, edit.free_batch)
    if model.ByteSize() > _LIMIT:
        raise ModelError(f"{path}: is too large to be edited; save its weights as external data")
    payload: bytes = model.SerializeToString()
    return payload


def _add_raw_scores(model: ModelProto, raw: str, scores: str) -> None:
    from onnx import NodeProto

    nodes = model.graph.node
    place = max(i for i, node in enumerate(nodes) if raw in node.output)
    twin = NodeProto()
    twin.CopyFrom(nodes[place])
    twin.name = scores
    twin.output[0] = f"{scores}_labels"
    twin.output[1] = scores
    transform = attribute(twin, "post_transform")
    if transform is not None:
        transform.s = b"NONE"
    nodes.insert(place + 1, twin)


def _set_outputs(model: ModelProto, names: Iterable[str]) -> None:
    from onnx import ValueInfoProto

    known = {value.name: value for value in model.graph.output}
    wanted: list[ValueInfoProto] = []
    for name in names:
        value = ValueInfoProto()
        value.name = name
        wanted.append(known.get(name, value))
    del model.graph.output[:]
    model.graph.output.extend(wanted)


def _prune(model: ModelProto) -> None:
    """Leave out the nodes that no output needs."""
    nodes = model.graph.node
    needed = {value.name for value in model.graph.output}
    for index in reversed(range(len(nodes))):
        if needed.isdisjoint(nodes[index].output):
            del nodes[index]
        else:
            needed.update(reads(nodes[index]))


def _free_batch(model: ModelProto, size: int) -> None:
    """Make the first dimension of inputs and outputs a symbol, and mend the reshapes that repeat it."""
    graph = Graph(model)
    live = graph.live
    for node in graph.nodes:
        if node.op_type in ("Reshape", "Expand") and len(node.input) > 1 and node.input[0] in live:
            shape = graph.integers(node.input[1])
            if shape is not None and shape.ndim == 1 and len(shape) and shape[0] == size:
                _replace_shape(model, node, _freed(node, shape))
    constants = graph.constants.keys()
    for value in [v for v in model.graph.input if v.name not in constants] + list(model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].Clear()
            dims[0].dim_param = "batch"
    for value in model.graph.output:
        if not value.type.tensor_type.shape.dim:
            value.ClearField("type")
    del model.graph.value_info[:]


def _freed(node: NodeProto, shape: Array) -> Array:
    free = np.array(shape, dtype=np.int64)
    if node.op_type == "Expand":
        free[0] = 1
    else:
        free[0] = 0 if -1 in shape else -1
    return free


def _replace_shape(model: ModelProto, node: NodeProto, shape: Array) -> None:
    from onnx import numpy_helper

    name = f"{node.output[0]}_free_shape"
    model.graph.initializer.append(numpy_helper.from_array(shape, name))
    node.input[1] = name
