"""What can be learned of a model without any records: it is shown noise of the right shape."""

from __future__ import annotations

import numpy as np

from pmcore.errors import AuditError
from pmcore.interfaces import Array, Model, TensorSpec

RECORDS = 2
LARGEST = 2**24
"""Numbers per record beyond which no noise is made."""


def prepare_on_noise(model: Model) -> str | None:
    """Settle what a model can settle on made-up records; return why that was not possible, or None."""
    specs = model.describe().inputs
    if any(not spec.shape for spec in specs):
        return "the model does not state the shape of an input, so nothing was run"
    if any(None in spec.record_shape for spec in specs):
        return "an input has open dimensions, so nothing was run"
    if any(np.prod([size or 1 for size in spec.record_shape]) > LARGEST for spec in specs):
        return "an input is too large to make up, so nothing was run"
    rng = np.random.default_rng(0)
    try:
        model.prepare({spec.name: _noise(spec, rng) for spec in specs})
    except AuditError as error:
        return f"a run on made-up records failed: {error}"
    return None


def _noise(spec: TensorSpec, rng: np.random.Generator) -> Array:
    shape = (RECORDS, *(size or 1 for size in spec.record_shape))
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
