"""Checks of what a backend gives beyond predictions: activations, gradients, several wishes in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pmcore.errors import AuditError
from pmcore.interfaces import Array, Floats, GradientRequest, Inputs, Model, Want
from pmcore.testing.backend_case import BackendCase, Network, answers, distance, overrides, rows
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.refusals import require, require_refusal

CLOSE = 1e-4
"""How far norms of float32 gradients may be from those in float64, relative to the largest."""
MOST_LAYERS = 40


def check_activations(case: BackendCase) -> None:
    """Give activations under the names asked for, the records along their first axis."""
    model, names = _activating(case)
    found = model.activations(case.records(model, 5), names)
    require(set(found) == set(names), f"asked for {', '.join(names)}, got {', '.join(found)}")
    for name, array in found.items():
        require(
            isinstance(array, np.ndarray) and array.ndim >= 1 and len(array) == 5,
            f"activations of {name} for 5 records have shape {np.shape(array)}; return (5, ...)",
        )


def check_activations_per_record(case: BackendCase) -> None:
    """Give a record alone the activations that it has within a batch."""
    model, names = _activating(case)
    inputs = case.records(model)
    together = _wide(model.activations(inputs, names))
    alone = _wide(model.activations(rows(inputs, slice(2, 3)), names))
    for name in names:
        off = distance(alone[name], together[name][2:3])
        require(off <= 10 * case.tolerance, f"activations of {name} for one record are {off:.1e} of the largest off")


def check_known_activations(case: BackendCase) -> None:
    """Give the hidden values of a dense network that plain numpy computes."""
    network = case.known()
    model, names = _activating(case)
    (x,) = (inputs := case.records(model)).values()
    found = [array for array in _wide(model.activations(inputs, names)).values() if len(array) == len(x)]
    for depth, expected in enumerate(network.hidden(x)[1:], start=1):
        off = min((distance(array.reshape(len(x), -1), expected) for array in found), default=float("inf"))
        require(off <= CLOSE, f"no layer gives the output of ReLU {depth}; the nearest is {off:.1e} of the largest off")


def check_unknown_layer(case: BackendCase) -> None:
    """Refuse a layer that the model does not have in one line that names it."""
    model, _ = _activating(case)
    name = "no-such-layer"
    require_refusal(
        lambda: model.activations(case.records(model), [name]), f"activations of layer {name!r}", naming=name
    )


def check_one_pass(case: BackendCase) -> None:
    """Answer several wishes in one pass as each alone."""
    model = case.prepared()
    inputs, labels = case.records(model), case.labels(model)
    names = _names(model)[:3] if overrides(case.backend, "activations") else []
    copies = {name: np.array(array) for name, array in inputs.items()}
    outputs = model.ask(copies, labels, Want(predictions=True, activations=frozenset(names)))
    if outputs.predictions is None:
        raise CheckFailed("ask gave no predictions, which were wanted")
    off = distance(np.asarray(outputs.predictions, np.float64), answers(model, inputs))
    require(off <= case.tolerance, f"predictions from ask are {off:.1e} of the largest off those from predict")
    description = model.describe()
    require(
        (outputs.task, outputs.scale) == (description.task, description.scale),
        f"ask tells {outputs.task}, {outputs.scale}; the description {description.task}, {description.scale}",
    )
    require(np.array_equal(outputs.labels, labels), "ask did not pass the labels on as they were")
    require(set(outputs.activations) == set(names), f"ask gave activations of {', '.join(outputs.activations)}")
    for name, expected in _wide(model.activations(inputs, names) if names else {}).items():
        off = distance(np.asarray(outputs.activations[name], np.float64), expected)
        require(off <= case.tolerance, f"activations of {name} from ask are {off:.1e} of the largest off")


def check_known_gradients(case: BackendCase) -> None:
    """Give gradient norms of a dense network's loss as the closed form has them, record by record."""
    network = case.known()
    model, requests = _gradients(case)
    (x,) = (inputs := case.records(model)).values()
    labels = case.labels(model)
    squares = squared_norms(network, x, labels)
    for request in requests:
        known = squares[:, -1] if request.layers else squares.sum(axis=1)
        found = _norms(model, inputs, labels, request)
        require(found.shape == (len(x), 1), f"norms of one request have shape {found.shape}; return ({len(x)}, 1)")
        off = distance(found[:, 0], np.sqrt(known))
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


def _activating(case: BackendCase) -> tuple[Model, list[str]]:
    if not overrides(case.backend, "activations"):
        raise NotApplicable("the backend gives no activations")
    model = case.prepared()
    return model, _names(model)


def _names(model: Model) -> list[str]:
    return [layer.name for layer in model.layers()][:MOST_LAYERS]


def _wide(activations: Mapping[str, Array]) -> dict[str, Floats]:
    return {name: np.asarray(array, dtype=np.float64) for name, array in activations.items()}


def _gradients(case: BackendCase) -> tuple[Model, Sequence[GradientRequest]]:
    """Return a model and what can be asked of it: all parameters, and the last layer that has some."""
    if not overrides(case.backend, "gradients"):
        raise NotApplicable("the backend gives no gradients")
    model = case.prepared()
    last = [layer.name for layer in model.layers() if layer.parameters][-1:]
    every, wanted = GradientRequest(), [GradientRequest(layers=(name,)) for name in last]
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
    entering = network.hidden(x)
    delta = network.probabilities(x)
    delta[np.arange(len(x)), labels] -= 1.0
    squares = []
    for weight, inside in zip(network.weights[::-1], entering[::-1], strict=True):
        squares.append((delta**2).sum(axis=1) * ((inside**2).sum(axis=1) + 1.0))
        delta = (delta @ weight.astype(np.float64).T) * (inside > 0)
    result: Floats = np.stack(squares[::-1], axis=1)
    return result
