"""Which output of a network holds the predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pmcore.choosing import Candidate, choose_output, no_such_output
from pmcore.errors import ModelError
from pmcore.heads import Ending, Head
from pmcore.intake import Shape


def choose(outputs: Mapping[str, Shape], head: Callable[[str], Head], wanted: str | None, path: Path) -> Head:
    """Choose the output that holds the predictions.

    Parameters
    ----------
    outputs : name -> shape, () where it is not known
    wanted : the name of the output, or None to choose: a row per record first, and among these one called
        logits, then one that ends in an activation

    Raises
    ------
    InputError
        There is no output of the name that is wanted.
    ModelError
        There are no tensors among the outputs.
    """
    names = list(outputs)
    if not names:
        raise ModelError(f"{path}: returns no tensor; give a model that returns its logits or probabilities")
    if wanted is not None:
        if wanted not in outputs:
            raise no_such_output(wanted, names, path)
        return head(wanted)
    choice = choose_output([Candidate(name, outputs[name], head(name).ending is not Ending.NONE) for name in names])
    found = head(choice.name)
    return replace(found, notes=(*found.notes, *choice.notes))
