"""What these attacks read of the evidence: one finite number per record, and which side of it speaks for membership."""

from __future__ import annotations

import numpy as np

from pmcore.errors import InputError
from pmcore.evidence import Evidence
from pmcore.outputs import Floats
from pmcore.quoting import quoted


def numbers(attack: str, signal: str, values: Floats, axes: int) -> Floats:
    """Return `values` as they are, of the target with one axis, of references with two.

    Raises
    ------
    InputError
        The signal has several numbers per record, or one that is not finite.
    """
    if values.ndim != axes:
        several = f"gives {values.shape[-1]} numbers per record; choose a signal with one"
        raise InputError(f"{attack}: signal: {signal} - {several}")
    # Two passes that need no memory: extremes of what holds a NaN are NaN.
    if values.size and not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise InputError(f"{attack}: signal: {signal} - some values are not finite; check the model's own precision")
    return values


def direction(evidence: Evidence, signal: str) -> float:
    """Return 1 where high values of a signal speak for membership, and -1 where low ones do.

    A factor in place of signed values: those of all references would be copied.
    """
    return float(evidence.membership_evidence(signal, np.ones(1))[0])


def check_queries(attack: str, augment: tuple[str, ...]) -> None:
    """Refuse queries that are none, blank or named twice.

    Raises
    ------
    InputError
        Which one it is.
    """
    if not augment or not all(query.strip() for query in augment):
        raise InputError(f"{attack}: augment: names no query - give [plain], or [plain,flip]")
    repeated = next((query for place, query in enumerate(augment) if query in augment[:place]), None)
    if repeated is not None:
        raise InputError(f"{attack}: augment: {quoted(repeated)} stands there twice - leave one out")


def fewest_models(attack: str, found: int, needed: int, what: str) -> None:
    """Refuse a record with too few references.

    Raises
    ------
    InputError
        There are fewer than are needed.
    """
    if found < needed:
        raise InputError(f"{attack}: references: some record has {found} that {what}, {needed} needed - give more")
