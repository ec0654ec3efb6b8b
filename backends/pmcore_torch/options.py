"""What the torch backend is told besides what every backend is."""

from __future__ import annotations

from dataclasses import dataclass

from pmcore.errors import InputError
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


def own_options(options: LoadOptions) -> TorchOptions:
    """Return options as this backend's own.

    Raises
    ------
    InputError
        The number of threads cannot be had.
    """
    if options.threads is not None and options.threads < 1:
        raise InputError(f"threads {options.threads} cannot be had; give a number from 1 on, or none")
    return options if isinstance(options, TorchOptions) else TorchOptions(**vars(options))
