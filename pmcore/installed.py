"""What is installed: the plugin groups, who registers which name in them, and which plugins may load."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from abc import ABC

OWN_DISTRIBUTION = "pmcore"
RESTRICTING_VARIABLE = "PMCORE_PLUGINS"
RESTRICTING_FLAG = "--no-third-party"

GroupName = Literal["backends", "signals", "attacks", "reports", "readers", "trainers"]


@dataclass(frozen=True)
class Group:
    """A kind of plugin: what one of them is called, its entry-point group, and the ABC it implements."""

    noun: str
    entry_points: str
    interface_name: str

    @property
    def interface(self) -> type[ABC]:
        """Return the ABC. Imported only here: listing plugins needs neither numpy nor scipy."""
        found: type[ABC] = getattr(importlib.import_module("pmcore.interfaces"), self.interface_name)
        return found


GROUPS: Mapping[GroupName, Group] = MappingProxyType(
    {
        "backends": Group("backend", "pmcore.backends", "Model"),
        "signals": Group("signal", "pmcore.signals", "Signal"),
        "attacks": Group("attack", "pmcore.attacks", "Attack"),
        "reports": Group("report", "pmcore.reports", "Report"),
        "readers": Group("reader", "pmcore.readers", "Reader"),
        "trainers": Group("trainer", "pmcore.trainers", "Trainer"),
    }
)


@dataclass(frozen=True)
class Plugin:
    """A name that an installed distribution registers. Nothing of it has been imported.

    Parameters
    ----------
    group : the group's short name, for example "attacks"
    name : the entry point's name, which the user types
    value : where the class is, "module:Class"
    distribution, version : who registers it
    rivals : the other owners of this name, each as "distribution version (module:Class)"
    """

    group: GroupName
    name: str
    value: str
    distribution: str
    version: str
    rivals: tuple[str, ...] = ()

    @property
    def third_party(self) -> bool:
        """Return whether it comes from another distribution than pmcore itself."""
        return canonical(self.distribution) != OWN_DISTRIBUTION

    @property
    def title(self) -> str:
        """Return how messages call it: "attack 'margin' of margin-attack 0.1.0", built-ins by name alone."""
        called = f"{GROUPS[self.group].noun} {self.name!r}"
        return f"{called} of {self.distribution} {self.version}" if self.third_party else called

    @property
    def module(self) -> str:
        """Return the module that `value` names."""
        return self.value.partition(":")[0].partition("[")[0].strip()

    @property
    def attribute(self) -> str:
        """Return the attribute of the module that `value` names; "" if it names none."""
        return self.value.partition(":")[2].partition("[")[0].strip()

    @property
    def owner(self) -> str:
        """Return who registers it and where its class is: "margin-attack 0.1.0 (margin_attack:Margin)"."""
        return f"{self.distribution} {self.version} ({self.value})"


@dataclass(frozen=True)
class PluginPolicy:
    """Which plugins may load. pmcore's own always may.

    Parameters
    ----------
    third_party : whether plugins of other distributions may load at all
    only : if given, the names of those that may: of the plugin or of its distribution
    """

    third_party: bool = True
    only: frozenset[str] | None = None

    def refusal(self, plugin: Plugin) -> str | None:
        """Return why a plugin may not load: which switch says so and what to do; None if it may."""
        if not plugin.third_party:
            return None
        if not self.third_party:
            return f"is refused by {RESTRICTING_FLAG}; leave that out to use it"
        if self.only is None or plugin.name in self.only:
            return None
        if canonical(plugin.distribution) in {canonical(name) for name in self.only}:
            return None
        setting = f"{RESTRICTING_VARIABLE}={','.join(sorted(self.only))}"
        return f"is not named in {setting}; add {plugin.name} to it to use it"


EVERY_PLUGIN = PluginPolicy()
"""The policy that refuses nothing."""


def policy_from_environment(env: Mapping[str, str], no_third_party: bool = False) -> PluginPolicy:
    """Return the policy that `PMCORE_PLUGINS` and `--no-third-party` ask for.

    Parameters
    ----------
    env : usually `os.environ`. `PMCORE_PLUGINS` is a comma-separated list of plugins or distributions; unset,
        it allows all; set but empty, none, so that a list that came out empty does not open the door.
    no_third_party : whether the flag was given
    """
    listed = env.get(RESTRICTING_VARIABLE)
    only = None if listed is None else frozenset(name.strip() for name in listed.split(",") if name.strip())
    return PluginPolicy(third_party=not no_third_party, only=only)


def list_plugins(group: GroupName, policy: PluginPolicy) -> tuple[Plugin, ...]:
    """Return the plugins of a group that may load, by name. Read afresh; imports none of them.

    Two owners of one name are both listed, each with the other among its `rivals`.
    """
    allowed = [plugin for plugin in _survey(group).plugins if policy.refusal(plugin) is None]
    return tuple(
        replace(plugin, rivals=tuple(o.owner for o in allowed if o.name == plugin.name and o is not plugin))
        for plugin in allowed
    )


def list_unreadable(group: GroupName) -> tuple[str, ...]:
    """Return one line for every distribution whose plugins in this group cannot be read from its metadata."""
    return _survey(group).unreadable


def canonical(name: str) -> str:
    """Return a distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class _Survey:
    """What the metadata of all installed distributions says about one group."""

    plugins: tuple[Plugin, ...]
    unreadable: tuple[str, ...]


_SURVEYS: ContextVar[dict[GroupName, _Survey] | None] = ContextVar("surveys", default=None)


@contextmanager
def surveyed_once() -> Iterator[None]:
    """Read what is installed at most once per group inside the block, however often it is asked for."""
    token = _SURVEYS.set({})
    try:
        yield
    finally:
        _SURVEYS.reset(token)


def _survey(group: GroupName) -> _Survey:
    known = _SURVEYS.get()
    if known is None:
        return _read_survey(group)
    if group not in known:
        known[group] = _read_survey(group)
    return known[group]


def _read_survey(group: GroupName) -> _Survey:
    """Read every distribution's entry points; one that is damaged costs the others nothing.

    A distribution that is on sys.path twice (a checkout and its installation) counts once: the first one, as
    for imports.
    """
    section = GROUPS[group].entry_points
    importlib.invalidate_caches()
    plugins: dict[str, list[Plugin]] = {}
    unreadable: list[str] = []
    for found in importlib.metadata.distributions():
        called = "a distribution without a name"
        try:
            if f"[{section}]" not in (found.read_text("entry_points.txt") or ""):
                continue
            called = found.name
            if canonical(called) in plugins:
                continue
            first = importlib.metadata.distribution(called)
            entries = dict.fromkeys((e.name, e.value) for e in first.entry_points if e.group == section)
            plugins[canonical(called)] = [Plugin(group, name, value, called, first.version) for name, value in entries]
        except Exception as error:  # metadata that others wrote can fail in any way
            reason = " ".join(str(error).split())
            unreadable.append(f"{called} in {found.locate_file('')}: unreadable entry points ({reason})")
    every = (plugin for owned in plugins.values() for plugin in owned)
    ordered = sorted(every, key=lambda plugin: (plugin.name, plugin.third_party, plugin.owner))
    return _Survey(tuple(ordered), tuple(unreadable))
