"""From requests about layers to what is wanted of each parameter, and back to one array per request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Array, Floats, GradientRequest

Layers = Mapping[str, Sequence[int]]
"""Layer name -> the numbers of its parameters."""


@dataclass(frozen=True)
class Power:
    """What a norm of some order is put together from, of one parameter."""

    parameter: int
    order: float


@dataclass(frozen=True)
class Sketch:
    """The sketch of one parameter, which has a position among those of its layer."""

    parameter: int
    size: int
    position: int


Item = Power | Sketch


def wanted(requests: Sequence[GradientRequest], layers: Layers) -> list[Item]:
    """Return what must be known of each parameter, each once.

    Raises
    ------
    InputError
        There is no such layer, or no such reduction.
    """
    found: dict[Item, None] = {}
    for request in requests:
        if request.reduction == "norm" and request.order not in (1, 2, np.inf):
            raise InputError(f"a gradient norm of order {request.order:g} is not known; choose 1, 2 or inf")
        if request.reduction == "sketch" and request.size < 1:
            raise InputError(f"a gradient sketch of {request.size} numbers is empty; choose a size of 1 or more")
        if request.reduction not in ("norm", "sketch"):
            raise InputError(f"gradients are reduced to 'norm' or 'sketch', not to {request.reduction!r}")
        for column in _columns(request, layers):
            found.update(dict.fromkeys(_items(request, column)))
    return list(found)


def assembled(
    requests: Sequence[GradientRequest], layers: Layers, values: Mapping[Item, Floats], scale: Floats
) -> dict[GradientRequest, Array]:
    """Return one array per request, (b, l) norms or (b, l * size) sketches.

    Parameters
    ----------
    values : of every item that `wanted` returned: (b,) powers, (b, size) sketches
    scale : by which all gradients were divided, (b,)
    """
    found: dict[GradientRequest, Array] = {}
    for request in requests:
        parts = [
            _column(request, [values[item] for item in _items(request, column)], len(scale)) * scale[:, None]
            for column in _columns(request, layers)
        ]
        width = max(1, request.size) if request.reduction == "sketch" else 1
        found[request] = np.concatenate(parts, axis=1) if parts else np.zeros((len(scale), 0 * width))
    return found


def _columns(request: GradientRequest, layers: Layers) -> list[Sequence[int]]:
    """Return the parameters of each column of a request."""
    if not request.layers:
        return [[parameter for several in layers.values() for parameter in several]]
    for name in request.layers:
        if name not in layers:
            raise InputError(f"there is no layer {name!r} to take gradients of; see the layers of the model")
    return [layers[name] for name in request.layers]


def _items(request: GradientRequest, column: Sequence[int]) -> list[Item]:
    if request.reduction == "norm":
        return [Power(parameter, float(request.order)) for parameter in column]
    return [Sketch(parameter, request.size, position) for position, parameter in enumerate(column)]


def _column(request: GradientRequest, values: Sequence[Floats], records: int) -> Floats:
    """Return the column of one layer, (b, 1) or (b, size)."""
    if request.reduction == "sketch":
        return np.sum(values, axis=0) if values else np.zeros((records, request.size))
    if not values:
        return np.zeros((records, 1))
    together: Floats = np.max(values, axis=0) if request.order == np.inf else np.sum(values, axis=0)
    return (np.sqrt(together) if request.order == 2 else together)[:, None]
