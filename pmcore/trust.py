"""Models that are programs: who vouches for one names the SHA-256 of its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pmcore.checksums import files_sha256
from pmcore.errors import InputError, UntrustedError
from pmcore.quoting import quoted

_FORM = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)


def vouched(files: Sequence[Path], trust_model: str | None) -> bool:
    """Tell whether somebody vouched for exactly these files.

    Parameters
    ----------
    files : all that hold the model, in the order in which its SHA-256 is taken
    trust_model : "sha256:..." as given, or None

    Raises
    ------
    InputError
        `trust_model` is not of this form.
    UntrustedError
        It names other files than these.
    """
    if trust_model is None:
        return False
    named = _FORM.fullmatch(trust_model.strip())
    if named is None:
        raise InputError(
            f"trust_model: {quoted(trust_model)} - give the SHA-256 of the model's files, as sha256: and 64 digits"
        )
    found = files_sha256(files)
    if found != named[1].lower():
        raise UntrustedError(
            f"{files[0]}: its SHA-256 is {found}, not the one that was trusted - the file is another one; "
            "trust it only if you know why"
        )
    return True


def how_to_trust(files: Sequence[Path]) -> str:
    """Return the advice that ends the refusal of a model which somebody may vouch for."""
    return f"if you made it yourself, allow it with --trust-model sha256:{files_sha256(files)}"
