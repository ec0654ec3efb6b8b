"""What a model takes, read off OpenVINO's own description of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pmcore.errors import InputError, ModelError
from pmcore.intake import Intake, Shape, intake_of
from pmcore.interfaces import TensorSpec
from pmcore.quoting import printable
from pmcore_autograd.openvino_importing import import_openvino
from pmcore_openvino.graph import shape_of

_TYPES: Mapping[str, str] = {
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "boolean": "bool",
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}


def read_intake(model: Any, output: Shape, path: Path) -> Intake:
    """Read the inputs of a model in the order of `model.inputs`, and what it wants of a batch.

    Parameters
    ----------
    output : shape of the output that holds the predictions, which tells whether records are taken one by one
    """
    if not model.inputs:
        raise ModelError(f"{path}: takes no inputs, so it cannot be asked about records; export the trained model")
    specs: list[TensorSpec] = []
    for name, value in zip(input_names(model), model.inputs, strict=True):
        kind = value.get_element_type().get_type_name()
        if kind not in _TYPES:
            raise ModelError(
                f"{path}: input {name!r} is of type {kind}, which arrays cannot carry; "
                "export the model with float32 inputs"
            )
        _refuse_other_axes(value, name, path)
        specs.append(TensorSpec(name, shape_of(value.get_partial_shape()) or (), _TYPES[kind]))
    return intake_of(specs, output, path)


def input_names(model: Any) -> tuple[str, ...]:
    """Return a name for every input: the file's, else its node's; what is still twice gets its number."""
    found: list[str] = []
    for index, value in enumerate(model.inputs):
        names = sorted(str(name) for name in value.get_names())
        candidates = (*names, str(value.get_node().get_friendly_name()), f"input{index}")
        found.append(next(name for name in candidates if name and name not in found))
    return tuple(found)


def _refuse_other_axes(value: Any, name: str, path: Path) -> None:
    """Refuse an input whose layout says that the records are not along its first axis."""
    helpers = import_openvino().layout_helpers
    layout = value.get_node().get_layout() if value.get_node().get_type_name() == "Parameter" else None
    if layout is None or layout.empty or not helpers.has_batch(layout):
        return
    if helpers.batch_idx(layout) != 0:
        raise InputError(
            f"{path}: input {name!r} is laid out as {printable(str(layout), 60)}, with the records not along its first "
            "axis; export the model with the batch first"
        )
