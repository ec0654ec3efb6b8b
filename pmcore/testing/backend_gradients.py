"""Checks of the gradients that a backend gives: norms and sketches, record by record and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from pmcore.dense_gradients import DenseGradient
from pmcore.errors import AuditError
from pmcore.interfaces import Array, Floats, GradientRequest, Inputs, Layer, Model
from pmcore.sketches import parameter_sketch
from pmcore.testing.backend_case import BackendCase, Network, distance, overrides, rows
from pmcore.testing.backend_depth import CLOSE
from pmcore.testing.checking import NotApplicable
from pmcore.testing.refusals import require

SKETCH = 16
"""Numbers per sketch."""


def check_known_gradients(case: BackendCase) -> None:
    """Give gradient norms of a dense network's loss as the closed form has them, record by record."""
    network = case.known()
    model, requests = _gradients(case)
    (x,) = (inputs := case.records(model)).values()
    labels = case.labels(model)
    squares = squared_norms(network, x, labels)
    for request in requests:
        known = squares[:, -1] if request.layers else squares.sum(axis=1)
        found, shape = _norms(model, inputs, labels, request), (len(x), len(request.layers) or 1)
        require(found.shape == shape, f"norms over {shape[1]} layer(s) have shape {found.shape}; return {shape}")
        off = distance(np.sqrt((found**2).sum(axis=1)), np.sqrt(known))
        require(off <= CLOSE, f"norms over {request.layers or 'all parameters'} are {off:.1e} of the largest off")


def check_gradients_per_record(case: BackendCase) -> None:
    """Give a record alone the gradient that it has within a batch."""
    model, requests = _gradients(case)
    inputs, labels = case.records(model), case.labels(model)
    for request in requests:
        together = _norms(model, inputs, labels, request)
        alone = _norms(model, rows(inputs, slice(2, 3)), labels[2:3], request)
        off = distance(alone, together[2:3])
        require(off <= 10 * case.tolerance, f"the gradient of one record alone is {off:.1e} of its norm off")


def check_gradients_by_layer(case: BackendCase) -> None:
    """Give gradient norms by layer whose squares add up to that of all parameters together."""
    model, requests = _gradients(case)
    if requests[0].layers:
        raise NotApplicable("the backend gives no gradient over all parameters")
    layers = tuple(layer.name for layer in model.layers() if layer.parameters)
    if not layers:
        raise NotApplicable("the backend lists no layers with parameters")
    inputs, labels = case.records(model), case.labels(model)
    every = _norms(model, inputs, labels, requests[0])
    single = _norms(model, inputs, labels, GradientRequest(layers=layers))
    require(
        single.shape == (len(labels), len(layers)),
        f"norms of {len(layers)} layers for {len(labels)} records have shape {single.shape}",
    )
    off = distance(np.sqrt((single**2).sum(axis=1)), every[:, 0])
    require(off <= CLOSE, f"norms of the layers add up to {off:.1e} of the largest off that of all parameters")


def check_gradient_orders(case: BackendCase) -> None:
    """Give gradient norms of the orders 1 and inf as the closed form of a dense network has them."""
    network = case.known()
    model, requests = _gradients(case)
    (x,) = (inputs := case.records(model)).values()
    labels = case.labels(model)
    layers = dense_gradients(network, x, labels)
    for request, order in product(requests, (1.0, np.inf)):
        known = layers[-1:] if request.layers else layers
        norms = np.stack([layer.norms(order) for layer in known], axis=1)
        found = _norms(model, inputs, labels, replace(request, order=order))
        off = distance(np.linalg.norm(found, order, axis=1), np.linalg.norm(norms, order, axis=1))
        where = ", ".join(request.layers) or "all parameters"
        require(off <= CLOSE, f"norms of order {order:g} over {where} are {off:.1e} of the largest off")


def check_sketches(case: BackendCase) -> None:
    """Give sketches of the last layer's gradient as `pmcore.sketches` projects it, weight first, then bias."""
    network = case.known()
    model, _ = _gradients(case)
    layers = _last(model, network)
    if not layers:
        raise NotApplicable("the backend lists no layers with parameters")
    (x,) = (inputs := case.records(model)).values()
    labels = case.labels(model)
    request = GradientRequest(tuple(layer.name for layer in layers), reduction="sketch", size=SKETCH)
    found = _norms(model, inputs, labels, request)
    require(
        found.shape == (len(x), len(layers) * SKETCH),
        f"sketches of {SKETCH} numbers of {len(layers)} layer(s) for {len(x)} records have shape {found.shape}",
    )
    known = _expected(dense_gradients(network, x, labels)[-1], len(layers))
    for place, (layer, possible) in enumerate(zip(layers, known, strict=True)):
        given = found[:, place * SKETCH : (place + 1) * SKETCH]
        off = min(distance(given, expected) for expected in possible)
        require(
            off <= CLOSE,
            f"sketches of layer {layer.name} are {off:.1e} of the largest off; give the sum over its parameters of "
            "pmcore.sketches.parameter_sketch(shape, size, position), the weight at position 0, the bias at 1",
        )


def _gradients(case: BackendCase) -> tuple[Model, Sequence[GradientRequest]]:
    """Return a model and what can be asked of it: all parameters, and the last layer that has some.

    Where weight and bias are layers of their own, the last layer is both.
    """
    if not overrides(case.backend, "gradients"):
        raise NotApplicable("the backend gives no gradients")
    model = case.prepared()
    last = tuple(layer.name for layer in _last(model, case.network))
    every, wanted = GradientRequest(), [GradientRequest(layers=last)] if last else []
    inputs, labels = case.records(model, 2), case.labels(model, 2)
    try:
        model.gradients(inputs, labels, [every])
    except AuditError:
        require(bool(wanted), "the backend overrides gradients but gives none over all parameters, and lists no layers")
        return model, wanted
    return model, [every, *wanted]


def _norms(model: Model, inputs: Inputs, labels: Array, request: GradientRequest) -> Floats:
    found = model.gradients({name: np.array(array) for name, array in inputs.items()}, labels, [request])
    require(request in found, "the gradient asked for is not among the answers, which are kept by request")
    norms: Floats = np.asarray(found[request], dtype=np.float64)
    return norms


def squared_norms(network: Network, x: Array, labels: Array) -> Floats:
    """Return squared norms of the gradient of the cross-entropy per layer, weight and bias together, shape (n, l)."""
    result: Floats = np.stack([layer.norms(2.0) ** 2 for layer in dense_gradients(network, x, labels)], axis=1)
    return result


def dense_gradients(network: Network, x: Array, labels: Array) -> list[DenseGradient]:
    """Return the gradient of the cross-entropy of each record with respect to each layer, in closed form."""
    entering = network.hidden(x)
    delta = network.probabilities(x)
    delta[np.arange(len(x)), labels] -= 1.0
    layers = []
    for weight, inside in zip(network.weights[::-1], entering[::-1], strict=True):
        layers.append(DenseGradient(inside, delta))
        delta = (delta @ weight.astype(np.float64).T) * (inside > 0)
    return layers[::-1]


def _last(model: Model, network: Network | None) -> list[Layer]:
    """Return the last layer with parameters; the last two where the last is but the bias of a known network."""
    layers = [layer for layer in model.layers() if layer.parameters]
    apart = network is not None and layers and layers[-1].parameters == network.biases[-1].size
    return layers[-2:] if apart else layers[-1:]


def _expected(last: DenseGradient, layers: int) -> Sequence[Sequence[Floats]]:
    """Return for each of one or two layers what its sketches may be, however weight and bias are kept."""
    weight = [replace(last, transposed=turned, bias=False).sketches(SKETCH) for turned in (False, True)]
    columns = last.errors.shape[1]
    bias = [
        parameter_sketch(shape, SKETCH, 1 if layers == 1 else 0).of_matrices(last.errors.reshape(-1, *shape))
        for shape in ((columns, 1), (1, columns))
    ]
    return [[below + above for below, above in product(weight, bias)]] if layers == 1 else [weight, bias]
