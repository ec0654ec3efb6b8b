"""Checks of what a backend gives beyond predictions in the same pass: activations, and what enters the last layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pmcore.interfaces import Array, Floats, Model, Want
from pmcore.testing.backend_case import BackendCase, answers, distance, overrides, rows
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.refusals import require, require_refusal

CLOSE = 1e-4
"""How far numbers in float32 may be from those in float64, relative to the largest."""
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
    want = Want(True, activations=frozenset(names), head_input=_gives_head_input(case, model))
    outputs = model.ask(copies, labels, want)
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
    if want.head_input:
        if outputs.head_input is None:
            raise CheckFailed("ask did not give what enters the last layer, which was wanted")
        values = np.asarray(model.head_input(inputs).values, np.float64)
        off = distance(np.asarray(outputs.head_input.values, np.float64), values)
        require(off <= case.tolerance, f"what enters the last layer is {off:.1e} of the largest off from ask")


def check_known_head_input(case: BackendCase) -> None:
    """Give what enters the last layer of a dense network, record by record, and tell of its bias."""
    network = case.known()
    if not overrides(case.backend, "head_input"):
        raise NotApplicable("the backend does not give what enters the last layer")
    model = case.prepared()
    reason = model.obstacle(Want(predictions=True, head_input=True))
    require(reason is None, f"what enters the last layer of a dense network is refused: {reason}")
    (x,) = (inputs := case.records(model)).values()
    together = model.head_input(inputs)
    expected = network.hidden(x)[-1]
    off = distance(np.asarray(together.values, np.float64), expected)
    require(off <= CLOSE, f"what enters the last layer is {off:.1e} of the largest off; return (b, h)")
    require(together.bias, "the last layer adds a bias, and head_input tells of none")
    alone = np.asarray(model.head_input(rows(inputs, slice(2, 3))).values, np.float64)
    off = distance(alone, np.asarray(together.values, np.float64)[2:3])
    require(off <= 10 * case.tolerance, f"what enters the last layer for one record is {off:.1e} of the largest off")


def _activating(case: BackendCase) -> tuple[Model, list[str]]:
    if not overrides(case.backend, "activations"):
        raise NotApplicable("the backend gives no activations")
    model = case.prepared()
    return model, _names(model)


def _gives_head_input(case: BackendCase, model: Model) -> bool:
    given = overrides(case.backend, "head_input")
    return given and model.obstacle(Want(predictions=True, head_input=True)) is None


def _names(model: Model) -> list[str]:
    return [layer.name for layer in model.layers()][:MOST_LAYERS]


def _wide(activations: Mapping[str, Array]) -> dict[str, Floats]:
    return {name: np.asarray(array, dtype=np.float64) for name, array in activations.items()}
