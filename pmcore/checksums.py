"""The SHA-256 by which files are told apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path


def files_sha256(files: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or of the lines "hash  name" of several, read in pieces.

    Names are relative to the folder that holds all of the files.
    """
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    folder = os.path.commonpath([path.absolute().parent for path in files]) if files else ""
    names = [path.absolute().relative_to(folder).as_posix() for path in files]
    lines = [f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
