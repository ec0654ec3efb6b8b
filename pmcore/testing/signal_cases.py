"""Answers of models on which a signal is tried: every task, logits and probabilities, and no more than it wants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmcore.interfaces import Signal
from pmcore.outputs import Array, Floats, GradientRequest, Outputs, Scale, Task, Want
from pmcore.testing.attack_runs import pristine
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.evidence_outputs import probabilities_of, simulate_labels, simulate_outputs
from pmcore.testing.evidence_signals import TASKS
from pmcore.testing.evidence_watched import WatchedArrays
from pmcore.testing.evidence_worlds import LEAK

RECORDS = 200


@dataclass(frozen=True)
class Form:
    """A task head and how its answers look."""

    task: Task
    scale: Scale
    one_column: bool = False

    def __str__(self) -> str:
        columns = {True: ", one column", False: ", two columns"}[self.one_column] if self.task is Task.BINARY else ""
        return f"{self.task} ({self.scale}{columns})"


FORMS = (
    Form(Task.MULTICLASS, Scale.LOGITS),
    Form(Task.MULTICLASS, Scale.PROBABILITIES),
    Form(Task.BINARY, Scale.LOGITS),
    Form(Task.BINARY, Scale.LOGITS, one_column=True),
    Form(Task.BINARY, Scale.PROBABILITIES),
    Form(Task.BINARY, Scale.PROBABILITIES, one_column=True),
    Form(Task.MULTILABEL, Scale.LOGITS),
    Form(Task.MULTILABEL, Scale.PROBABILITIES),
    Form(Task.REGRESSION, Scale.VALUES),
)


def forms_of(signal: Signal) -> tuple[Form, ...]:
    """Return the forms of answers for which a signal says that it is defined."""
    return tuple(form for form in FORMS if form.task in signal.tasks)


def first_form(signal: Signal) -> Form:
    """Return the form on which all that is said of any form is tried.

    Raises
    ------
    CheckFailed
        The signal declares no task.
    """
    for task in TASKS:
        for form in forms_of(signal):
            if form.task is task:
                return form
    raise CheckFailed("`tasks` names no task; say for which the signal is defined")


@dataclass(frozen=True, eq=False)
class Case:
    """Answers about some records, half of which are members.

    Parameters
    ----------
    outputs : with what the signal wants and nothing else; never handed out itself, see `fresh`
    truth : (n,) bool
    """

    outputs: Outputs
    truth: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, records: NDArray[np.intp] | slice) -> Case:
        """Return the case of these records."""
        outputs, head = self.outputs, self.outputs.head_input
        return Case(
            Outputs(
                task=outputs.task,
                scale=outputs.scale,
                labels=outputs.labels[records],
                predictions=None if outputs.predictions is None else outputs.predictions[records],
                activations={name: array[records] for name, array in outputs.activations.items()},
                gradients={request: array[records] for request, array in outputs.gradients.items()},
                head_input=None if head is None else replace(head, values=head.values[records]),
            ),
            self.truth[records],
        )

    def with_predictions(self, predictions: Array, scale: Scale | None = None) -> Case:
        """Return the case with other predictions."""
        outputs = self.outputs
        return Case(replace(outputs, predictions=predictions, scale=scale or outputs.scale), self.truth)

    def fresh(self, *, read_only: bool = False) -> WatchedOutputs:
        """Return outputs with arrays of their own and nothing derived yet."""

        def own(array: Array) -> Array:
            copy = np.array(array)
            copy.flags.writeable = not read_only
            return copy

        outputs, head = self.outputs, self.outputs.head_input
        return WatchedOutputs(
            task=outputs.task,
            scale=outputs.scale,
            labels=own(outputs.labels),
            predictions=None if outputs.predictions is None else own(outputs.predictions),
            activations=WatchedArrays({name: own(array) for name, array in outputs.activations.items()}),
            gradients=WatchedArrays({request: own(array) for request, array in outputs.gradients.items()}),
            head_input=None if head is None else replace(head, values=own(head.values)),
        )


@dataclass(frozen=True)
class WatchedOutputs(Outputs):
    """Outputs that remember which of their attributes were read; their mappings remember which keys were."""

    touched: set[str] = field(default_factory=set)

    def __getattribute__(self, name: str) -> Any:
        touched = object.__getattribute__(self, "__dict__").get("touched")
        if touched is not None:
            touched.add(name)
        return object.__getattribute__(self, name)

    @property
    def asked(self) -> set[object]:
        """Return every layer and gradient request that was read."""
        mappings = (self.activations, self.gradients)
        return {key for mapping in mappings if isinstance(mapping, WatchedArrays) for key in mapping.asked}


def make_case(
    signal: Signal,
    form: Form,
    *,
    n: int = RECORDS,
    leak: float = LEAK,
    sharpness: float = 1.0,
    classes: int | None = None,
    dtype: type[np.floating[Any]] = np.float32,
    more: Want | None = None,
) -> Case:
    """Return answers in a form, of the type of a model's numbers, with what the signal wants.

    Parameters
    ----------
    leak : how much further members are from the other classes
    sharpness : factor on the logits
    classes : of a multi-class model
    more : what another signal wants of the same answers
    """
    rng = np.random.default_rng(11)
    truth = np.arange(n) % 2 == 0
    several = classes if form.task is Task.MULTICLASS else None
    labels = simulate_labels(rng, form.task, n) if several is None else rng.integers(0, several, n)
    margins = rng.normal(1.0, 0.5, n) + leak * truth
    want = signal.want | (more or Want())
    outputs = simulate_outputs(rng, form.task, labels, margins, want, sharpness, several)
    assert outputs.predictions is not None
    predictions = in_form(outputs.predictions.astype(dtype).astype(np.float64), form).astype(dtype)
    return Case(
        Outputs(
            task=form.task,
            scale=form.scale,
            labels=labels,
            predictions=predictions if want.predictions else None,
            activations=outputs.activations,
            gradients=outputs.gradients,
            head_input=outputs.head_input,
        ),
        truth,
    )


def in_form(logits: Floats, form: Form) -> Floats:
    """Return two or more columns of logits, or values, as answers of a form."""
    if form.task is Task.BINARY and form.one_column:
        if form.scale is Scale.PROBABILITIES:
            return probabilities_of(logits, form.task)[:, 1:]
        one: Floats = logits[:, 1:] - logits[:, :1]
        return one
    return probabilities_of(logits, form.task) if form.scale is Scale.PROBABILITIES else logits


def values_of(signal: Signal, case: Case, *, same: bool = False) -> Floats:
    """Return what a pristine copy of a signal computes, shape (n, d), whatever else is wrong with it.

    Parameters
    ----------
    same : take this very instance
    """
    found: object = (signal if same else pristine(signal)).compute(case.fresh())
    try:
        values: Floats = np.asarray(found, dtype=np.float64).reshape(len(case), -1)
    except (TypeError, ValueError):
        raise CheckFailed(
            f"compute gave {shape_text(found)} for {len(case)} records; return float64 of shape (n,) or (n, d)"
        ) from None
    return values


def shape_text(value: object) -> str:
    """Return what something is, in words of a message."""
    return f"shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def reads_scores(signal: Signal) -> None:
    """Require that a signal reads predictions.

    Raises
    ------
    NotApplicable
        It reads none, or of a regression alone.
    """
    if not signal.want.predictions:
        raise NotApplicable("it reads no predictions")
    if all(form.task is Task.REGRESSION for form in forms_of(signal)):
        raise NotApplicable("it is defined for regression alone")


EVERYTHING = Want(
    predictions=True,
    activations=frozenset({"pmcore-test-layer"}),
    gradients=frozenset({GradientRequest(order=1.0), GradientRequest(reduction="sketch", size=4)}),
    head_input=True,
)
"""What other signals may want of the same answers."""
