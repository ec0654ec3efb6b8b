"""A plugin as it was handed over, class or instance, as the instance that checks look at."""

from __future__ import annotations

from typing import TypeVar

from pmcore.options import build

P = TypeVar("P")


def made(plugin: P | type[P], kind: type[object]) -> P:
    """Return an instance of a plugin; a class is made with its default options.

    Raises
    ------
    TypeError
        It is not of this kind.
    InputError
        The class has options without a default.
    """
    cls = plugin if isinstance(plugin, type) else type(plugin)
    if not issubclass(cls, kind):
        raise TypeError(f"{cls.__name__} does not derive from pmcore.interfaces.{kind.__name__}")
    return build(plugin, {}, cls.__name__) if isinstance(plugin, type) else plugin
