"""The module that weights belong to, made by a class or function of the user's."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmcore.errors import InputError
from pmcore.quoting import printable, quoted
from pmcore_autograd.quiet import quiet

if TYPE_CHECKING:
    import torch

_FORM = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")


def make_module(name: str) -> torch.nn.Module:
    """Make a module of "package.module:factory": a class or function that takes no arguments.

    The module is looked for as `python -m` would, in the current folder first; the search path is put back.

    Raises
    ------
    InputError
        It cannot be imported or called, or makes no `torch.nn.Module`.
    """
    from torch import nn

    found = _FORM.fullmatch(name.strip())
    if found is None:
        raise InputError(f"model_class: {quoted(name)} - give package.module:factory, such as nets:ResNet")
    factory = _imported(found[1], found[2], name)
    if not callable(factory):
        raise InputError(f"model_class: {quoted(name)} is a {type(factory).__name__}, not a class or a function")
    with quiet(), _current_folder():
        try:
            module = factory()
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise InputError(
                f"model_class: {quoted(name)} failed when called without arguments: {_line(error)}"
            ) from None
    if not isinstance(module, nn.Module):
        raise InputError(f"model_class: {quoted(name)} makes a {type(module).__name__}, not a torch.nn.Module")
    return module


def _imported(module: str, attribute: str, name: str) -> Any:
    with quiet(), _current_folder():
        try:
            found: Any = importlib.import_module(module)
        except (Exception, SystemExit) as error:  # as above
            where = "looked for in the current folder and on the path of Python"
            raise InputError(f"model_class: {quoted(name)} cannot be imported ({_line(error)}); {where}") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"model_class: {quoted(name)} - module {module!r} has no {attribute!r}")
        found = getattr(found, part)
    return found


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """Let the current folder come first in the search for modules, for the block."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__, 160)
