"""The plugins that a name on the command line means, in every group, and how wide their tables are."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pmcore.errors import PluginError

if TYPE_CHECKING:
    from pmcore.installed import GroupName, Plugin, PluginPolicy

WIDEST = 100
"""Columns beyond which lines become hard to read."""


def width() -> int:
    """Return the columns of the terminal, or what is read with ease."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def plugins_named(name: str, policy: PluginPolicy, group: GroupName | None = None) -> Sequence[Plugin]:
    """Return the plugins of this name, of one group or of all.

    Raises
    ------
    PluginError
        There is none; the nearest name is given, or all.
    """
    from pmcore.installed import GROUPS, list_plugins

    groups = GROUPS if group is None else (group,)
    installed = [plugin for each in groups for plugin in list_plugins(each, policy)]
    found = [plugin for plugin in installed if plugin.name == name]
    if not found:
        names = sorted({plugin.name for plugin in installed})
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(names) or 'none'}"
        kind = "plugin" if group is None else GROUPS[group].noun
        raise PluginError(f"no {kind} is called {name!r} - {hint}")
    return found
