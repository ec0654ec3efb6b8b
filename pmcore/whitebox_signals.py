"""The built-in signals that look into a model: gradients by the parameters, and hidden activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pmcore.errors import AuditError, InputError
from pmcore.interfaces import ALL_TASKS, Access, Array, Direction, Floats, GradientRequest, Outputs, Signal, Task, Want
from pmcore.layers import LAST
from pmcore.sketches import activation_sketch

ORDERS = (1.0, 2.0, np.inf)
LARGEST_SKETCH = 65_536
"""Numbers per sketch: more than any attack model learns from."""


@dataclass(frozen=True)
class GradientNorm(Signal):
    """The norm of the gradient of a record's loss with respect to the parameters: small for what was learned.

    ``|| d loss / d theta ||``, over all parameters together, or over those of each layer that is named.

    Parameters
    ----------
    layers : names or indices of layers, "last" for the last one with parameters, "*" for each one with parameters;
        none for all parameters together
    order : of the norm: 1, 2 or inf

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019 (section III).
    """

    access: ClassVar[Access] = Access.GRADIENTS
    direction: ClassVar[Direction] = Direction.LOWER
    tasks: ClassVar[frozenset[Task]] = ALL_TASKS

    layers: tuple[str, ...] = ()
    order: float = 2.0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"gradient_norm: order: {self.order:g} - give 1, 2 or inf")

    @property
    def want(self) -> Want:
        """Return the one norm that is asked of the model."""
        return Want(gradients=frozenset({self._request}))

    def compute(self, outputs: Outputs) -> Floats:
        """Return norms, shape (n,) over all parameters, (n, l) over l layers."""
        norms = np.asarray(outputs.gradients[self._request], dtype=np.float64)
        return norms if self.layers else norms[:, 0]

    @property
    def _request(self) -> GradientRequest:
        return GradientRequest(self.layers, order=float(self.order))


@dataclass(frozen=True)
class GradientSketch(Signal):
    """A seeded random projection of the gradient of a record's loss, for attacks that learn to read it.

    s_b = sum over the parameters i in bucket b of sign_i * d loss / d theta_i, with buckets and signs drawn once; inner
    products and norms are kept on average.

    Parameters
    ----------
    layers : names or indices of layers, "last" for the last one with parameters, "*" for each one with parameters
    size : numbers per layer

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019 (section III), which keep the
    gradient whole.
    Pham, Pagh. Fast and Scalable Polynomial Kernels via Explicit Feature Maps. KDD 2013 (the projection).
    """

    access: ClassVar[Access] = Access.GRADIENTS
    direction: ClassVar[Direction] = Direction.NEITHER
    tasks: ClassVar[frozenset[Task]] = ALL_TASKS

    layers: tuple[str, ...] = (LAST,)
    size: int = 64

    def __post_init__(self) -> None:
        _check_size("gradient_sketch", self.size)
        if not self.layers:
            raise InputError("gradient_sketch: layers: none named - name some, or '*' for each with parameters")

    @property
    def want(self) -> Want:
        """Return the one sketch that is asked of the model."""
        return Want(gradients=frozenset({self._request}))

    def compute(self, outputs: Outputs) -> Floats:
        """Return sketches, shape (n, l * size)."""
        return np.asarray(outputs.gradients[self._request], dtype=np.float64)

    @property
    def _request(self) -> GradientRequest:
        return GradientRequest(self.layers, reduction="sketch", size=self.size)


class LastLayerGradientNorm(Signal):
    """The norm of the gradient of a record's loss with respect to the last linear layer, in closed form.

    ``|| g || * sqrt(|| h ||^2 + 1)`` with g the gradient of the loss at the predictions, which is softmax(z) - e_y for
    a classifier, h what enters the layer, and 1 for its bias, where it has one. Exact, and no more than one forward
    pass: it needs no framework that differentiates.

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019 (last-layer gradients).
    Goodfellow. Efficient Per-Example Gradient Computations. 2015 (section 5, norms of outer products).
    """

    access: ClassVar[Access] = Access.ACTIVATIONS
    direction: ClassVar[Direction] = Direction.LOWER
    tasks: ClassVar[frozenset[Task]] = ALL_TASKS

    @property
    def want(self) -> Want:
        """Return the predictions, and what enters the layer that they leave."""
        return Want(predictions=True, head_input=True)

    def compute(self, outputs: Outputs) -> Floats:
        """Return norms, shape (n,)."""
        head = outputs.head_input
        if head is None:
            raise AuditError("last_layer_gradient_norm reads the input of the last layer, which was not asked for")
        inside = _sums_of_squares(head.values.reshape(len(outputs), -1)) + float(head.bias)
        # Scaled before it is squared: the gradients of very confident records are smaller than float64 can square.
        gradient = outputs.loss_gradient
        largest = np.abs(gradient).max(axis=1)
        unit = gradient / np.where(largest > 0, largest, 1.0)[:, None]
        norms: Floats = largest * np.sqrt(_sums_of_squares(unit) * inside)
        return norms


@dataclass(frozen=True)
class Activations(Signal):
    """What chosen layers put out, projected to few numbers, for attacks that learn to read it.

    s_b = sum over the units i in bucket b of sign_i * h_i, with buckets and signs drawn once.

    Parameters
    ----------
    layers : names or indices of layers, or "last" for the last one with parameters
    size : numbers per layer; a layer with more is projected at random (count sketch), one with fewer is padded by 0
    pooled : whether each channel of an image or token sequence, (n, c, ...), is averaged before

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019 (section III).
    """

    access: ClassVar[Access] = Access.ACTIVATIONS
    direction: ClassVar[Direction] = Direction.NEITHER
    tasks: ClassVar[frozenset[Task]] = ALL_TASKS

    layers: tuple[str, ...] = (LAST,)
    size: int = 64
    pooled: bool = False

    def __post_init__(self) -> None:
        _check_size("activations", self.size)
        if not self.layers:
            raise InputError("activations: layers: none named - name some, by name or index")

    @property
    def want(self) -> Want:
        """Return the outputs of the layers."""
        return Want(activations=frozenset(self.layers))

    def compute(self, outputs: Outputs) -> Floats:
        """Return projected activations, shape (n, l * size)."""
        return np.hstack([self._projected(outputs, layer) for layer in self.layers])

    def _projected(self, outputs: Outputs, layer: str) -> Floats:
        values = outputs.activations[layer]
        if len(values) != len(outputs):
            raise AuditError(
                f"layer {layer!r} gives {len(values)} rows for {len(outputs)} records; choose one with a row per record"
            )
        if self.pooled and values.ndim > 2:
            values = values.astype(np.float64).mean(axis=tuple(range(2, values.ndim)))
        return activation_sketch(values, self.size)


def _sums_of_squares(rows: Array) -> Floats:
    """Return the squared norm of every row, (n, d) -> (n,): each added up in the same order whatever n is."""
    squared: Floats = np.square(np.ascontiguousarray(rows, dtype=np.float64)).sum(axis=1)
    return squared


def _check_size(signal: str, size: int) -> None:
    if not 1 <= size <= LARGEST_SKETCH:
        raise InputError(f"{signal}: size: {size} - give a number from 1 to {LARGEST_SKETCH}")
