"""A framework that is imported when something of it is first asked for, so that a table of operators costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazily:
    """Stand for a module until one of its names is used.

    Parameters
    ----------
    module : the module's full name, such as "torch"
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # what inspects objects must not import a framework
        value = getattr(import_module(self._module), name)
        setattr(self, name, value)  # the next use of it finds it without this detour
        return value
