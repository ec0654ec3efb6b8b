"""Whether a model can be differentiated, and its gradients as they are asked for, compiled when that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pmcore.cotangents import Cotangents
from pmcore.errors import ModelError
from pmcore.intake import Intake
from pmcore.interfaces import Floats, GradientRequest, GradientSource, Inputs, Outputs
from pmcore.quoting import printable
from pmcore_tensorflow.gradients import Question, RecordGradients, compile_gradients
from pmcore_tensorflow.parameters import Parameters
from pmcore_tensorflow.trace import Program


class Differentiation:
    """The gradients of one model; what was compiled is kept until other layers, shapes or predictions are asked for.

    Parameters
    ----------
    parameters : with respect to which they are taken
    precision : in which the model computes
    quantised : a layer whose weights are integers, or None
    """

    def __init__(self, parameters: Parameters, precision: str, quantised: str | None = None) -> None:
        self._parameters = parameters
        self._precision = precision
        self._quantised = quantised
        self._compiled: dict[Any, RecordGradients] = {}
        self.source: GradientSource | None = None

    @property
    def obstacle(self) -> str | None:
        """Return why there are no gradients, in one phrase, or None."""
        if self._quantised is not None:
            return f"layer {printable(self._quantised, 80)!r} is quantised; give the model as it was before that"
        if not self._parameters.variables:
            return "its weights are no variables of TensorFlow; save the model without freezing them"
        return None

    def ask(
        self,
        program: Program,
        intake: Intake,
        tensor: str,
        requests: Sequence[GradientRequest],
        outputs: Outputs,
        inputs: Inputs,
    ) -> Mapping[GradientRequest, Floats]:
        """Return what `Model.gradients` returns.

        Parameters
        ----------
        tensor : the predictions, as the program calls them
        outputs : labels and predictions
        """
        if self.obstacle is not None:
            raise ModelError(f"{intake.path}: gradients cannot be had: {self.obstacle}")
        taken = intake.taken(inputs)
        feeds = {spec.name: taken[spec.name] for spec in program.specs}
        cotangents = Cotangents.of(outputs)
        shapes = tuple(array.shape[1:] for array in feeds.values())
        key = (id(program), tensor, tuple(requests), shapes)
        compiled = self._compiled.get(key)
        if compiled is None:
            question = Question(program, tensor, intake, self._parameters, tuple(requests))
            compiled = compile_gradients(question, feeds, cotangents)
            self._compiled = {key: compiled}
        self.source = GradientSource("framework", compiled.method, self._precision)
        return compiled.answers(feeds, cotangents)
