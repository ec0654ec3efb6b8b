"""Which output of a network holds the predictions."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pmcore.errors import InputError, ModelError
from pmcore.heads import Ending, Head

Shape = tuple[int | str | None, ...]


def choose_output(outputs: Mapping[str, Shape], head: Callable[[str], Head], wanted: str | None, path: Path) -> Head:
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
            near = difflib.get_close_matches(wanted, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise InputError(f"{path}: has no output {wanted!r}{hint}; its outputs are {', '.join(map(repr, names))}")
        return head(wanted)
    ranks = {name: _rank(name, outputs[name], head(name)) for name in names}
    least = min(ranks.values())
    rivals = [name for name in names if ranks[name] == least]
    found = head(rivals[0])
    if len(rivals) > 1:
        listed = ", ".join(map(repr, rivals))
        note = f"Outputs {listed} may all hold predictions: {rivals[0]!r} is read (choose with --output)."
        found = replace(found, notes=(*found.notes, note))
    return found


def _rank(name: str, shape: Shape, head: Head) -> tuple[int, int]:
    """Return how unlikely an output is to hold the predictions; the smallest is taken."""
    flat = not shape or (len(shape) >= 2 and all(size == 1 for size in shape[2:])) or len(shape) == 1
    ended = head.ending is not Ending.NONE
    return (int(not flat), 0 if "logit" in name.lower() else 1 if ended else 2)
