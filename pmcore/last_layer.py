"""The linear layer that predictions leave: what a backend finds of it in its graph, and reads from the same pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from pmcore.errors import ModelError
from pmcore.heads import Ending
from pmcore.intake import Intake, Runtime
from pmcore.interfaces import Array, HeadInput, Inputs, Outputs
from pmcore.quoting import printable
from pmcore.reading import Reading

WITH_TORCH = "gradients need pip install 'pmcore[whitebox]'"
"""What is left to do where an exported model has no last layer in closed form."""
_LEAVE_OUT = "leave the signal last_layer_gradient_norm out"
_WITHOUT_GRADIENT = ("TreeEnsemble", "SVM")
"""How the names of operators begin that no gradient passes."""
_SHARE = 2e-2
"""How far, relative to the layer's largest output, a bias may differ from record to record by rounding."""


@dataclass(frozen=True)
class LastLayer:
    """A linear layer whose output the predictions are, by the names under which a runtime gives its tensors.

    Parameters
    ----------
    given : what enters it
    made : what leaves it before anything is added, or None where no tensor lies between it and the predictions
    features : numbers that enter it per record
    columns : numbers that leave it per record
    bias : whether a parameter is added to each of them
    """

    given: str
    made: str | None
    features: int
    columns: int
    bias: bool

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return what must be asked for beside the predictions."""
        return (self.given,) if self.made is None else (self.given, self.made)

    def obstacle(self, reading: Reading) -> str | None:
        """Return why predictions that are read this way are not its output as it stands, or None if they are."""
        if reading.columns is None or reading.ending is Ending.COMPLEMENT or reading.columns == self.columns:
            return None
        return (
            f"the predictions are {reading.columns} columns of a linear layer with {self.columns}, "
            "so that its gradient is no product of two vectors"
        )

    def read(self, answers: Mapping[str, Array], scores: Array, path: Path) -> HeadInput:
        """Return what entered the layer.

        Parameters
        ----------
        answers : what the runtime gave for `tensors`
        scores : (b, k) what `Model.predict` returns for the same records

        Raises
        ------
        ModelError
            The tensors are not one row per record, or the predictions are not the layer's output plus a bias.
        """
        values = self._rows(answers[self.given], self.features, len(scores), path)
        if self.made is not None:
            made = self._rows(answers[self.made], self.columns, len(scores), path)
            _check_offset(scores, made, path)
        return HeadInput(values, self.bias)

    def _rows(self, array: Array, width: int, records: int, path: Path) -> Array:
        if array.shape[:1] != (records,) or prod(array.shape[1:]) != width:
            raise ModelError(
                f"{path}: its last linear layer has tensors of shape {list(array.shape)} for {records} records, not "
                f"one row of {width} for each, so that its gradient has no closed form; {_LEAVE_OUT}"
            )
        return array.reshape(records, width)


def not_linear(kind: str, remedy: str = WITH_TORCH) -> str:
    """Return why there is no closed form where the predictions come from an operator of this kind."""
    if kind.startswith(_WITHOUT_GRADIENT):
        return f"the predictions come from {printable(kind)}, which has no gradient"
    return f"the predictions come from {printable(kind)}, not from a linear layer{f'; {remedy}' if remedy else ''}"


def ask_together(
    runtime: Runtime,
    intake: Intake,
    reading: Reading,
    tensors: Mapping[str, str],
    last: LastLayer | None,
    inputs: Inputs,
    labels: Array,
) -> Outputs:
    """Return predictions, activations and what enters the last layer from one pass over the batch.

    Parameters
    ----------
    tensors : layer as it was asked for -> the name by which the runtime gives its output
    last : the last layer, or None where what enters it is not wanted
    """
    names = tuple(dict.fromkeys((reading.tensor, *tensors.values(), *(last.tensors if last else ()))))
    answers = dict(zip(names, intake.ask(runtime, names, inputs), strict=True))
    scores = reading.scores(answers[reading.tensor], len(next(iter(inputs.values()))), intake.path)
    return Outputs(
        task=reading.task,
        scale=reading.scale,
        labels=labels,
        predictions=scores,
        activations={layer: answers[tensor] for layer, tensor in tensors.items()},
        head_input=last.read(answers, scores, intake.path) if last else None,
    )


def ask_head_input(runtime: Runtime, intake: Intake, reading: Reading, last: LastLayer, inputs: Inputs) -> HeadInput:
    """Return what enters the last layer, having seen that the predictions are what leaves it."""
    names = tuple(dict.fromkeys((reading.tensor, *last.tensors)))
    answers = dict(zip(names, intake.ask(runtime, names, inputs), strict=True))
    scores = reading.scores(answers[reading.tensor], len(next(iter(inputs.values()))), intake.path)
    return last.read(answers, scores, intake.path)


def _check_offset(scores: Array, made: Array, path: Path) -> None:
    """Refuse predictions that differ from the layer's output by something else for each record."""
    left = made.astype(np.float64)
    offset = scores.astype(np.float64) - left
    sound = np.isfinite(offset).all(axis=1)
    if not sound.any():
        return
    steady = offset[sound][0]
    slack = _SHARE * np.abs(left[sound]).max() + 1e-5 * np.abs(scores[sound]).max()
    if np.abs(offset[sound] - steady).max() > slack:
        raise ModelError(
            f"{path}: its predictions are not its last linear layer's output as it stands, so that its gradient "
            f"has no closed form; {_LEAVE_OUT}"
        )
