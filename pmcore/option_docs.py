"""What a plugin's options are: names, types, defaults, descriptions, and the values that an instance has."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, Literal

from pmcore.errors import PluginError


@dataclass(frozen=True)
class OptionInfo:
    """An option of a plugin.

    Parameters
    ----------
    name : the dataclass field, which is what the user types
    type : its type, readable
    default : its default, JSON-able; None also where there is none
    description : from the "Parameters" section of the class's docstring, "" if it says nothing
    required : whether it has no default
    """

    name: str
    type: str
    default: object
    description: str
    required: bool = False


def describe_options(cls: type[object]) -> tuple[OptionInfo, ...]:
    """Return a plugin's options in the order of its fields; () for a class that is no dataclass."""
    if not dataclasses.is_dataclass(cls):
        return ()
    try:
        hints = type_hints(cls, cls.__name__)
    except PluginError:  # the annotations as written still tell more than nothing
        hints = {}
    described: list[OptionInfo] = []
    for field in dataclasses.fields(cls):
        if field.init:
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            required = default is dataclasses.MISSING
            described.append(
                OptionInfo(
                    field.name,
                    type_text(hints.get(field.name, field.type)),
                    None if required else _plain(default),
                    _description(cls, field.name),
                    required,
                )
            )
    return tuple(described)


def resolved_options(instance: object) -> dict[str, object]:
    """Return all options of a plugin, defaults included, as JSON-able values that `build` accepts again."""
    return {option.name: _plain(getattr(instance, option.name)) for option in describe_options(type(instance))}


def type_hints(cls: type[object], label: str) -> dict[str, Any]:
    """Return the resolved annotations of a class; `label` is how a message calls it."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception as error:  # evaluates annotations that others wrote
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"{label}: the types of its options cannot be read: {reason}; tell its authors") from error


def type_text(hint: Any) -> str:
    """Return a type as a reader would write it: ``float``, ``int | none``, ``'cdf' | 'pdf'``."""
    if isinstance(hint, str):
        return hint
    if hint is None or hint is type(None):
        return "none"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(repr(member.value) for member in hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " | ".join("none" if value is None else repr(value) for value in arguments)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return " | ".join(type_text(argument) for argument in arguments)
    if origin is not None:
        inner = ", ".join("..." if argument is ... else type_text(argument) for argument in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return getattr(hint, "__name__", str(hint))


def _plain(value: Any) -> object:
    """Return a value as JSON has it; what JSON has no form for (infinity among it) becomes text."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, PurePath):
        return str(value)
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def _description(cls: type[object], name: str) -> str:
    for owner in cls.__mro__:
        found = _parameter(inspect.cleandoc(owner.__doc__ or ""), name)
        if found:
            return found
    return ""


def _parameter(docstring: str, name: str) -> str:
    """Return the text on one parameter, written ``name : text`` or ``name : type`` with the text below."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", docstring, re.MULTILINE | re.DOTALL)
    entries = re.split(r"^(?=\S)", section[1] if section else "", flags=re.MULTILINE)
    for entry in entries:
        head, _, rest = entry.partition(" : ")
        if name in {part.strip() for part in head.split(",")}:
            first, _, below = rest.partition("\n")
            is_type = below.strip() and re.fullmatch(r"[^ ]+( \| [^ ]+)*|.*\b(optional|default\b.*)", first.strip())
            return " ".join((below if is_type else rest).split())
    return ""
