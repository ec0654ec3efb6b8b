"""Why a plugin cannot be had: every way to fail, told in one line that ends with the remedy."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pmcore.errors import AuditError, PluginError
from pmcore.installed import (
    EVERY_PLUGIN,
    GROUPS,
    OWN_DISTRIBUTION,
    RESTRICTING_FLAG,
    RESTRICTING_VARIABLE,
    GroupName,
    Plugin,
    PluginPolicy,
    canonical,
    list_plugins,
    list_unreadable,
)

LONGEST_LINE = 300


def absence(group: GroupName, name: str, policy: PluginPolicy) -> str:
    """Say that no plugin of this name may load: refused by a switch, misspelt, or not installed."""
    for plugin in list_plugins(group, EVERY_PLUGIN):
        if plugin.name == name:
            return f"{plugin.title} {policy.refusal(plugin)}"
    noun = GROUPS[group].noun
    names = dict.fromkeys(plugin.name for plugin in list_plugins(group, policy))
    if names:
        close = difflib.get_close_matches(name, names, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        advice = f"{guess}{noun}s here: {', '.join(names)}"
    else:
        advice = "none is installed here; try: pip install pmcore"
    return "; ".join([f"there is no {noun} {name!r}: {advice}", *list_unreadable(group)])


def clash(owners: Sequence[Plugin]) -> str:
    """Say who owns one name together, and how to choose between them."""
    first = owners[0]
    outside = {owner.distribution: None for owner in owners if owner.third_party}
    if not first.third_party:
        choice = f"{RESTRICTING_FLAG} takes pmcore's own, or uninstall {' and '.join(outside)}"
    elif len(outside) > 1:
        choice = f"choose with {RESTRICTING_VARIABLE}={' or '.join(outside)}, or uninstall one"
    else:
        choice = f"tell the authors of {first.distribution}"
    called = f"{GROUPS[first.group].noun} {first.name!r}"
    return f"{called} has {len(owners)} owners: {' and '.join(owner.owner for owner in owners)}; {choice}"


def malformed(plugin: Plugin) -> str | None:
    """Say that an entry point is not of the form module:Class, or return None."""
    module, attribute = plugin.module, plugin.attribute
    if all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")]):
        return None
    return f"{plugin.title} is registered as {plugin.value!r}, which is not module:Class; tell its authors"


def import_failure(plugin: Plugin, error: BaseException) -> str:
    """Say why importing a plugin raised `error`."""
    module, attribute = plugin.module, plugin.attribute
    if isinstance(error, SystemExit):
        return f"{plugin.title} calls sys.exit at import ({one_line(str(error.code))}); tell its authors"
    reinstall = f"pip install --force-reinstall {plugin.distribution}"
    if isinstance(error, AttributeError) and module in sys.modules:
        return f"{plugin.title}: there is no {attribute} in {module}; try: {reinstall}"
    if not isinstance(error, ImportError):
        return f"{plugin.title} fails at import: {type(error).__name__}: {_reason(error)}"
    missing = error.name or ""
    if isinstance(error, ModuleNotFoundError) and missing and f"{module}.".startswith(f"{missing}."):
        return f"{plugin.title}: there is no module {missing}; try: {reinstall}"
    if missing.partition(".")[0] == module.partition(".")[0]:
        return f"{plugin.title} cannot be imported: {_reason(error)}"
    return missing_framework_hint(plugin.group, plugin.name, error, plugin.distribution)


@contextmanager
def answerable(plugin: Plugin) -> Iterator[None]:
    """Run code of a plugin: what a third party's raises is its own failure, and said in one line.

    Raises
    ------
    PluginError
        Anything but an `AuditError` was raised. Of pmcore's own plugins it passes: that is our bug.
    """
    try:
        yield
    except AuditError:
        raise
    except (Exception, SystemExit) as error:
        if not plugin.third_party:
            raise
        reason = f"{type(error).__name__}: {_reason(error)}"
        raise PluginError(f"{plugin.title} failed: {reason}; tell its authors") from error


def misfit(plugin: Plugin, found: object) -> str | None:
    """Say what an imported object lacks to be a plugin of its group, or return None."""
    group = GROUPS[plugin.group]
    wanted = f"pmcore.interfaces.{group.interface_name}"
    if not isinstance(found, type):
        kind = type(found).__name__
        return f"{plugin.title}: {plugin.value} is an instance of {kind}, not a class that derives from {wanted}"
    if not issubclass(found, group.interface):
        return f"{plugin.title}: {plugin.value} does not derive from {wanted}"
    lacking = set(getattr(found, "__abstractmethods__", ()))
    lacking |= {name for name in inspect.get_annotations(group.interface) if not hasattr(found, name)}
    if lacking:
        return f"{plugin.title}: {plugin.value} lacks {', '.join(sorted(lacking))} of {wanted}"
    return None


def missing_framework_hint(group: GroupName, name: str, error: ImportError, distribution: str | None = None) -> str:
    """Return one line that says which package a plugin needs and how to install it.

    By the naming rule a plugin's extra has the plugin's name; where its distribution has no such extra, the
    missing package itself is named. `distribution` tells which plugin is meant where several own the name.
    """
    plugin = Plugin(group, name, "", distribution or OWN_DISTRIBUTION, "")
    for known in list_plugins(group, EVERY_PLUGIN):
        if known.name == name and distribution in {None, known.distribution}:
            plugin = known
            break
    missing = (error.name or "").partition(".")[0]
    extra = f"'{plugin.distribution}[{name}]'" if _has_extra(plugin) else ""
    if isinstance(error, ModuleNotFoundError) and missing:
        return f"{plugin.title} needs {missing}; try: pip install {extra or missing}"
    remedy = f"pip install --force-reinstall {extra or missing or plugin.distribution}"
    return f"{plugin.title} cannot import {missing or 'what it needs'}: {_reason(error)}; try: {remedy}"


def one_line(text: str) -> str:
    """Return a text as one line without control characters, shortened."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..."


def _reason(error: BaseException) -> str:
    try:
        return one_line(str(error)) or type(error).__name__
    except Exception:  # an exception that others wrote may fail even to describe itself
        return type(error).__name__


def _has_extra(plugin: Plugin) -> bool:
    try:
        extras = importlib.metadata.metadata(plugin.distribution).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return False
    return canonical(plugin.name) in {canonical(extra) for extra in extras}
