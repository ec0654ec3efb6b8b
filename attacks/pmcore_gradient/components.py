"""What the attack model reads of each record, component by component, each on a scale that can be learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import InputError
from pmcore.evidence import Evidence
from pmcore.outputs import Floats

MOST_CLASSES = 100
"""Classes beyond which labels are no component: one column for each would outnumber the records."""
FURTHEST = 6.0
"""Standard deviations at which a feature is cut off."""


class Kind(StrEnum):
    """What a component holds."""

    LOSS = "loss"
    NORMS = "gradient norms"
    GRADIENT = "gradient"
    ACTIVATIONS = "activations"
    LABEL = "label"


@dataclass(frozen=True, eq=False)
class Component:
    """One input of the attack model; values (n, d)."""

    kind: Kind
    values: Floats

    def standardised(self, known: NDArray[np.bool_]) -> Component:
        """Return the component with mean 0 and deviation 1 over the known records, and cut off far from there.

        Raises
        ------
        InputError
            A value is not finite.
        """
        if not np.isfinite(self.values).all():
            raise InputError(f"nasr: {self.kind}: some values are not finite - check the model's own precision")
        # Scaled before it is squared: numbers near the ends of float64 have a deviation too.
        largest = np.abs(self.values).max(axis=0, initial=0.0)
        unit = self.values / np.where(largest > 0, largest, 1.0)
        mean, deviation = unit[known].mean(axis=0), unit[known].std(axis=0)
        varies = deviation > 1e-12  # less is what rounding leaves of a constant
        scaled = np.where(varies, (unit - mean) / np.where(varies, deviation, 1.0), 0.0)
        return Component(self.kind, np.clip(scaled, -FURTHEST, FURTHEST))


def loss_component(loss: Floats, of_references: Floats | None = None) -> Component:
    """Return losses and their logarithms, (n, 2), and how far these lie above the references' mean, (n, 4).

    Members differ from each other in the digits of losses near 0, others by the loss itself.

    Parameters
    ----------
    loss : (n,)
    of_references : (r, n)
    """
    columns = [loss[:, None], _log(loss)[:, None]]
    if of_references is not None:
        columns += [(loss - of_references.mean(axis=0))[:, None]]
        columns += [(_log(loss) - _log(of_references).mean(axis=0))[:, None]]
    return Component(Kind.LOSS, np.hstack(columns))


def norms_component(norms: Floats, of_references: Floats | None = None) -> Component:
    """Return log norms of layers, (n, l), and how far these lie above the references' mean, (n, 2 * l).

    Parameters
    ----------
    norms : (n, l)
    of_references : (r, n, l)
    """
    columns = [_log(norms)]
    if of_references is not None:
        if of_references.shape[2] != norms.shape[1]:
            several = f"{of_references.shape[2]} layers with parameters, and the model has {norms.shape[1]}"
            raise InputError(f"nasr: calibrate: references - the references have {several}; give some of its kind")
        columns.append(_log(norms) - _log(of_references).mean(axis=0))
    return Component(Kind.NORMS, np.hstack(columns))


def gradient_components(sketches: Floats, size: int) -> tuple[Component, ...]:
    """Return the direction of each layer's gradient sketch, (n, l * size): its length stands in the norms."""
    return tuple(Component(Kind.GRADIENT, _directions(layer)) for layer in _by_layer(sketches, size))


def activation_components(sketches: Floats, size: int) -> tuple[Component, ...]:
    """Return the sketch of what each layer puts out, (n, l * size)."""
    return tuple(Component(Kind.ACTIVATIONS, layer) for layer in _by_layer(sketches, size))


def label_components(evidence: Evidence) -> tuple[Component, ...]:
    """Return labels, one column per class or label, (n, k); none for regressions and for very many classes."""
    labels = evidence.labels
    if labels.dtype.kind not in "iub":
        return ()
    if labels.ndim == 1:
        if evidence.classes > MOST_CLASSES:
            return ()
        labels = labels[:, None] == np.arange(evidence.classes)
    return (Component(Kind.LABEL, labels.astype(np.float64)),) if labels.shape[1] <= MOST_CLASSES else ()


def joined(components: Sequence[Component]) -> Floats:
    """Return all components side by side, (n, d)."""
    return np.hstack([component.values for component in components])


def _by_layer(sketches: Floats, size: int) -> Sequence[Floats]:
    return [sketches[:, start : start + size] for start in range(0, sketches.shape[1], size)]


def _directions(rows: Floats) -> Floats:
    """Return rows of length 1, (n, size); scaled before they are squared, for the smallest gradients too."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    unit = rows / np.where(largest > 0, largest, 1.0)
    lengths = np.sqrt(np.square(unit).sum(axis=1, keepdims=True))
    directions: Floats = unit / np.where(lengths > 0, lengths, 1.0)
    return directions


def _log(values: Floats) -> Floats:
    """Return logarithms; of 0 that of the smallest positive number."""
    logs: Floats = np.log(np.maximum(values, np.finfo(np.float64).smallest_subnormal))
    return logs
