"""Devices and threads as they are asked for, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pmcore.errors import InputError
from pmcore.quoting import quoted

_FORM = re.compile(r"([a-z]+)(?:[:.]([0-9]{1,4}))?")


@dataclass(frozen=True)
class AskedDevice:
    """A kind of device, and which one of that kind, or None if that is left open."""

    kind: str
    number: int | None = None


def parse_device(
    text: str, backend: str, kinds: Sequence[str], numbered: Sequence[str], mark: str = ":"
) -> AskedDevice:
    """Read "auto", "cpu", or another kind of device with or without a number, such as "cuda:1".

    Parameters
    ----------
    kinds : the kinds besides "auto" and "cpu"
    numbered : those of them of which there may be several
    mark : what stands before the number in the words of the runtime, ":" or "."; either is understood

    Raises
    ------
    InputError
        The backend knows no such device.
    """
    found = _FORM.fullmatch(text.strip().lower())
    if found is None or found[1] not in ("auto", "cpu", *kinds) or (found[2] and found[1] not in numbered):
        known = ["auto", "cpu"]
        for kind in kinds:
            known += [kind, f"{kind}{mark}N"] if kind in numbered else [kind]
        raise InputError(f"device {quoted(text)} is not known to the {backend} backend; use one of {', '.join(known)}")
    return AskedDevice(found[1], int(found[2]) if found[2] else None)


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that cannot be had.

    Raises
    ------
    InputError
        There are to be fewer than one.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads {threads} cannot be had; give a number from 1 on, or none")


def tf32_note(device: str) -> str:
    """Return what a reader must know of a GPU that computes in the precision that it takes by itself."""
    return f"Computed as {device} does by itself: the inputs of float32 products may be rounded to 10 bits (TF32)."
