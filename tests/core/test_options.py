from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from pmcore.errors import InputError, PluginError
from pmcore.interfaces import LoadOptions, Task
from pmcore.options import OptionInfo, build, describe_options, parse_spec, resolved_options


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Plugin:
    """A plugin.

    Parameters
    ----------
    level : the error level, which
        goes on here
    count, limit : numbers
    colour : Colour, optional
        The colour, as numpydoc has it.

    Notes
    -----
    name : is not described here
    """

    kind: ClassVar[str] = "plugin"

    level: float = 0.01
    count: int = 3
    limit: int | None = None
    fast: bool = False
    name: str = "x"
    colour: Colour = Colour.RED
    statistic: Literal["cdf", "pdf"] = "cdf"
    levels: tuple[float, ...] = (0.1, 0.01)
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    names: frozenset[str] = field(default_factory=frozenset)
    path: Path | None = None
    inner: Inner = Inner()


@dataclass(frozen=True)
class Strict:
    """Has an option without a default, and checks it."""

    size: int

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("13 brings\nbad luck")
        if self.size == 14:
            raise InputError("size: 14 - take another")
        if self.size == 15:
            raise RuntimeError("boom")


class Thing:
    """Nothing that text could become."""


@dataclass(frozen=True)
class Opaque:
    """Has an option that only Python can give."""

    x: Thing | None = None


class Plain:
    """Has no options."""


# Spelling


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("population", "population", {}),
        (" population ", "population", {}),
        ("population:alpha=0.1", "population", {"alpha": "0.1"}),
        ("a:x=1, y = 2 ", "a", {"x": "1", "y": "2"}),
        ("a:x=[1,2],y=(3,4)", "a", {"x": "[1,2]", "y": "(3,4)"}),
        ("a:x=[[1,2],[3]],y=", "a", {"x": "[[1,2],[3]]", "y": ""}),
        ("a:x='1,2',y=\"3,]\"", "a", {"x": "1,2", "y": "3,]"}),
        ("a:x=['b,]',c]", "a", {"x": "['b,]',c]"}),
        ("a:signal=gradient_norm:order=1", "a", {"signal": "gradient_norm:order=1"}),
        ("a:signal='norm:order=1,layers=[b,c]'", "a", {"signal": "norm:order=1,layers=[b,c]"}),
        ("a:x='b'c'd'", "a", {"x": "'b'c'd'"}),
    ],
)
def test_a_plugin_and_its_options_are_read(text: str, name: str, options: dict[str, str]) -> None:
    assert parse_spec(text) == (name, options)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected NAME"),
        (":x=1", "expected NAME"),
        ("a:", "expected option=value, not ''"),
        ("a:x", "expected option=value, not 'x'"),
        ("a:x=1,,y=2", "expected option=value, not ''"),
        ("a:=1", "expected option=value, not '=1'"),
        ("a:x y=1", "expected option=value, not 'x y=1'"),
        ("a:x=1,x=2", "x is given twice"),
        ("a:x=[1,2", "expected a closing ]"),
        ("a:x='1,2", "expected a closing '"),
        ("a:x=[(1],2)", "expected a closing ]"),
    ],
)
def test_what_cannot_be_read_is_quoted_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_spec(text)
    message = str(caught.value)
    assert repr(text) in message
    assert reason in message
    assert "\n" not in message


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        spec = parse_spec(text)
    except InputError:
        return
    assert spec.name
    assert all(option.isidentifier() for option in spec.options)


# Building


@pytest.mark.parametrize(
    ("option", "given", "value"),
    [
        ("level", "1e-3", 0.001),
        ("level", 1, 1.0),
        ("count", "7", 7),
        ("limit", "7", 7),
        ("limit", "none", None),
        ("limit", None, None),
        ("fast", "true", True),
        ("fast", "no", False),
        ("name", "none", "none"),
        ("name", "[a]", "[a]"),
        ("name", "7", "7"),
        ("colour", "blue", Colour.BLUE),
        ("statistic", "pdf", "pdf"),
        ("levels", "[0.5, 1e-3]", (0.5, 0.001)),
        ("levels", [0.5], (0.5,)),
        ("levels", "[]", ()),
        ("names", "[a, 'b,c']", frozenset({"a", "b,c"})),
        ("path", "a/b", Path("a/b")),
        ("inner", "{depth: 2}", Inner(2)),
    ],
)
def test_text_and_values_become_what_the_type_says(option: str, given: object, value: object) -> None:
    built = getattr(build(Plugin, {option: given}, "attack 'plugin'"), option)
    assert built == value
    assert type(built) is type(value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"level": "lots"}, "attack 'plugin': option level='lots': expected float (input should be a valid n"),
        ({"count": "1.5"}, "option count='1.5': expected int (input should be a valid integer"),
        ({"limit": "x"}, "option limit='x': expected int | none"),
        ({"fast": "maybe"}, "option fast='maybe': expected bool"),
        ({"name": 3}, "option name=3: expected str"),
        ({"colour": "green"}, "option colour='green': expected 'red' | 'blue'"),
        ({"statistic": "x"}, "option statistic='x': expected 'cdf' | 'pdf'"),
        ({"levels": "[a]"}, "option levels='[a]': expected tuple[float, ...]"),
        ({"levels": "[a"}, "option levels='[a': expected tuple[float, ...]"),
        ({"share": "2"}, "option share='2': expected float (input should be less than 1)"),
        ({"cuont": 3}, "attack 'plugin' has no option 'cuont'; did you mean 'count'? its options: level, "),
        ({"kind": "x"}, "has no option 'kind'"),
    ],
)  # fmt: skip
def test_an_option_that_does_not_fit_is_one_line(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        build(Plugin, options, "attack 'plugin'")
    message = str(caught.value)
    assert complaint in message
    assert "\n" not in message


def test_all_complaints_are_told_together() -> None:
    with pytest.raises(InputError) as caught:
        build(Plugin, {"level": "x", "what": 1, "count": "y"}, "attack 'plugin'")
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_option_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"^attack 's': option size \(int\) has no default; give size=VALUE$"):
        build(Strict, {}, "attack 's'")


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (13, InputError, "attack 's': 13 brings bad luck"),
        (14, InputError, "size: 14 - take another"),
        (15, PluginError, "attack 's' cannot be made: RuntimeError: boom"),
    ],
)
def test_what_the_plugin_itself_refuses_is_one_line(size: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        build(Strict, {"size": size}, "attack 's'")
    assert str(caught.value) == message


def test_a_class_without_fields_has_no_options() -> None:
    assert isinstance(build(Plain, {}, "signal 'plain'"), Plain)
    assert describe_options(Plain) == ()
    with pytest.raises(InputError, match=r"^signal 'plain' has no options; leave out x$"):
        build(Plain, {"x": "1"}, "signal 'plain'")


def test_the_options_of_every_backend_are_built_from_text() -> None:
    options = build(LoadOptions, {"threads": "4", "task": "binary", "output": "none"}, "backend 'b'")
    assert options == LoadOptions(threads=4, task=Task.BINARY)


def test_types_that_cannot_be_read_are_the_authors_business() -> None:
    @dataclass(frozen=True)
    class Odd:
        x: Nowhere = None  # type: ignore[name-defined]  # noqa: F821

    assert describe_options(Odd) == (OptionInfo("x", "Nowhere", None, ""),)
    with pytest.raises(PluginError, match=r"types of its options cannot be read.*tell its authors"):
        build(Odd, {"x": "1"}, "attack 'odd'")


def test_types_that_text_cannot_become_are_the_authors_business() -> None:
    assert describe_options(Opaque) == (OptionInfo("x", "Thing | none", None, ""),)
    with pytest.raises(PluginError, match=r"option x has type Thing | none, which text cannot become"):
        build(Opaque, {"x": "1"}, "attack 'opaque'")


# Describing


def test_options_are_described_from_fields_and_docstring() -> None:
    described = {option.name: option for option in describe_options(Plugin)}
    assert list(described)[:3] == ["level", "count", "limit"]
    assert "kind" not in described
    assert described["level"] == OptionInfo("level", "float", 0.01, "the error level, which goes on here")
    assert described["count"] == OptionInfo("count", "int", 3, "numbers")
    assert described["limit"] == OptionInfo("limit", "int | none", None, "numbers")
    assert described["colour"].description == "The colour, as numpydoc has it."
    assert (described["colour"].type, described["colour"].default) == ("'red' | 'blue'", "red")
    assert (described["levels"].type, described["levels"].default) == ("tuple[float, ...]", [0.1, 0.01])
    assert described["name"].description == ""
    assert described["path"].type == "Path | none"


def test_inherited_options_keep_their_description() -> None:
    @dataclass(frozen=True)
    class More(LoadOptions):
        """Options of one backend.

        Parameters
        ----------
        extra : one more
        """

        extra: int = 0

    described = {option.name: option.description for option in describe_options(More)}
    assert described["extra"] == "one more"
    assert described["threads"].startswith("threads of the runtime")


def test_resolved_options_are_complete_and_json() -> None:
    resolved = resolved_options(Plugin(level=float("inf"), names=frozenset({"b", "a"}), path=Path("p")))
    assert json.loads(json.dumps(resolved, allow_nan=False)) == {
        "level": "inf",
        "count": 3,
        "limit": None,
        "fast": False,
        "name": "x",
        "colour": "red",
        "statistic": "cdf",
        "levels": [0.1, 0.01],
        "share": 0.5,
        "names": ["a", "b"],
        "path": "p",
        "inner": {"depth": 1},
    }


@given(
    st.builds(
        Plugin,
        level=st.floats(allow_nan=False),
        count=st.integers(),
        limit=st.none() | st.integers(),
        fast=st.booleans(),
        name=st.text(),
        colour=st.sampled_from(Colour),
        levels=st.lists(st.floats(allow_nan=False)).map(tuple),
        share=st.floats(0.01, 0.99),
        names=st.frozensets(st.text()),
        inner=st.builds(Inner, st.integers()),
    )
)
def test_resolved_options_build_the_same_plugin_again(plugin: Plugin) -> None:
    assert build(Plugin, resolved_options(plugin), "attack 'plugin'") == plugin
