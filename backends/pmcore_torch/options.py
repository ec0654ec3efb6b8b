"""What the torch backend is told besides what every backend is."""

from __future__ import annotations

from dataclasses import dataclass

from pmcore.interfaces import LoadOptions


@dataclass(frozen=True)
class TorchOptions(LoadOptions):
    """Options of the torch backend.

    Parameters
    ----------
    model_class : "package.module:factory", a class or function without arguments, for files that hold weights alone
    inputs : names of the parameters of a module's `forward` that are fed; by default those without a default
    """

    model_class: str | None = None
    inputs: tuple[str, ...] = ()
