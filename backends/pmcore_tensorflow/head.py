"""How a traced model ends: back from an output to the activation that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmcore.choosing import Candidate, choose_output, labels_alone, no_scores, no_such_output
from pmcore.heads import Ending, Head
from pmcore.intake import Shape

_PASS = frozenset({"Identity", "IdentityN", "Cast", "Squeeze", "ExpandDims", "Reshape", "StopGradient", "EnsureShape"})
_ENDINGS: Mapping[str, Ending] = {
    "Softmax": Ending.SOFTMAX,
    "LogSoftmax": Ending.LOG_SOFTMAX,
    "Sigmoid": Ending.SIGMOID,
}
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


@dataclass(frozen=True)
class Origin:
    """What a tensor of a graph comes from.

    Parameters
    ----------
    before : the tensor before the activation, or None
    ending : the activation
    inside : whether the tensor comes out of a function, so that only an inlined graph shows more
    """

    before: Any = None
    ending: Ending = Ending.NONE
    inside: bool = False


def origin_of(tensor: Any) -> Origin:
    """Step back from a symbolic tensor, over operations that leave the numbers as they are, to an activation."""
    op = tensor.op
    index = tensor.value_index
    while op.type in _PASS and op.inputs:
        tensor = op.inputs[index if op.type == "IdentityN" else 0]
        op, index = tensor.op, tensor.value_index
    if op.type in _ENDINGS:
        return Origin(op.inputs[0], _ENDINGS[op.type])
    if op.type == "Exp" and op.inputs[0].op.type == "LogSoftmax":
        return Origin(op.inputs[0].op.inputs[0], Ending.SOFTMAX)
    return Origin(inside=op.type in CALLS)


@dataclass(frozen=True)
class Output:
    """An output of a model: its name, shape and type, and the activation that it is known to come from."""

    name: str
    shape: Shape | None
    floating: bool
    ending: Ending


def choose(outputs: Sequence[Output], wanted: str | None, path: Path) -> Head:
    """Choose the output that holds the predictions.

    Parameters
    ----------
    wanted : the name of the output, or None to choose: a row of floats per record first, and among these one
        called logits, then one that ends in an activation

    Raises
    ------
    InputError
        The model has no output of the name that is wanted.
    ModelError
        The model returns no floats.
    """
    named = {output.name: output for output in outputs}
    if wanted is not None:
        if wanted not in named:
            raise no_such_output(wanted, list(named), path)
        if not named[wanted].floating:
            raise no_scores(wanted, path)
        return Head(wanted, ending=named[wanted].ending)
    candidates = [Candidate(o.name, o.shape or (), o.ending is not Ending.NONE) for o in outputs if o.floating]
    if not candidates:
        raise labels_alone(named, path)
    choice = choose_output(candidates)
    return Head(choice.name, ending=named[choice.name].ending, notes=choice.notes)
