"""How a backend asks its runtime: a first look at a few records, then one pass for several wishes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pmcore.errors import AuditError, InputError
from pmcore.heads import Head, rows
from pmcore.intake import Intake, Runtime
from pmcore.interfaces import Array, Inputs, Outputs, Task
from pmcore.reading import Reading, settle

T = TypeVar("T")

SAMPLE = 32
"""Records that are looked at before the first query."""


def few(sample: Inputs, most: int = SAMPLE) -> dict[str, Array]:
    """Return the first records of a sample; nothing if it has none."""
    some = {name: array[:most] for name, array in sample.items()}
    return some if min(map(len, some.values()), default=0) else {}


def still_open(runtime: T | None, path: Path) -> T:
    """Return what answers for a model, which is None once that was closed.

    Raises
    ------
    AuditError
        It was closed.
    """
    if runtime is None:
        raise AuditError(f"{path}: was closed; load the model again")
    return runtime


def first_look(
    runtime: Runtime, intake: Intake, head: Head, sample: Inputs, asked: Task | None, *, coarse: bool = False
) -> Reading:
    """Ask about a few records, and settle how predictions are read.

    Parameters
    ----------
    asked : the task that the options name
    coarse : whether the model computes in half precision, whatever the type of its answers
    """
    answers = intake.ask(runtime, head.tensors, sample)
    records = _count(sample)
    output = rows(answers[-1], records, head.output, intake.path)
    before = None
    if head.before is not None:
        try:
            before = rows(answers[0], records, head.before, intake.path)
        except InputError:  # an activation over another axis than the classes: the output is read
            before = None
    return settle(head, before, output, asked, intake.path, coarse=coarse)


def predictions(runtime: Runtime, intake: Intake, reading: Reading, inputs: Inputs) -> Array:
    """Return what `Model.predict` returns, (b, k)."""
    (answer,) = intake.ask(runtime, (reading.tensor,), inputs)
    return reading.scores(answer, _count(inputs), intake.path)


def activations(runtime: Runtime, intake: Intake, tensors: Mapping[str, str], inputs: Inputs) -> dict[str, Array]:
    """Return what `Model.activations` returns.

    Parameters
    ----------
    tensors : layer as it was asked for -> the name by which the runtime gives its output
    """
    names = tuple(dict.fromkeys(tensors.values()))
    answers = dict(zip(names, intake.ask(runtime, names, inputs), strict=True)) if names else {}
    return {layer: answers[tensor] for layer, tensor in tensors.items()}


def together(
    runtime: Runtime, intake: Intake, reading: Reading, tensors: Mapping[str, str], inputs: Inputs, labels: Array
) -> Outputs:
    """Return predictions and activations (see `activations`) from one pass over the batch."""
    names = tuple(dict.fromkeys((reading.tensor, *tensors.values())))
    answers = dict(zip(names, intake.ask(runtime, names, inputs), strict=True))
    return Outputs(
        task=reading.task,
        scale=reading.scale,
        labels=labels,
        predictions=reading.scores(answers[reading.tensor], _count(inputs), intake.path),
        activations={layer: answers[tensor] for layer, tensor in tensors.items()},
    )


def _count(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))
