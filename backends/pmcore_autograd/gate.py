"""The gate before gradients: a graph that does not answer as the runtime does has the gradients of something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pmcore.errors import ModelError
from pmcore.interfaces import Array

if TYPE_CHECKING:
    import torch

    from pmcore_autograd.module import ExportedModule

_BOUNDS = {"float32": 1e-4, "float64": 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.15}
"""Precision of the runtime -> how far answers may be apart, as a share of the largest.

One number that is rounded the other way moves all behind it: ONNX Runtime with and without its own optimiser was seen
to be 0.1 from itself on a quantised MobileNet.
"""
_SHORT = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16"}
_SHORT |= dict.fromkeys(("i8", "u8", "uint8", "i4", "u4", "int4", "uint4"), "int8")


class Disagrees(ModelError):
    """The graph does not answer as the runtime does."""


@dataclass(frozen=True)
class Agreement:
    """How well a graph answers as its runtime does.

    Parameters
    ----------
    difference : the largest between any two answers, as a share of the largest answer
    bound : up to which gradients are computed
    """

    difference: float
    bound: float


def bound_for(precision: str) -> float:
    """Return how far answers may be apart in a runtime's precision, such as "float32", "f16" or "int8 (QDQ)"."""
    kind = precision.partition(" ")[0].lower()
    return _BOUNDS.get(_SHORT.get(kind, kind), _BOUNDS["float32"])


def check(
    module: ExportedModule, inputs: Mapping[str, Array], expected: Array, precision: str, title: str
) -> Agreement:
    """Compare the answers of a module with those of the runtime.

    Parameters
    ----------
    inputs : name -> (n, ...)
    expected : what the runtime answers, (n, ...)
    precision : in which the runtime computes
    title : the file, for messages

    Raises
    ------
    Disagrees
        The answers are further apart than the precision explains.
    """
    return compare(answers(module, inputs), expected, precision, title)


def compare(found: Array, expected: Array, precision: str, title: str) -> Agreement:
    """Compare answers of a module with those of the runtime, both (n, ...); see `check`."""
    bound = bound_for(precision)
    if found.shape != expected.shape:
        raise Disagrees(
            f"{title}: the graph answers in the shape {found.shape} where the runtime answers in {expected.shape}; "
            "its gradients are not used"
        )
    wanted = expected.astype(np.float64)
    scale = float(np.abs(wanted).max(initial=0.0))
    difference = float(np.abs(found - wanted).max(initial=0.0)) / (scale or 1.0)
    if not difference <= bound:  # NaN is not
        raise Disagrees(
            f"{title}: the graph's answers are off by {difference:.1e} of the largest one, {bound:.0e} is allowed for "
            f"{precision}; its gradients are not used"
        )
    return Agreement(difference, bound)


def answers(module: ExportedModule, inputs: Mapping[str, Array]) -> Array:
    """Return what a module answers, (n, ...) float64, asked in batches of the size that the file fixes."""
    import torch

    n = len(next(iter(inputs.values())))
    fixed = {spec.shape[0] for spec in module.inputs if spec.shape and isinstance(spec.shape[0], int)}
    step = min(fixed) if fixed and min(fixed) > 0 else max(n, 1)
    parts = []
    with torch.no_grad():
        for start in range(0, n, step):
            part = {name: _tensor(value[start : start + step], step) for name, value in inputs.items()}
            made = module(*(part[spec.name] for spec in module.inputs))
            first = made[0] if isinstance(made, tuple) else made
            parts.append(first[: n - start].double().cpu().numpy())
    found: Array = np.concatenate(parts) if parts else np.zeros((0,))
    return found


def _tensor(value: Array, rows: int) -> torch.Tensor:
    """Return records as a tensor; the last batch is filled up with its last record."""
    import torch

    if len(value) < rows:
        value = np.concatenate([value, np.repeat(value[-1:], rows - len(value), axis=0)])
    return torch.from_numpy(np.ascontiguousarray(value))
