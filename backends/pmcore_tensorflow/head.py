"""How a traced model ends: back from an output to the activation that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmcore.errors import InputError, ModelError
from pmcore.heads import Ending, Head
from pmcore.quoting import quoted

_PASS = frozenset({"Identity", "IdentityN", "Cast", "Squeeze", "ExpandDims", "Reshape", "StopGradient", "EnsureShape"})
_ENDINGS: Mapping[str, Ending] = {
    "Softmax": Ending.SOFTMAX,
    "LogSoftmax": Ending.LOG_SOFTMAX,
    "Sigmoid": Ending.SIGMOID,
}
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


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
    return Origin(inside=op.type in _CALLS)


@dataclass(frozen=True)
class Output:
    """An output of a model: its name, shape and type, and whether its origin is known to be an activation."""

    name: str
    shape: tuple[int | None, ...] | None
    floating: bool
    ending: Ending


def choose_output(outputs: Sequence[Output], wanted: str | None, path: Path) -> Head:
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
    names = [output.name for output in outputs]
    if wanted is not None:
        if wanted not in names:
            raise InputError(f"{path}: has no output {wanted!r}; its outputs are {', '.join(map(quoted, names))}")
        chosen = outputs[names.index(wanted)]
        if not chosen.floating:
            raise ModelError(f"{path}: output {wanted!r} holds labels; --output must name one with scores")
        return Head(chosen.name, ending=chosen.ending)
    able = [output for output in outputs if output.floating]
    if not able:
        raise ModelError(f"{path}: returns no floating-point numbers ({', '.join(map(quoted, names))}); export scores")
    least = min(_rank(output) for output in able)
    rivals = [output for output in able if _rank(output) == least]
    notes: tuple[str, ...] = ()
    if len(rivals) > 1:
        found = ", ".join(quoted(output.name) for output in rivals)
        notes = (f"Outputs {found} may all hold predictions: {rivals[0].name!r} is read (choose with --output).",)
    return Head(rivals[0].name, ending=rivals[0].ending, notes=notes)


def _rank(output: Output) -> tuple[bool, bool, bool]:
    row = output.shape is None or sum(size != 1 for size in output.shape[1:]) <= 1
    return not row, "logit" not in output.name.lower(), output.ending is Ending.NONE
