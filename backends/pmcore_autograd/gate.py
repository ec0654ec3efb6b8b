"""The gate before gradients: a graph that does not answer as the runtime does has the gradients of something else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pmcore.errors import ModelError
from pmcore.interfaces import Array, Floats, Scale, Task
from pmcore.numerals import count

if TYPE_CHECKING:
    import torch

    from pmcore_autograd.module import ExportedModule

_BOUNDS = {"float32": 1e-4, "float64": 1e-4, "float16": 1e-2, "bfloat16": 5e-2, "int8": 0.15}
"""Precision of the runtime -> how far answers may be apart, as a share of how far those of a record are.

One number that is rounded the other way moves all behind it: ONNX Runtime with and without its own optimiser was seen
to be 0.1 from itself on a quantised MobileNet.
"""
_SHORT = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16"}
_SHORT |= dict.fromkeys(("i8", "u8", "uint8", "i4", "u4", "int4", "uint4"), "int8")
_FINE = frozenset({"float32", "float64"})
_OWN = 0.04
"""Share of an answer's own size that counts where nothing rounds coarsely: 32 roundings at the bound of float32."""
_FEW, _FAR = 0.1, 4.0
"""Where something does, this share of the records may be off by up to so many times the bound: of a quantised ViT and
a quantised MobileNet 1 in 100 was off by more than the bound, none by 1.2 times as much.
"""
_FURTHEST = 8.0
"""Times the median distance up to which a distance counts: a huge answer that says nothing must not hide the others."""
_ALIKE = 1e-5
"""Distances that are smaller than this share of the answers are rounding: the sample is of records answered alike."""
_SAMPLE = 32


class Disagrees(ModelError):
    """The graph does not answer as the runtime does."""


@dataclass(frozen=True)
class Agreement:
    """How well a graph answers as its runtime does.

    Parameters
    ----------
    difference : the largest between any two answers, as a share of how far answers are apart; see `Gate`
    bound : up to which gradients are used
    """

    difference: float
    bound: float


class Gate:
    """Holds the answers of a graph against those of its runtime, batch by batch.

    Parameters
    ----------
    sample : (m, k) what the runtime answers about some records, from which is seen how far apart answers usually are
    precision : in which the runtime computes
    title : the file, for messages
    task, scale : what the answers are
    rounds : whether the graph itself rounds to few numbers, whatever its runtime computes in

    Notes
    -----
    A difference is told as a share of how far the record's answers are apart: of the largest distance of one from their
    median where only differences between classes count, so that what is common to all hides nothing; else from 0. No
    distance counts for less than is usual for a record, so that answers near 0 may be rounded, nor for more than eight
    times the median of all distances, so that neither a huge constant in a column nor a record with huge answers hides
    anything; of an answer's own size so much is added as rounding explains. Values of a regression have units of their
    own, and are measured column by column, from the median of each. What rounds coarsely jumps now and then: a tenth of
    the records may be off by up to four times the bound.
    """

    def __init__(
        self,
        sample: Floats,
        precision: str,
        title: str,
        *,
        task: Task = Task.MULTICLASS,
        scale: Scale = Scale.LOGITS,
        rounds: bool = False,
    ) -> None:
        kind = "int8" if rounds else _kind(precision)
        self.bound = _BOUNDS[kind]
        self.difference = 0.0
        self._held = self._over = 0
        self._few, self._far = (0.0, self.bound) if kind in _FINE else (_FEW, _FAR * self.bound)
        self._precision = precision if kind == _kind(precision) else f"{precision} with rounding"
        self._title = title
        self._own = _OWN if kind in _FINE and scale is not Scale.PROBABILITIES else 1.0
        self._alone = task is Task.REGRESSION or sample.shape[1] == 1
        self._relative = not self._alone and scale is Scale.LOGITS and task in (Task.MULTICLASS, Task.BINARY)
        self._furthest = np.inf
        self._centre: Floats = np.zeros((1, sample.shape[1]))
        if self._alone:
            centre = np.median(sample, axis=0, keepdims=True)
            varies = np.abs(sample - centre).max(axis=0) > _ALIKE * np.abs(centre)
            self._centre = np.where(varies, centre, 0.0)
        else:
            self._furthest = _FURTHEST * _median(self._distances(sample))
        self._usual: Floats = np.median(self._spread(sample), axis=0, keepdims=True)

    @property
    def agreement(self) -> Agreement:
        """Return the agreement over all that was compared."""
        return Agreement(self.difference, self.bound)

    def hold(self, found: Array, expected: Array) -> None:
        """Compare answers of the graph with those of the runtime about the same records, both (b, k).

        Raises
        ------
        Disagrees
            They are further apart than the precision explains.
        """
        wanted = np.asarray(expected, dtype=np.float64)
        if found.shape != wanted.shape:
            raise Disagrees(
                f"{self._title}: the graph answers in the shape {found.shape} where the runtime answers in "
                f"{wanted.shape}; its gradients are not used"
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(found - wanted)
            shares = off / (np.maximum(self._spread(wanted), self._usual) + self._own * np.abs(wanted))
        shares[off == 0] = 0.0
        worst = shares.max(axis=1, initial=0.0)
        wrong = int((~(worst <= self.bound)).sum())  # NaN is not
        self._held, self._over = self._held + len(worst), self._over + wrong
        if self._over > self._few * self._held or not (worst <= self._far).all():
            raise Disagrees(
                f"{self._title}: the graph's answers about {count(wrong)} of {count(len(worst))} records are off by up "
                f"to {worst.max():.1e} of how far answers are apart, {self.bound:.2g} is allowed for "
                f"{self._precision}; its gradients are not used - signals that need none still work"
            )
        self.difference = max(self.difference, float(worst.max(initial=0.0)))

    def _distances(self, answers: Floats) -> Floats:
        """Return how far answers are from where they are measured from, (b, k)."""
        apart = answers - self._centre
        if self._relative:
            apart = apart - np.median(apart, axis=1, keepdims=True)
        found: Floats = np.abs(apart)
        return found

    def _spread(self, answers: Floats) -> Floats:
        """Return how far the answers of each record are apart, (b, 1); of each column by itself (b, k)."""
        distances = self._distances(answers)
        largest = distances if self._alone else distances.max(axis=1, keepdims=True, initial=0.0)
        found: Floats = np.minimum(largest, self._furthest)
        return found


def bound_for(precision: str) -> float:
    """Return how far answers may be apart in a runtime's precision, such as "float32", "f16" or "int8 (QDQ)"."""
    return _BOUNDS[_kind(precision)]


def check(
    module: ExportedModule, inputs: Mapping[str, Array], expected: Array, precision: str, title: str
) -> Agreement:
    """Compare the answers of a module with those of the runtime, scores of classes, about all records at once.

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
    wanted = np.asarray(expected, dtype=np.float64).reshape(len(expected), -1)
    gate = Gate(wanted[:_SAMPLE], precision, title)
    gate.hold(answers(module, inputs), wanted)
    return gate.agreement


def answers(module: ExportedModule, inputs: Mapping[str, Array]) -> Floats:
    """Return what a module answers, (n, k) float64, asked in batches of the size that the file fixes."""
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
    found: Floats = np.concatenate(parts).reshape(n, -1) if parts else np.zeros((0, 0))
    return found


def _median(distances: Floats) -> float:
    """Return the median of the distances that are not 0, the lower one of two, or 0."""
    some = np.sort(distances[distances > 0])
    return float(some[(len(some) - 1) // 2]) if len(some) else 0.0


def _kind(precision: str) -> str:
    """Return the coarsest of the types that a precision names, such as "float32 with int8"; float32 where none."""
    words = re.findall(r"\w+", precision.lower())
    found = [kind for kind in (_SHORT.get(word, word) for word in words) if kind in _BOUNDS]
    return max(found, key=lambda kind: _BOUNDS[kind], default="float32")


def _tensor(value: Array, rows: int) -> torch.Tensor:
    """Return records as a tensor; the last batch is filled up with its last record."""
    import torch

    if len(value) < rows:
        value = np.concatenate([value, np.repeat(value[-1:], rows - len(value), axis=0)])
    return torch.from_numpy(np.ascontiguousarray(value))
