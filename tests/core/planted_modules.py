"""Modules with something planted in what they do at import, and a framework that can be imported anywhere."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

_NUMBERS = itertools.count()


def write_framework(folder: Path) -> None:
    """Write an empty module with the name of a framework that is no longer made."""
    (folder / "mxnet.py").write_text('"""A framework that is imported where it should not be."""\n')


def module_class(folder: Path, home: str, good: str, at_import: str) -> type[object]:
    """Return a class from a new module: derived from a good plugin, with something planted at import."""
    name = f"planted_module_{next(_NUMBERS)}"
    lines = [
        f"from {home} import {good}",
        at_import,
        f"class Planted({good}):",
        '    """A planted fault: its module does something at import."""',
    ]
    (folder / f"{name}.py").write_text("\n".join(lines) + "\n")
    importlib.invalidate_caches()
    found: type[object] = importlib.import_module(name).Planted
    return found
