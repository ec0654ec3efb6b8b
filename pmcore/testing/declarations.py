"""What a plugin says about itself: options, docstring, equality, the way through a pipe. For every kind of plugin."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import re
from collections.abc import Mapping

from pmcore.errors import InputError
from pmcore.option_docs import describe_options, resolved_options
from pmcore.options import build
from pmcore.testing.attack_runs import pristine
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.refusals import require

NONSENSE = "no such value"
_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
_YEAR = re.compile(r"\b(19|20)\d\d\b")
_MATHEMATICS = re.compile(r"[=<>≤≥∈∑]|\b(log|exp|max|min|sqrt|norm)\(|1\[| [/*+] |\b[a-zA-Z]_[a-z]\b")


def require_frozen(plugin: object) -> None:
    """Require that no option can be changed once the plugin is made."""
    cls = type(plugin)
    if not dataclasses.is_dataclass(cls):
        raise CheckFailed(f"{cls.__name__} is no dataclass; decorate it with @dataclass(frozen=True)")
    parameters: object = getattr(cls, "__dataclass_params__", None)
    require(getattr(parameters, "frozen", False), f"{cls.__name__} can be changed; use @dataclass(frozen=True)")


def require_equality(plugin: object) -> None:
    """Require that two plugins with the same options are equal and hash alike."""
    twin = pristine(plugin)
    require(plugin == twin, "two instances with the same options are not equal; leave eq to the dataclass")
    require(hash(plugin) == hash(twin), "two instances with the same options hash differently; leave it to the class")


def require_round_trip(plugin: object) -> None:
    """Require that the resolved options, given again as text or as values, make the same plugin."""
    resolved = resolved_options(plugin)
    for form, options in (("as values", resolved), ("as text", _as_text(resolved))):
        again = resolved_options(build(type(plugin), options, "the plugin"))
        changed = [name for name in resolved if again[name] != resolved[name]]
        if changed:
            name = changed[0]
            raise CheckFailed(
                f"option {name} is {resolved[name]!r}, and {again[name]!r} when given again {form}; "
                "keep options as they were given"
            )


def _as_text(options: Mapping[str, object]) -> dict[str, object]:
    """Return options as a command line has them; what nests stays as an audit file has it."""
    texts: dict[str, object] = {}
    for name, value in options.items():
        plain = value is None or isinstance(value, bool | int | float | str)
        texts[name] = ("none" if value is None else str(value)) if plain else value
    return texts


def require_typed_options(plugin: object) -> None:
    """Require that an option which is no text refuses what does not fit its type."""
    checked = 0
    for option in describe_options(type(plugin)):
        if "str" in re.findall(r"\w+", option.type):
            continue
        checked += 1
        try:
            build(type(plugin), {**resolved_options(plugin), option.name: NONSENSE}, "the plugin")
        except InputError:
            continue
        raise CheckFailed(f"option {option.name} ({option.type}) takes {NONSENSE!r}; annotate it with its exact type")
    if not checked:
        raise NotApplicable("it has no option but text")


def require_documented_options(plugin: object) -> None:
    """Require that the docstring describes every option."""
    options = describe_options(type(plugin))
    if not options:
        raise NotApplicable("it has no options")
    silent = [option.name for option in options if not option.description]
    require(not silent, f"the docstring says nothing of {', '.join(silent)}; add `name : what it does` to Parameters")


def require_defaults(plugin: object) -> None:
    """Require that the plugin can be made without options."""
    required = [option.name for option in describe_options(type(plugin)) if option.required]
    require(not required, f"{', '.join(required)} must be given; give every option a default")
    build(type(plugin), {}, "the plugin")


def require_pickles(plugin: object) -> None:
    """Require that an instance comes back the same from its way to a worker process."""
    cls = type(plugin)
    if "<locals>" in cls.__qualname__:
        raise NotApplicable(f"{cls.__name__} stands in a function, where no other process can import it")
    try:
        again = pickle.loads(pickle.dumps(plugin))  # our own object, on its way through our own pipe
    except Exception as error:  # a plugin is called: whatever it raises is its failure
        raise CheckFailed(f"it cannot be sent to a worker: {type(error).__name__}: {error}") from error
    require(
        type(again) is cls and resolved_options(again) == resolved_options(plugin),
        "it comes back from a worker with other options; leave pickling to the dataclass",
    )


def docstring_of(plugin: object) -> str:
    """Return the docstring of the plugin's own class, "" where there is none but the one that `dataclass` writes."""
    cls = type(plugin)
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    return "" if text.startswith(f"{cls.__name__}(") else text


def require_question(plugin: object) -> None:
    """Require that the docstring opens with a question in one line."""
    first = docstring_of(plugin).partition("\n")[0]
    require(bool(first), "it has no docstring; open one with the question that the attack asks of a record")
    require(first.endswith("?"), f"the docstring opens with {first!r}; open it with the question asked of a record")


def require_formula(plugin: object, *, block: bool) -> None:
    """Require a formula before the first section; with `block` one that stands in lines of its own, indented."""
    text = docstring_of(plugin)
    heading = _SECTION.search(text)
    body = text[: heading.start()] if heading else text
    lines = [line for line in body.splitlines() if not block or line.startswith((" ", "\t"))]
    where = "in an indented line of its own " if block else ""
    require(
        any(_MATHEMATICS.search(line) for line in lines),
        f"the docstring has no formula; write what is computed {where}before the sections",
    )


def require_source(plugin: object) -> None:
    """Require a section on references that names a year."""
    text = docstring_of(plugin)
    headings = list(_SECTION.finditer(text))
    for index, heading in enumerate(headings):
        if heading[1] == "References":
            end = headings[index + 1].start() if index + 1 < len(headings) else len(text)
            require(
                bool(_YEAR.search(text[heading.end() : end])),
                "the References of the docstring name no year; cite authors, title, venue and year",
            )
            return
    raise CheckFailed("the docstring cites no source; add a section References with authors, title, venue and year")
