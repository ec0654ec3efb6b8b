"""A new plugin's project, as files: a complete distribution that passes its own tests as it stands."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal, get_args

from pmcore import __version__
from pmcore.errors import InputError
from pmcore.installed import GROUPS, GroupName
from pmcore.quoting import quoted

Kind = Literal["attack", "signal", "backend", "report", "reader"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST = 30
"""Characters of a name: with longer ones the lines of the project would not fit."""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_TEMPLATES = "templates"


@dataclass(frozen=True)
class PluginName:
    """What everything in a plugin's project is called.

    Parameters
    ----------
    kind : what kind of plugin it is
    entry_point : the name that users type, such as "margin"
    """

    kind: Kind
    entry_point: str

    @classmethod
    def parse(cls, kind: Kind, text: str) -> PluginName:
        """Read a name as somebody may write it: "margin", "margin-attack" and "margin_attack" are the same attack.

        Raises
        ------
        InputError
            It is no name, is too long, or means something to Python.
        """
        name = text.replace("-", "_")
        if _NAME.fullmatch(text) is None:
            raise InputError(
                f"{quoted(text)}: no name for a plugin - write small letters, digits and -, such as my-{kind}"
            )
        stem = name.removesuffix(f"_{kind}")
        if stem == kind:
            raise InputError(f"{text}: says what kind of plugin it is, but not which - name it, such as my-{kind}")
        if len(stem) > LONGEST:
            raise InputError(f"{text}: has {len(stem)} letters - choose a name of at most {LONGEST}")
        named = cls(kind, stem)
        if keyword.iskeyword(stem) or keyword.iskeyword(named.class_name):
            raise InputError(f"{text}: is a word of the Python language - choose another name")
        return named

    @property
    def group(self) -> GroupName:
        """Return the plugin's group."""
        return next(group for group, described in GROUPS.items() if described.noun == self.kind)

    @property
    def package(self) -> str:
        """Return the import package."""
        return f"{self.entry_point}_{self.kind}"

    @property
    def distribution(self) -> str:
        """Return the distribution's name, which `pip` knows."""
        return self.package.replace("_", "-")

    @property
    def class_name(self) -> str:
        """Return the class: `x` is XAttack, XModel, XReport or XReader, and a signal is X alone."""
        words = "".join(word.capitalize() for word in self.entry_point.split("_"))
        return words if self.kind == "signal" else words + GROUPS[self.group].interface_name


def render_project(name: PluginName) -> Mapping[str, bytes]:
    """Return the files of a plugin's project by their path in it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    group = GROUPS[name.group]
    words = {
        "name": name,
        "interface": group.interface_name,
        "entry_points": group.entry_points,
        "pmcore_version": ".".join(__version__.split(".")[:2]),
    }
    return {
        path: environment.from_string(_template(template)).render(words).encode()
        for path, template in _templates(name).items()
    }


def _templates(name: PluginName) -> dict[str, str]:
    """Return the template of every file of a project, by the file's path in the project."""
    return {
        "setup.cfg": "common/setup.cfg",
        "pyproject.toml": "common/pyproject.toml",
        "README.md": "common/README.md",
        ".gitignore": "common/gitignore",
        f"{name.package}/__init__.py": f"{name.kind}/plugin.py",
        f"{name.package}/py.typed": "common/py.typed",
        f"tests/test_{name.entry_point}.py": f"{name.kind}/test.py",
    }


def _template(name: str) -> str:
    return resources.files("pmcore").joinpath(_TEMPLATES, *f"{name}.jinja".split("/")).read_text("utf-8")
