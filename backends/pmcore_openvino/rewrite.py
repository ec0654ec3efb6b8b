"""A model whose fixed batch is made free: a changed copy, for data to confirm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import ModelError
from pmcore.interfaces import Array
from pmcore_autograd.openvino_importing import import_openvino
from pmcore_openvino.graph import Graph


def freed(graph: Graph, size: int, path: Path) -> Graph:
    """Return a copy of a model whose first dimension is free, the reshapes that repeat it mended.

    Raises
    ------
    ModelError
        OpenVINO cannot carry the free dimension through the model.
    """
    openvino = import_openvino()

    model = graph.model.clone()
    live = Graph(model).live
    for node in model.get_ordered_ops():
        if node.get_name() in live and node.get_type_name() in ("Reshape", "Broadcast"):
            _mend(node, size)
    shapes = {}
    for index, value in enumerate(model.inputs):
        partial = value.get_partial_shape()
        if partial.rank.is_static and len(partial):
            partial[0] = openvino.Dimension(-1)
        shapes[index] = partial
    try:
        model.reshape(shapes)
    except Exception as error:  # the runtime's exceptions share no base class but this
        raise ModelError(f"{path}: its batch cannot be made free ({type(error).__name__}); ask it as it is") from None
    return Graph(model)


def _mend(node: Any, size: int) -> None:
    """Let a reshape to a constant shape that begins with the batch size take the batch from its input."""
    ops = import_openvino().opset13

    constant = node.input_value(1).get_node()
    if constant.get_type_name() != "Constant":
        return
    shape: Array = np.array(constant.get_vector(), dtype=np.int64)
    if constant.get_output_partial_shape(0).rank.get_length() != 1 or not len(shape) or shape[0] != size:
        return
    attributes = node.get_attributes()
    if node.get_type_name() == "Broadcast":
        if attributes.get("mode") != "bidirectional":
            return
        shape[0] = 1
    elif -1 not in shape:
        shape[0] = -1
    elif attributes.get("special_zero"):
        shape[0] = 0
    else:
        return
    node.input(1).replace_source_output(ops.constant(shape).output(0))
