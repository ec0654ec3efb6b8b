"""The signals that an attack names: from the registry, or from the attack's own package by the naming rule."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

from pmcore import registry
from pmcore.errors import AuditError, PluginError
from pmcore.installed import policy_from_environment
from pmcore.interfaces import Attack, Needs, Signal, Task
from pmcore.options import build, parse_spec

TASKS = (Task.MULTICLASS, Task.BINARY, Task.MULTILABEL, Task.REGRESSION)


def names_of(needs: Needs) -> tuple[str, ...]:
    """Return every signal that is declared, each once, in the order of declaration."""
    return tuple(dict.fromkeys(name for names in needs.signals().values() for name in names))


def find_signal(text: str, attack: Attack) -> Signal:
    """Return the signal that ``name:option=value`` names.

    One that is not installed may stand in the module of the attack, or in a package above it, as the class that the
    naming rule says: `relative_margin` is `RelativeMargin`.

    Raises
    ------
    AuditError
        There is no such signal, it does not load, or its options do not fit.
    """
    name, options = parse_spec(text)
    label = f"signal {name!r}"
    own = [cls for cls in _own_signals(type(attack)) if _snake(cls.__name__) == name]
    policy = policy_from_environment(os.environ, no_third_party=False)
    try:
        cls = registry.load("signals", name, policy)
    except PluginError:
        if not own:
            raise
        cls = own[0]
    return build(cls, options, label)


def signals_of(attack: Attack, needs: Needs) -> dict[str, Signal | None]:
    """Return the signals that an attack reads, by name; None for one that cannot be had."""
    found: dict[str, Signal | None] = {}
    for name in names_of(needs):
        try:
            found[name] = find_signal(name, attack)
        except AuditError:  # the check of the declaration says so; the others go on with plain numbers
            found[name] = None
    return found


def tasks_of(signals: dict[str, Signal | None]) -> tuple[Task, ...]:
    """Return the tasks for which all signals are defined; all four where nothing is known."""
    return tuple(task for task in TASKS if all(signal is None or task in signal.tasks for signal in signals.values()))


def _own_signals(cls: type[Attack]) -> Iterator[type[Signal]]:
    parts = cls.__module__.split(".")
    for depth in range(len(parts), 0, -1):
        module = sys.modules.get(".".join(parts[:depth]))
        for value in vars(module).values() if module is not None else ():
            if isinstance(value, type) and issubclass(value, Signal) and value is not Signal:
                yield value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
