"""A plugin's options as the user gives them: spelt on the command line, checked against its dataclass."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pmcore.errors import AuditError, InputError, Misfits, PluginError
from pmcore.option_docs import OptionInfo, describe_options, resolved_options, type_hints, type_text
from pmcore.quoting import quoted

__all__ = ["OptionInfo", "Spec", "build", "describe_options", "parse_spec", "resolved_options"]

T = TypeVar("T")

_OPENING = {"[": "]", "(": ")", "{": "}"}


class Spec(NamedTuple):
    """A plugin chosen by name, with the options given for it, still as text."""

    name: str
    options: dict[str, str]


def parse_spec(text: str) -> Spec:
    """Read ``name:option=value,option=value``. A value with commas stands in quotes or brackets.

    Raises
    ------
    InputError
        The text is not of this form; the message quotes it.
    """
    name, colon, rest = text.partition(":")
    if not name.strip():
        raise InputError(f"{quoted(text)}: expected NAME or NAME:option=value,option=value")
    options: dict[str, str] = {}
    for part in _split_at_commas(rest, text) if colon else ():
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not option.isidentifier():
            raise InputError(f"{quoted(text)}: expected option=value, not {quoted(part.strip())}")
        if option in options:
            raise InputError(f"{quoted(text)}: {option} is given twice; give it once")
        in_quotes = len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and value[0] not in value[1:-1]
        options[option] = value[1:-1] if in_quotes else value
    return Spec(name.strip(), options)


def build(cls: type[T], options: Mapping[str, object], label: str) -> T:
    """Make a plugin from options, which may be text as on the command line or values as in an audit file.

    Text becomes what the option's type says: ``none`` where it may be None, ``[a, b]`` where it is a
    sequence; one text alone is a sequence of one.

    Parameters
    ----------
    cls : the plugin's class; only a dataclass has options
    options : values by option name
    label : how messages call the plugin, for example "attack 'population'"

    Raises
    ------
    InputError
        Options are unknown, missing or do not fit; all complaints together, one line each.
    PluginError
        The plugin's own code fails, or its options have types that cannot be checked.
    """
    known = {option.name: option for option in describe_options(cls)}
    complaints = [_unknown(name, known, label) for name in options if name not in known]
    complaints += [
        f"{label}: option {name} ({option.type}) has no default; give {name}=VALUE"
        for name, option in known.items()
        if option.required and name not in options
    ]
    hints = type_hints(cls, label) if options else {}
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name in known:
            try:
                values[name] = _coerced(hints[name], value, f"{label}: option {name}")
            except InputError as error:
                complaints.append(str(error))
    if complaints:
        raise Misfits(complaints)
    try:
        return cls(**values)
    except AuditError:
        raise
    except ValueError as error:
        raise InputError(f"{label}: {_one_line(error)}") from error
    except Exception as error:  # a constructor that others wrote can fail in any way
        raise PluginError(f"{label} cannot be made: {type(error).__name__}: {_one_line(error)}") from error


def _split_at_commas(text: str, whole: str) -> list[str]:
    """Split at the commas that stand outside of quotes and brackets."""
    parts, closing, quote = [""], "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _OPENING:
            closing += _OPENING[character]
        elif closing and character == closing[-1]:
            closing = closing[:-1]
        elif character == "," and not closing:
            parts.append("")
            continue
        parts[-1] += character
    if quote or closing:
        raise InputError(f"{quoted(whole)}: expected a closing {quote or closing[-1]}")
    return parts


def _unknown(name: str, known: Mapping[str, OptionInfo], label: str) -> str:
    if not known:
        return f"{label} has no options; leave out {name}"
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{label} has no option {name!r}; {guess}its options: {', '.join(known)}"


def _coerced(hint: Any, value: object, label: str) -> object:
    """Return `value` as the type says; of the readings of a text, the first that fits."""
    from pydantic import TypeAdapter, ValidationError  # here because its import costs more than this module
    from pydantic.errors import PydanticUserError

    try:
        adapter = TypeAdapter(hint)
    except PydanticUserError as error:
        raise PluginError(f"{label} has type {type_text(hint)}, which text cannot become; tell its authors") from error
    reasons: list[str] = []
    for reading in _readings(value, hint):
        try:
            return adapter.validate_python(reading)
        except ValidationError as error:
            found = error.errors(include_url=False)
            reasons.append(found[0]["msg"] if len(found) == 1 else "")
    reason = f" ({reasons[-1][0].lower()}{_one_line(reasons[-1][1:])})" if reasons[-1] else ""
    raise InputError(f"{label}={quoted(value)}: expected {type_text(hint)}{reason}")


def _readings(value: object, hint: Any) -> list[object]:
    if typing.get_origin(hint) is tuple and typing.get_args(hint)[:1] == (str,):
        return [_texts(value)]
    if not isinstance(value, str):
        return [value]
    if value.strip().lower() in {"none", "null"}:
        return [None, value]
    if value.lstrip()[:1] not in {"[", "{"}:
        return [value]
    from pmcore.yaml_files import parse_yaml  # here because few options are lists, and it imports PyYAML

    try:
        return [value, parse_yaml(value, "option")]
    except InputError:
        return [value]


def _texts(value: object) -> object:
    """Return texts as they stand, one or several in brackets: a name such as 3, on or 1e5 is not a value of YAML."""
    if isinstance(value, str):
        inside = value.strip()
        if inside[:1] + inside[-1:] not in ("[]", "()"):
            return [inside] if inside else []
        return [part for part in map(str.strip, _split_at_commas(inside[1:-1], value)) if part]
    return [str(item) if type(item) is int else item for item in value] if isinstance(value, list | tuple) else value


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
