"""What a network takes, as far as it declares that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pmcore.errors import ModelError
from pmcore.intake import Intake, intake_of
from pmcore.interfaces import TensorSpec
from pmcore_torch.sources import Opened


def intake_for(opened: Opened) -> Intake:
    """Return what the network takes; where its shapes are unknown, batches of any size."""
    specs = tuple(replace(spec, dtype="float32") if spec.dtype == "bfloat16" else spec for spec in opened.inputs)
    for spec in specs:
        try:
            np.dtype(spec.dtype)
        except TypeError:
            raise ModelError(
                f"{opened.title}: input {spec.name!r} is of type {spec.dtype}, which arrays cannot carry; "
                "export the model with float32 inputs"
            ) from None
    if not specs:
        raise ModelError(f"{opened.title}: takes no inputs, so it cannot be asked about records")
    if not all(spec.shape for spec in specs):
        return Intake(tuple(TensorSpec(spec.name, spec.shape, spec.dtype) for spec in specs), None, False, opened.title)
    outputs = opened.network.outputs() or {}
    return intake_of(specs, next((shape for shape in outputs.values() if shape), ()), opened.title)
