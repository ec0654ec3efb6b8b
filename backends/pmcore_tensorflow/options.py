"""What can be chosen about a TensorFlow model besides what every backend understands."""

from __future__ import annotations

from dataclasses import dataclass

from pmcore.interfaces import LoadOptions


@dataclass(frozen=True)
class TensorflowOptions(LoadOptions):
    """Options of the TensorFlow backend.

    Parameters
    ----------
    signature : the signature of a SavedModel that answers; by default "serving_default", or the only one
    """

    signature: str | None = None
