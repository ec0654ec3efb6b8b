"""What a session takes, read off ONNX Runtime's own description of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pmcore.errors import ModelError
from pmcore.intake import Intake, intake_of
from pmcore.interfaces import TensorSpec

_TYPES: Mapping[str, str] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
    **{f"tensor({kind})": kind for kind in ("int8", "int16", "int32", "int64")},
    **{f"tensor({kind})": kind for kind in ("uint8", "uint16", "uint32", "uint64")},
}


def read_intake(runtime: Any, outputs: Sequence[str], path: Path) -> Intake:
    """Read the inputs of a session, and what it wants of a batch.

    Parameters
    ----------
    outputs : names of outputs, of which the first with a shape tells whether records are taken one by one
    """
    taken = runtime.get_inputs()
    if not taken:
        raise ModelError(f"{path}: takes no inputs, so it cannot be asked about records; export the trained model")
    for value in taken:
        if value.type not in _TYPES:
            raise ModelError(
                f"{path}: input {value.name!r} is of type {value.type}, which arrays cannot carry; "
                "export the model with float32 inputs"
            )
    made = {value.name: _shape(value.shape) for value in runtime.get_outputs()}
    shape = next((made[name] for name in outputs if made.get(name)), ())
    specs = [TensorSpec(value.name, _shape(value.shape), _TYPES[value.type]) for value in taken]
    return intake_of(specs, shape, path)


def _shape(sizes: Sequence[int | str | None]) -> tuple[int | str | None, ...]:
    return tuple(size if size != "" else None for size in sizes)
