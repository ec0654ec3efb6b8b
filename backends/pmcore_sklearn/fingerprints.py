"""Tells estimators in memory apart."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

from pmcore.errors import AuditError


def fingerprint(estimator: Any) -> str | None:
    """Return a SHA-256 of an estimator as Python would write it down, or None if it cannot be written."""
    digest = hashlib.sha256()
    try:
        pickle.Pickler(_Sink(digest), protocol=5).dump(estimator)
    except AuditError:
        raise
    except Exception:  # parts of an estimator may be anything, and refuse in any way
        return None
    return digest.hexdigest()


class _Sink:
    """A file that keeps nothing but a hash of what is written to it."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, piece: Any) -> int:
        """Take a piece, which may be any buffer."""
        self._digest.update(piece)
        return memoryview(piece).nbytes
