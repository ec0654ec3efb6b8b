"""Plugins by name: find one, load it, and explain in one line each why one cannot be had.

Names come from `importlib.metadata`, classes through stevedore. Nothing else in pmcore imports a plugin.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

from pmcore.errors import PluginError
from pmcore.installed import (
    EVERY_PLUGIN,
    GROUPS,
    OWN_DISTRIBUTION,
    Group,
    GroupName,
    Plugin,
    PluginPolicy,
    list_plugins,
    list_unreadable,
    policy_from_environment,
)
from pmcore.plugin_failures import (
    absence,
    clash,
    import_failure,
    malformed,
    misfit,
    missing_framework_hint,
    one_line,
)

if TYPE_CHECKING:
    from pmcore.interfaces import Attack, Model, Reader, Report, Signal, Trainer

__all__ = [
    "GROUPS",
    "Group",
    "GroupName",
    "Plugin",
    "PluginPolicy",
    "PluginStatus",
    "explain",
    "find",
    "framework_needed",
    "list_plugins",
    "list_unreadable",
    "load",
    "missing_framework_hint",
    "policy_from_environment",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PluginStatus:
    """What `pmcore plugins list` says of one plugin.

    Parameters
    ----------
    plugin : who registers it, and where
    summary : the first line of its docstring; "" if it does not load or has none
    problem : the one-line reason why it does not load, or None
    notes : what it printed and warned about while it was imported, one line each
    """

    plugin: Plugin
    summary: str = ""
    problem: str | None = None
    notes: tuple[str, ...] = ()


def find(group: GroupName, name: str, policy: PluginPolicy) -> Plugin:
    """Return the one plugin of this name that may load, without importing it.

    Raises
    ------
    PluginError
        Nobody registers the name, `policy` refuses it, or it is registered more than once.
    """
    owners = [plugin for plugin in list_plugins(group, policy) if plugin.name == name]
    if not owners:
        raise PluginError(absence(group, name, policy))
    if len(owners) > 1:
        raise PluginError(clash(owners))
    return owners[0]


@overload
def load(group: Literal["backends"], name: str, policy: PluginPolicy) -> type[Model]: ...
@overload
def load(group: Literal["signals"], name: str, policy: PluginPolicy) -> type[Signal]: ...
@overload
def load(group: Literal["attacks"], name: str, policy: PluginPolicy) -> type[Attack]: ...
@overload
def load(group: Literal["reports"], name: str, policy: PluginPolicy) -> type[Report]: ...
@overload
def load(group: Literal["readers"], name: str, policy: PluginPolicy) -> type[Reader]: ...
@overload
def load(group: Literal["trainers"], name: str, policy: PluginPolicy) -> type[Trainer]: ...
@overload
def load(group: GroupName, name: str, policy: PluginPolicy) -> type[object]: ...
def load(group: GroupName, name: str, policy: PluginPolicy) -> type[object]:
    """Import the plugin of this name and return its class. What it prints meanwhile is logged, not printed.

    Raises
    ------
    PluginError
        As `find`; or it does not import, or is not what its group promises. One line, with the remedy.
    """
    plugin = find(group, name, policy)
    imported = _import(plugin)
    for note in imported.notes:
        log.warning("%s %s", plugin.title, note)
    return imported.plugin_class


def explain(group: GroupName, policy: PluginPolicy) -> tuple[PluginStatus, ...]:
    """Load every installed plugin of a group by itself and say what it is, or why it does not load."""
    allowed = list_plugins(group, policy)
    return tuple(_status(plugin, policy, allowed) for plugin in list_plugins(group, EVERY_PLUGIN))


@contextmanager
def framework_needed(group: GroupName, name: str, distribution: str | None = None) -> Iterator[None]:
    """Turn a failed import of a plugin's framework inside the block into a `PluginError` with its remedy.

    A module of pmcore or of a plugin that does not import is a bug and passes through. `distribution` tells
    which plugin is meant where several own the name.
    """
    try:
        yield
    except ImportError as error:
        own = {plugin.module.partition(".")[0] for plugin in list_plugins(group, EVERY_PLUGIN)}
        if (error.name or "").partition(".")[0] in own | {OWN_DISTRIBUTION}:
            raise
        raise PluginError(missing_framework_hint(group, name, error, distribution)) from error


def _status(plugin: Plugin, policy: PluginPolicy, allowed: tuple[Plugin, ...]) -> PluginStatus:
    refusal = policy.refusal(plugin)
    if refusal is not None:
        return PluginStatus(plugin, problem=f"{plugin.title} {refusal}")
    owners = [other for other in allowed if other.name == plugin.name]
    if len(owners) > 1:
        return PluginStatus(plugin, problem=clash(owners))
    try:
        imported = _import(plugin)
    except PluginError as error:
        return PluginStatus(plugin, problem=str(error))
    return PluginStatus(plugin, _summary(imported.plugin_class), None, imported.notes)


def _summary(plugin_class: type[object]) -> str:
    text = plugin_class.__doc__
    generated = f"{plugin_class.__name__}("  # what `dataclass` writes where there is no docstring
    if not isinstance(text, str) or text.startswith(generated):
        return ""
    return one_line(inspect.cleandoc(text).partition("\n")[0])


@dataclass(frozen=True)
class _Imported:
    """A plugin's class and what it said while it was imported."""

    plugin_class: type[object]
    notes: tuple[str, ...]


def _import(plugin: Plugin) -> _Imported:
    """Import one plugin behind a stand-in for stdout, so that a report on stdout stays a report."""
    if (complaint := malformed(plugin)) is not None:
        raise PluginError(complaint)
    printed = io.BytesIO()
    stand_in = io.TextIOWrapper(printed, "utf-8", errors="replace", write_through=True)
    with warnings.catch_warnings(record=True) as warned, redirect_stdout(stand_in):
        try:
            found = _through_stevedore(plugin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, and the panics of extension modules, are no Exception
            raise PluginError(import_failure(plugin, error)) from error
    complaint = misfit(plugin, found)
    if complaint is not None or not isinstance(found, type):
        raise PluginError(complaint)
    said = "" if printed.closed else one_line(printed.getvalue().decode("utf-8", "replace"))
    notes = [f"printed at import: {said}"] if said else []
    notes += [f"warned at import: {one_line(str(warning.message))}" for warning in warned]
    return _Imported(found, tuple(notes))


def _through_stevedore(plugin: Plugin) -> object:
    """Load one entry point through a stevedore driver that is told of this one alone.

    Left to itself a driver takes its list from stevedore's cache below the user's home, which keys on times
    in steps of two minutes (a plugin just reinstalled stays as it was) and forgets who owns an entry point.
    """
    from stevedore.driver import DriverManager  # costs more than listing all plugins does

    section = GROUPS[plugin.group].entry_points
    entry = importlib.metadata.EntryPoint(plugin.name, plugin.value, section)

    class Driver(DriverManager[object]):
        def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
            return [entry]

    return Driver(section, plugin.name).driver
